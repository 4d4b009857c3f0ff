"""Names in files: one a line, as ``docs/export.md`` describes them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Iterable, List, Optional


def _quoted(line: str) -> Optional[str]:
    """Value of a line that is a whole JSON string."""
    if len(line) > 1 and line[0] == line[-1] == '"':
        try:
            value = json.loads(line)
        except ValueError:
            return None
        return value if isinstance(value, str) else None
    return None


def from_line(line: str) -> str:
    """Name that a line stands for."""
    value = _quoted(line)
    return line if value is None else value


def _splits(name: str) -> bool:
    """Whether a name would break a table, or reads as a JSON string of such a name."""
    value = _quoted(name)
    return any(c in name for c in "\t\n\r") or (value is not None and _splits(value))


def from_field(text: str) -> str:
    """Name that a field of ``valid.tsv`` or ``test.tsv`` of a run stands for."""
    value = _quoted(text)
    return value if value is not None and _splits(value) else text


def to_line(name: str) -> str:
    """Line that stands for a name."""
    odd = name != name.strip() or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name if c != "\t")
    if not name or odd or _quoted(name) is not None:
        return json.dumps(name)
    return name


def read(path: Path) -> List[str]:
    """Names of a file."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [from_line(line) for line in lines]


def write(path: Path, names: Iterable[str]) -> None:
    """Writes names to a file."""
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(to_line(name) + "\n" for name in names)
