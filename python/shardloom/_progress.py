"""Progress of a training run, from the events of the program."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Union

from tqdm.auto import tqdm

#: Event of ``train --json``, which ``docs/runs.md`` lists.
Event = Dict[str, Any]
#: ``True`` shows a bar, ``False`` nothing; a function is called with each event.
Progress = Union[bool, Callable[[Event], None]]


class Bar:
    """Bar in a notebook or on a terminal, and a line an epoch elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind in ("note", "warning"):
            tqdm.write(("warning: " if kind == "warning" else "") + event["text"], file=sys.stderr)
        elif kind == "epoch-begun":
            self._begin(event)
        elif self._bar is None:
            return
        elif kind == "step":
            place = (event["epoch"] - 1) * event["steps"] + event["step"]
            self._bar.update(place - self._bar.n)
        elif kind == "ranking":
            self._bar.set_postfix_str(f"ranking {event['done']} of {event['total']} queries")
        elif kind == "epoch":
            self._told(event)

    def _begin(self, event: Event) -> None:
        done = (event["epoch"] - 1) * event["steps"]
        if self._bar is None:
            total = event["epochs"] * event["steps"]
            # Where there is no terminal, there is no bar.
            self._bar = tqdm(total=total, initial=done, unit="step", disable=None, file=sys.stderr)
        self._bar.set_description(f"epoch {event['epoch']}/{event['epochs']}")
        # A run that was sent back goes on from an earlier step.
        self._bar.update(done - self._bar.n)

    def _told(self, event: Event) -> None:
        figures = f"loss {event['loss']:.4f}" if event.get("loss") is not None else "no finite loss"
        if event.get("valid_mrr") is not None:
            figures += f", valid MRR {event['valid_mrr']:.4f}"
        self._bar.set_postfix_str(figures)
        if self._bar.disable:
            tqdm.write(f"epoch {event['epoch']}/{event['epochs']}: {figures}", file=sys.stderr)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
