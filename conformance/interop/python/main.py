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
from collections.abc import Iterable
from pathlib import Path

import scenarios  # noqa: F401
from harness import World
from links import Endpoint, StdioEndpoint, WebSocketEndpoint
from processes import Daemon
from registry import SCENARIOS, Scenario
from report import DaemonLog, Tally, join_reasons, one_line

ROOT = Path(__file__).resolve().parents[3]
URL_VARIABLE = "ARCPD_INTEROP_URL"
SCENARIO_SEC = 30.0


async def run_scenario(scenario: Scenario, endpoint: Endpoint) -> str | None:
    """Runs one scenario; None if it passed, else the reason on one line."""
    world = World(endpoint)
    reasons: list[str] = []
    try:
        async with asyncio.timeout(SCENARIO_SEC):
            await scenario.body(world)
    except TimeoutError as error:
        reasons.append(one_line(error, f"did not end within {SCENARIO_SEC:g} s"))
    except Exception as error:
        reasons.append(one_line(error))
    finally:
        await world.close()
    return join_reasons(reasons + world.complaints())


async def run_all(
    chosen: Iterable[Scenario], transport: str, endpoint: Endpoint, log: DaemonLog, tally: Tally
) -> None:
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


async def run_over_stdio(chosen: list[Scenario], binary: Path | None, directory: Path, tally: Tally) -> None:
    log = DaemonLog(directory)
    assert binary is not None
    await run_all(chosen, "stdio", StdioEndpoint(binary, directory, log.file), log, tally)


async def run(plan: dict[str, list[Scenario]], binary: Path | None) -> Tally:
    """Runs the scenarios planned for each transport, in a directory that goes away afterwards."""
    main_task = asyncio.current_task()
    assert main_task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main_task.cancel)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="arcpd-interop-") as name:
        for transport, chosen in plan.items():
            directory = Path(name) / transport
            directory.mkdir()
            run_over = run_over_websocket if transport == "ws" else run_over_stdio
            await run_over(chosen, binary, directory, tally)
    return tally


def find_binary(given: str | None) -> Path | None:
    if given is not None:
        return Path(given).resolve()
    built = (ROOT / "target" / profile / "arcpd" for profile in ("release", "debug"))
    return next((path for path in built if path.is_file()), None)


def binary_problem(binary: Path | None) -> str | None:
    if binary is None:
        return "there is no target/release/arcpd or target/debug/arcpd"
    if not binary.is_file() or not os.access(binary, os.X_OK):
        return f"{binary} is not an executable file"
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="conformance/interop/run --client python", description="The published Python client against arcpd."
    )
    parser.add_argument(
        "binary", nargs="?", help="arcpd to test (default: target/release/arcpd, else target/debug/arcpd)"
    )
    parser.add_argument("--transport", choices=("ws", "stdio", "both"), default="both")
    parser.add_argument("--filter", metavar="TEXT", default="", help="only scenarios whose name contains TEXT")
    parser.add_argument("--list", action="store_true", help="print the scenarios and what each asserts")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    transports = ["ws", "stdio"] if arguments.transport == "both" else [arguments.transport]
    wanted = [s for s in SCENARIOS if arguments.filter in s.name and set(s.transports) & set(transports)]
    if not wanted:
        print(f"interop: no scenario has {arguments.filter!r} in its name; --list shows them", file=sys.stderr)
        return 2
    if arguments.list:
        for scenario in wanted:
            print(f"{'+'.join(scenario.transports):9}  {scenario.name}: {scenario.summary}")
        return 0

    binary = find_binary(arguments.binary)
    if binary is None and os.environ.get(URL_VARIABLE) and "ws" in transports:
        transports = ["ws"]
    elif problem := binary_problem(binary):
        print(
            f"interop: {problem}; build it with `cargo build --release`, name another one as the first"
            f" argument, or set {URL_VARIABLE} to a running daemon",
            file=sys.stderr,
        )
        return 2

    # A handle that nobody awaits is no fault of a scenario that watches the wire.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    plan = {transport: [s for s in wanted if transport in s.transports] for transport in transports}
    try:
        tally = asyncio.run(run({transport: chosen for transport, chosen in plan.items() if chosen}, binary))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interop: interrupted", file=sys.stderr)
        return 130
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
