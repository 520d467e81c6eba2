"""Which program wrote the report: versions, and a digest over its installed files that sha256sum can repeat."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from fraudfl.errors import RuntimeFailure
from fraudfl.report.facts import Software

LIBRARIES = ("cryptography", "dp-accounting", "flwr", "numpy", "opacus", "torch", "typst")
"""What training, noise, accounting and signatures rest on."""


def software(packages: Sequence[str]) -> Software:
    """Describe the installed program.

    Args:
        packages: Top-level packages that make it up.
    """
    found = {name: _version(name) for name in LIBRARIES}
    return Software(
        version=installed_version(),
        packages=tuple(sorted(packages)),
        program_digest=program_digest(packages),
        libraries={name: version for name, version in found.items() if version},
    )


@cache
def installed_version() -> str:
    """The release of fraudfl that runs."""
    return _version("fraudfl") or "unknown"


def program_digest(packages: Sequence[str]) -> str:
    """SHA-256 (hex) over the installed files of packages: of the lines that sha256sum prints for them, in their order.

    Raises:
        RuntimeFailure: when a package is not installed as files.
    """
    lines = hashlib.sha256()
    for package in sorted(packages):
        for name, path in _files(package):
            lines.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n".encode())
    return lines.hexdigest()


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """Every file of a package but what Python compiles, as `package/…`, sorted by the bytes of that name."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeFailure(f"package {package!r} is not installed as files, so that it cannot be identified")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = {
        (Path(package) / path.relative_to(root)).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return iter(sorted(found.items(), key=lambda item: item[0].encode()))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
