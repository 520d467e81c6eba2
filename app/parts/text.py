"""Text from files and people, shown as it is: a page would read Markdown in it, and fetch what that names."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"[\\`*{}\[\]<>#|~:$]|(?<![^\W_])_|_(?![^\W_])")


def as_text(text: str) -> str:
    """Markdown that shows these very characters, in one paragraph."""
    return " ".join(_MARKDOWN.sub(r"\\\g<0>", text).split())
