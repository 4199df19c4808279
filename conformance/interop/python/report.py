"""One line for each scenario, and the daemon's last words where one failed."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 15
SHOWN_REASONS = 3


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0

    def ok(self, transport: str, name: str) -> None:
        self.passed += 1
        print(f"ok   {transport:5}  {name}", flush=True)

    def fail(self, transport: str, name: str, reason: str) -> None:
        self.failed += 1
        print(f"FAIL {transport:5}  {name}: {reason}", flush=True)


class DaemonLog:
    """The daemon's standard error, in a file, so that what it said during a failed scenario can be shown."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "arcpd.log"
        self.file = self._path.open("ab")
        self._mark = 0

    def mark(self) -> None:
        self._mark = self._path.stat().st_size

    def show_tail(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._mark)
            lines = file.read().decode("utf-8", "replace").splitlines()
        for line in lines[-TAIL_LINES:]:
            print(f"       | {line[:400]}", file=sys.stderr, flush=True)


def one_line(error: BaseException, text: str | None = None) -> str:
    """The message of an error, and the line of the scenario that it came through."""
    message = text or str(error) or type(error).__name__
    if text is None and not isinstance(error, AssertionError):
        message = f"{type(error).__name__}: {message}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent.name == "scenarios"]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{' '.join(message.split())[:500]}{place}"


def join_reasons(reasons: list[str]) -> str | None:
    """The first few reasons on one line; None if there are none."""
    if not reasons:
        return None
    shown = "; ".join(reasons[:SHOWN_REASONS])
    more = len(reasons) - SHOWN_REASONS
    return f"{shown}; and {more} more" if more > 0 else shown
