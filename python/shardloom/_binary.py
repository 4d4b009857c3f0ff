"""The program ``shardloom``: where it is, and what it says when it fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Iterable, List, Optional

#: Environment variable with the path of the program.
VARIABLE = "SHARDLOOM_BINARY"
#: Last lines of stderr that stand for a sentence where the program has said none.
_LAST_LINES = 10


class ShardloomError(RuntimeError):
    """Failure of the program, in its own words."""

    def __init__(self, sentence: str, exit_code: Optional[int] = None) -> None:
        super().__init__(sentence)
        #: Exit status of the program: 2 for a failure, 130 after an interruption; ``None`` if it was not started. A
        #: negative one is the signal that ended it.
        self.exit_code = exit_code


def find_binary() -> Path:
    """Path of the program: what ``SHARDLOOM_BINARY`` names, else beside this Python's scripts, else on ``PATH``.

    :raises ShardloomError: if there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not os.path.isfile(named):
            raise ShardloomError(f"{VARIABLE} is {named}, and there is no such file")
        return Path(named)
    name = "shardloom.exe" if os.name == "nt" else "shardloom"
    user = "nt_user" if os.name == "nt" else "posix_user"
    folders = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    if user in sysconfig.get_scheme_names():
        folders.append(Path(sysconfig.get_path("scripts", user)))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    raise ShardloomError(
        f"found no program `{name}` in {folders[0]} or on PATH: install the package that carries it (`pip install .` in a"
        f" checkout of shardloom), or set {VARIABLE} to its path"
    )


def failure(stderr: str, exit_code: int) -> ShardloomError:
    """Error of a program that ended with a status other than 0, from what it wrote to stderr."""
    lines = stderr.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        told = lines[starts[-1] :]
        # Usage follows what the parser of arguments says.
        ends = [at for at, line in enumerate(told) if line.startswith(("Usage:", "For more information"))]
        told = told[: ends[0]] if ends else told
        told[0] = told[0][len("error: ") :]
        sentence = "\n".join(line for line in told if line.strip())
    elif exit_code < 0:
        sentence = f"the program was ended by {signal.Signals(-exit_code).name}"
    else:
        sentence = "\n".join(lines[-_LAST_LINES:]) or f"the program ended with status {exit_code} and said nothing"
    return ShardloomError(sentence, exit_code)


def command(arguments: Iterable[Any]) -> List[str]:
    """Command that runs the program."""
    return [str(find_binary()), *(str(argument) for argument in arguments)]


def run(arguments: Iterable[Any]) -> str:
    """Runs the program and returns what it wrote to stdout.

    :raises ShardloomError: if it fails.
    """
    done = subprocess.run(
        command(arguments), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode != 0:
        raise failure(done.stderr, done.returncode)
    return done.stdout
