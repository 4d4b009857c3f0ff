"""Names in files of runs (``docs/runs.md``), and in lists that the program reads (``docs/export.md``)."""

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


def lines(path: Path) -> List[str]:
    """Lines of a file. A carriage return is a part of its line, as it may be of a name."""
    found = path.read_bytes().decode("utf-8").split("\n")
    if found[-1] == "":
        found.pop()
    return found


def write(path: Path, names: Iterable[str]) -> None:
    """Writes names to a file."""
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(to_line(name) + "\n" for name in names)
