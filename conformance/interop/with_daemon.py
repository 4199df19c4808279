#!/usr/bin/env python3
"""Runs a command beside a fresh arcpd: how the drivers in other languages get their daemon.

    conformance/interop/with_daemon.py ARCPD -- COMMAND [ARGUMENT…]

The command finds in its environment:
    ARCPD_URL             address of the running daemon, ws://…/arcp
    ARCPD_STDIO           command that serves one session over its standard streams; a JSON array of strings
    ARCPD_TOKEN_ALICE     token of the principal alice; ARCPD_TOKEN_BOB likewise
    ARCPD_HEARTBEAT_SEC   heartbeat interval, in seconds
    ARCPD_RESUME_SEC      resume window, in seconds

Ends with the status of the command, or with 1 if the daemon did not live and end as it should.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from processes import HEARTBEAT_SEC, RESUME_WINDOW_SEC, STOP_SEC, TOKENS, Daemon, stdio_command

TAIL_LINES = 15


def environment(binary: Path, url: str) -> dict[str, str]:
    return {
        **os.environ,
        "ARCPD_URL": url,
        "ARCPD_STDIO": json.dumps(stdio_command(binary)),
        **{f"ARCPD_TOKEN_{name.upper()}": token for name, token in TOKENS.items()},
        "ARCPD_HEARTBEAT_SEC": str(HEARTBEAT_SEC),
        "ARCPD_RESUME_SEC": str(RESUME_WINDOW_SEC),
    }


async def run_command(command: list[str], variables: dict[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(*command, env=variables)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SEC):
                    await process.wait()
            except TimeoutError:
                process.kill()


async def run(binary: Path, command: list[str]) -> int:
    """Starts the daemon in a directory that goes away afterwards, and the command beside it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="arcpd-interop-") as name:
        log = Path(name) / "arcpd.log"
        complaints: list[str] = []
        status = 1
        with log.open("wb") as file:
            daemon = Daemon(binary, Path(name), file)
            try:
                await daemon.start()
                status = await run_command(command, environment(binary, daemon.url))
            except (OSError, RuntimeError) as error:
                complaints.append(str(error))
            finally:
                complaints += await daemon.stop()
        if status or complaints:
            for line in log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]:
                print(f"       | {line[:400]}", file=sys.stderr)
        for complaint in complaints:
            print(f"with_daemon: {complaint}", file=sys.stderr)
        return status or (1 if complaints else 0)


def main() -> int:
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print("usage: conformance/interop/with_daemon.py ARCPD -- COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    try:
        return asyncio.run(run(Path(sys.argv[1]).resolve(), sys.argv[3:]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("with_daemon: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
