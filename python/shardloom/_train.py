"""Training: a process of the program, and its events."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Deque, List, Optional, Sequence, Union

from . import _binary
from ._progress import Bar, Event, Progress
from ._run import Run

#: Lines of stderr that are kept for an error's sentence.
_KEPT_LINES = 200
#: Seconds that a process has to save and end after it was asked to.
_SAVING = 60.0


def train(
    dataset: Union[str, Path, None] = None,
    *,
    output: Union[str, Path, None] = None,
    recipe: Optional[str] = None,
    config: Union[str, Path, None] = None,
    progress: Progress = True,
    arguments: Sequence[str] = (),
    **settings: Any,
) -> Run:
    """Trains a model, evaluates it, and returns its run.

    Ctrl-C stops after the current step: what was learned is saved, :meth:`Run.resume` goes on with it, and
    ``KeyboardInterrupt`` is raised. A second one ends the process at once.

    :param dataset: built-in or public name, directory, archive or file; a built-in genealogy by default.
    :param output: directory of the run; ``runs/<dataset>-<model>-<seed>`` by default.
    :param recipe: built-in recipe; by default the one that suits the dataset, if ``config`` and ``model`` are not given.
    :param config: configuration file.
    :param progress: ``True`` shows a bar in notebooks and on terminals, and a line an epoch elsewhere. A function gets each
        event of ``train --json`` as a dictionary.
    :param arguments: other arguments of ``shardloom train``, such as ``["--processes", "2"]``.
    :param settings: keys of the configuration (``shardloom recipes --keys``), such as ``epochs=20`` or ``dim=64``. The key
        ``lambda`` is ``lambda_`` here.
    :raises ShardloomError: with the program's sentence, if it fails.
    """
    command: List[Any] = ["train"]
    if config is not None:
        command.append(config)
    for flag, value in [("dataset", dataset), ("recipe", recipe), ("output", output)]:
        if value is not None:
            command += [f"--{flag}", value]
    for key, value in settings.items():
        if value is not None:
            command += ["--set", f"{key.rstrip('_')}={toml(value)}"]
    return follow([*command, *arguments], progress)


def toml(value: Any) -> str:
    """Value of a setting as TOML has it.

    :raises TypeError: if TOML has no such value.
    """
    if hasattr(value, "item") and not isinstance(value, (list, tuple)):
        # A scalar of NumPy.
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(part) for part in value) + "]"
    raise TypeError(f"{value!r}: settings are numbers, words, truth values, and lists of these")


def follow(arguments: Sequence[Any], progress: Progress) -> Run:
    """Runs ``train`` to its end, and passes its events on."""
    process = subprocess.Popen(
        _binary.command([*arguments, "--json"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        # A terminal's Ctrl-C reaches this process alone, which hands it on once.
        start_new_session=True,
    )
    said: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
    listener = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    listener.start()
    bar = Bar() if progress is True else None
    show = bar or (progress if callable(progress) else None)
    path: Optional[str] = None
    interrupted = False
    try:
        while True:
            try:
                line = process.stdout.readline() if process.stdout else ""
                if not line:
                    break
                event = _event(line)
                if event is None:
                    continue
                if event["event"] == "run":
                    path = event["path"]
                if show is not None:
                    show(event)
            except KeyboardInterrupt:
                interrupted = True
                _interrupt(process)
        code = process.wait(_SAVING)
    finally:
        if bar is not None:
            bar.close()
        _end(process)
        listener.join(_SAVING)
    if code != 0:
        if interrupted:
            raise KeyboardInterrupt(said[-1].strip() if said else "interrupted")
        raise _binary.failure("".join(said), code)
    if path is None:
        raise _binary.ShardloomError("the program named no run: it is another version than this package", code)
    return Run(path)


def _event(line: str) -> Optional[Event]:
    """Event of a line; ``None`` for another one, such as the rest of a line whose reading was interrupted."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _interrupt(process: "subprocess.Popen[str]") -> None:
    """Asks a process to save and end."""
    if os.name == "nt":
        process.terminate()
    else:
        process.send_signal(signal.SIGINT)


def _end(process: "subprocess.Popen[str]") -> None:
    """Ends a process that still runs, as after an error of a function that shows progress."""
    if process.poll() is None:
        _interrupt(process)
        if process.stdout is not None:
            # Events that nobody reads would hold it up.
            process.stdout.close()
        try:
            process.wait(_SAVING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
