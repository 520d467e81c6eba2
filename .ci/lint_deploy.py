"""Checks deploy/: systemd units, container files, the Compose file and the Helm charts. Needs no network.

    python .ci/lint_deploy.py

Each part is read by the tool that knows it (systemd-analyze, hadolint, compose-spec, kubernetes-validate, helm), and
then held against our own rules: no root, no capabilities, nothing writable but the data. systemd-analyze and helm are
used where the machine has them, and it is said where it has not.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = "1.30.0"
MOST_EXPOSED = 15
"""Tenths of systemd's exposure level that a unit may have: 0 is sealed, 100 is open."""
_TAG = re.compile(r"{{-?(.*?)-?}}")
_VALUE = re.compile(r"\.(Values|Release)((?:\.[A-Za-z]+)+)(\s*\|\s*quote)?")
_INDEX_HOSTS = re.compile(r"--(?:extra-)?index-url|pypi\.org|download\.pytorch\.org", re.IGNORECASE)

Facts = dict[str, Any]


def main() -> int:
    """Print what is wrong; 1 when anything is."""
    found = list(problems(ROOT / "deploy"))
    for problem in found:
        _say(problem)
    _say(f"deploy: {len(found)} problems" if found else "deploy: good")
    return 1 if found else 0


def problems(deploy: Path) -> Iterator[str]:
    """Everything that is wrong under a folder such as ours."""
    yield from unit_problems(sorted((deploy / "systemd").glob("*.service")))
    yield from containerfile_problems(sorted((deploy / "container").glob("Containerfile.*")))
    yield from compose_problems(deploy / "container" / "compose.yaml")
    for chart in sorted(path.parent for path in (deploy / "helm").glob("*/Chart.yaml")):
        yield from chart_problems(chart)


def unit_problems(units: list[Path]) -> Iterator[str]:
    """What systemd says of our units."""
    if shutil.which("systemd-analyze") is None:
        _say("systemd-analyze: not on this machine, so the units were not checked")
        return
    with tempfile.TemporaryDirectory() as scratch:
        for unit in units:
            # The program is not installed where this runs, and a missing one is all that `verify` may overlook.
            copy = Path(scratch) / unit.name
            copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
            verified = _run("systemd-analyze", "verify", "--man=no", str(copy))
            if verified.returncode or verified.stderr.strip():
                yield f"{unit.name}: {verified.stderr.strip()}"
            rated = _run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(copy))
            if rated.returncode:
                yield f"{unit.name}: {(rated.stdout.strip() or rated.stderr).splitlines()[-1]}; at most {MOST_EXPOSED}"


def containerfile_problems(files: list[Path]) -> Iterator[str]:
    """What hadolint says of our container files, and what our own rules do."""
    for file in (path for path in files if path.suffix != ".dockerignore"):
        # Beside this interpreter first: that is where pip puts it.
        tool = Path(sys.executable).with_name("hadolint")
        linted = _run(
            str(tool if tool.exists() else "hadolint"), "--no-color", "--failure-threshold", "style", str(file)
        )
        if linted.returncode:
            yield (linted.stdout + linted.stderr).strip()
        yield from (f"{file.name}: {problem}" for problem in _last_stage_problems(file.read_text()))


def _last_stage_problems(text: str) -> Iterator[str]:
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    last = re.split(r"^FROM ", code, flags=re.MULTILINE)[-1]
    if _INDEX_HOSTS.search(code):
        yield "names a package index; leave that to pip's own settings"
    if not re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", last, flags=re.MULTILINE):
        yield "the last stage has no numeric USER other than root"
    if not re.search(r"^HEALTHCHECK ", last, flags=re.MULTILINE):
        yield "the last stage has no HEALTHCHECK"
    if "pip uninstall" not in last or re.search(r"apt-get|gcc|build-essential", last):
        yield "the last stage must be without pip and compilers"


def compose_problems(file: Path) -> Iterator[str]:
    """Whether a Compose file keeps the specification, and our rules."""
    from compose_spec import PyCompose

    text = file.read_text()
    try:
        # Merge keys are resolved first: they are YAML's, and the specification's reader does not know them.
        facts = yaml.safe_load(text)
        PyCompose.from_yaml(yaml.safe_dump(facts)).to_spec()
    except (ValueError, yaml.YAMLError) as error:
        yield f"{file.name}: not a Compose file: {error}"
        return
    for name, service in facts["services"].items():
        yield from (f"{file.name}: {name}: {problem}" for problem in _service_problems(name, service))


def _service_problems(name: str, service: Facts) -> Iterator[str]:
    wanted: Facts = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    for key, value in wanted.items():
        if service.get(key) != value:
            yield f"{key} is {service.get(key)!r}; expected {value!r}"
    if str(service.get("user", "0")).split(":")[0] in ("0", "root"):
        yield "runs as root"
    for key in ("healthcheck", "tmpfs"):
        if not service.get(key):
            yield f"has no {key}"
    if service.get("privileged") or service.get("cap_add") or service.get("network_mode"):
        yield "has privileges, capabilities or the host's network"
    if service.get("ports") and name != "coordinator":
        yield "publishes a port; only the coordinator does"


def chart_problems(chart: Path) -> Iterator[str]:
    """Whether a chart's manifests keep Kubernetes' schemas, and the restricted pod security standard."""
    import kubernetes_validate

    if shutil.which("helm") is not None:
        linted = _run("helm", "lint", "--strict", str(chart))
        if linted.returncode:
            yield f"{chart.name}: {(linted.stdout + linted.stderr).strip()}"
    else:
        _say(f"helm: not on this machine, so {chart.name} was rendered by our own strict subset of its language")
    try:
        manifests = list(render(chart))
    except (ValueError, yaml.YAMLError) as error:
        yield f"{chart.name}: {error}"
        return
    for name, manifest in manifests:
        where = f"{chart.name}/{name}"
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{where}: {'.'.join(map(str, error.path))}: {error.message}"
        if manifest["kind"] in ("StatefulSet", "Deployment"):
            yield from (f"{where}: {problem}" for problem in pod_problems(manifest["spec"]["template"]["spec"]))
    if "NetworkPolicy" not in {manifest["kind"] for _, manifest in manifests}:
        yield f"{chart.name}: has no NetworkPolicy"


def render(chart: Path, release: str = "trial") -> Iterator[tuple[str, Facts]]:
    """A chart's manifests, by file name.

    Our charts use three expressions only: `.Values.a.b` and `.Release.Name`, each with or without `| quote`.

    Raises:
        ValueError: on any other expression, and on a value that is not there.
    """
    facts = {"Values": yaml.safe_load((chart / "values.yaml").read_text()), "Release": {"Name": release}}
    for template in sorted((chart / "templates").glob("*.yaml")):
        for manifest in yaml.safe_load_all(_filled(template, facts)):
            yield template.name, manifest


def _filled(template: Path, facts: Facts) -> str:
    return _TAG.sub(lambda tag: _spelled(tag.group(1).strip(), facts, template.name), template.read_text())


def _spelled(expression: str, facts: Facts, where: str) -> str:
    match = _VALUE.fullmatch(expression)
    if match is None:
        raise ValueError(f"{where}: {expression!r} is more than our charts may use")
    value: Any = facts[match.group(1)]
    for part in match.group(2).strip(".").split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"{where}: {expression!r} names no value")
        value = value[part]
    return json.dumps(str(value), ensure_ascii=False) if match.group(3) else str(value)


def pod_problems(pod: Facts) -> Iterator[str]:
    """Where a pod falls short of the restricted standard, or of a root that cannot be written."""
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "holds a token of the cluster"
    if pod.get("hostNetwork") or pod.get("hostPID") or pod.get("hostIPC"):
        yield "shares the host's network or processes"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        yield from (f"{container['name']}: {problem}" for problem in _container_problems(container))
    for volume in pod.get("volumes", ()):
        if "hostPath" in volume:
            yield f"volume {volume['name']}: is the host's"
        if "secret" in volume and volume["secret"].get("defaultMode") != 0o400:
            yield f"volume {volume['name']}: its mode is not 0400"


def _container_problems(container: Facts) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("readOnlyRootFilesystem") is not True:
        yield "its root can be written"
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield "may gain privileges"
    if security.get("capabilities", {}) != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if not container.get("resources", {}).get("limits", {}).get("memory"):
        yield "has no memory limit"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


if __name__ == "__main__":
    sys.exit(main())
