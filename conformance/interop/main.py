"""Runs the published Python client, unmodified, against arcpd and reports what a user would notice.

For each transport a fresh daemon is started, every scenario runs against it with sessions of its own, and the
frames of every session are checked against the rules that hold always. The last line is `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import scenarios  # noqa: F401
from harness import World
from links import Endpoint, StdioEndpoint, WebSocketEndpoint
from processes import Daemon
from registry import SCENARIOS, Scenario

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
URL_VARIABLE = "ARCPD_INTEROP_URL"
SCENARIO_SEC = 30.0
TAIL_LINES = 15


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
    """The daemon's standard error, in a file, so that its end can be shown with a failure."""

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


async def run_scenario(scenario: Scenario, endpoint: Endpoint) -> str | None:
    """Runs one scenario; None if it passed, else the reason on one line."""
    world = World(endpoint)
    reason: str | None = None
    try:
        async with asyncio.timeout(SCENARIO_SEC):
            await scenario.body(world)
    except TimeoutError as error:
        reason = one_line(error, f"did not end within {SCENARIO_SEC:g} s")
    except Exception as error:
        reason = one_line(error)
    finally:
        await world.close()
    return join_reasons(([reason] if reason else []) + world.complaints())


def one_line(error: BaseException, text: str | None = None) -> str:
    """The message of an error and the line of ours that it came through."""
    message = text or str(error) or type(error).__name__
    if text is None and not isinstance(error, AssertionError):
        message = f"{type(error).__name__}: {message}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent.name == "scenarios"]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{' '.join(message.split())[:500]}{place}"


def join_reasons(reasons: list[str]) -> str | None:
    if not reasons:
        return None
    shown = "; ".join(reasons[:3])
    return shown if len(reasons) <= 3 else f"{shown}; and {len(reasons) - 3} more"


async def run_all(chosen: Iterable[Scenario], transport: str, endpoint: Endpoint, log: DaemonLog, tally: Tally) -> None:
    for scenario in chosen:
        log.mark()
        reason = await run_scenario(scenario, endpoint)
        if reason is None:
            tally.ok(transport, scenario.name)
        else:
            tally.fail(transport, scenario.name, reason)
            log.show_tail()


async def run_over_websocket(chosen: list[Scenario], binary: Path | None, directory: Path, tally: Tally) -> None:
    log = DaemonLog(directory)
    url = os.environ.get(URL_VARIABLE)
    if url:
        await run_all(chosen, "ws", WebSocketEndpoint(url), log, tally)
        return
    assert binary is not None
    daemon = Daemon(binary, directory, log.file)
    complaints: list[str] = []
    try:
        await daemon.start()
        await run_all(chosen, "ws", WebSocketEndpoint(daemon.url), log, tally)
    except (OSError, RuntimeError) as error:
        complaints.append(str(error))
    finally:
        complaints += await daemon.stop()
    if complaints:
        tally.fail("ws", "daemon_starts_and_stops", "; ".join(complaints))
        log.show_tail()
    else:
        tally.ok("ws", "daemon_starts_and_stops")


async def run_over_stdio(chosen: list[Scenario], binary: Path, directory: Path, tally: Tally) -> None:
    log = DaemonLog(directory)
    await run_all(chosen, "stdio", StdioEndpoint(binary, directory, log.file), log, tally)


def find_binary(given: str | None) -> Path | None:
    if given is not None:
        return Path(given).resolve()
    built = (ROOT / "target" / profile / "arcpd" for profile in ("release", "debug"))
    return next((path for path in built if path.is_file()), None)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance/interop/run", description="The published Python client against arcpd.")
    parser.add_argument("binary", nargs="?", help="arcpd to test (default: target/release/arcpd, else target/debug/arcpd)")
    parser.add_argument("--transport", choices=("ws", "stdio", "both"), default="both")
    parser.add_argument("--filter", metavar="TEXT", default="", help="only scenarios whose name contains TEXT")
    parser.add_argument("--list", action="store_true", help="print the scenarios and what each asserts")
    return parser.parse_args()


async def run(arguments: argparse.Namespace, binary: Path | None, transports: list[str]) -> Tally:
    main_task = asyncio.current_task()
    assert main_task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main_task.cancel)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="arcpd-interop-") as name:
        for transport in transports:
            directory = Path(name) / transport
            directory.mkdir()
            chosen = [s for s in SCENARIOS if transport in s.transports and arguments.filter in s.name]
            if transport == "ws":
                await run_over_websocket(chosen, binary, directory, tally)
            else:
                assert binary is not None
                await run_over_stdio(chosen, binary, directory, tally)
    return tally


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        for scenario in SCENARIOS:
            if arguments.filter in scenario.name:
                print(f"{'+'.join(scenario.transports):9}  {scenario.name}: {scenario.summary}")
        return 0

    transports = ["ws", "stdio"] if arguments.transport == "both" else [arguments.transport]
    binary = find_binary(arguments.binary)
    if binary is None and os.environ.get(URL_VARIABLE) and "ws" in transports:
        transports = ["ws"]
    elif binary is None or not os.access(binary, os.X_OK) or not binary.is_file():
        where = f"{binary} is not an executable file" if binary else "there is no target/release/arcpd or target/debug/arcpd"
        print(
            f"interop: {where}; build it with `cargo build --release`, name another one as the first argument,"
            f" or set {URL_VARIABLE} to a running daemon",
            file=sys.stderr,
        )
        return 2

    # A handle that nobody awaits is no fault of a scenario that watches the wire.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        tally = asyncio.run(run(arguments, binary, transports))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interop: interrupted", file=sys.stderr)
        return 130
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
