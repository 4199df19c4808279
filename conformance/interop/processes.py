"""Starting and stopping arcpd."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from typing import IO

TOKENS = {"alice": "tok-a", "bob": "tok-b"}
HEARTBEAT_SEC = 2
RESUME_WINDOW_SEC = 60
FLAGS = (
    "--store", "memory",
    "--demo-agents",
    *(part for name, token in TOKENS.items() for part in ("--token", f"{name}={token}")),
    "--heartbeat-interval", str(HEARTBEAT_SEC),
    "--resume-window", str(RESUME_WINDOW_SEC),
)  # fmt: skip
START_SEC = 15.0
STOP_SEC = 5.0
LINE_LIMIT = 2**21
READY = re.compile(r"^arcpd listening on (ws://\S+/arcp)$")


async def stop(process: asyncio.subprocess.Process) -> bool:
    """SIGTERM, then SIGKILL after five seconds; True if the process went of its own accord."""
    rest = asyncio.create_task(_discard(process.stdout))
    try:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SEC):
            await process.wait()
        return True
    except (TimeoutError, asyncio.CancelledError):
        if process.returncode is None:
            process.kill()
        await process.wait()
        return False
    finally:
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)


async def _discard(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(65536):
        pass


class Daemon:
    """`arcpd serve` on a free port of the loopback interface."""

    def __init__(self, binary: Path, directory: Path, log: IO[bytes]) -> None:
        self.url = ""
        self._binary = binary
        self._directory = directory
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._extra_lines: list[str] = []
        self._drain: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(self._binary), "serve", "--listen", "127.0.0.1:0", *FLAGS,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            cwd=self._directory,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_SEC):
                line = await self._read_line()
        except TimeoutError:
            raise RuntimeError(f"arcpd serve printed no line within {START_SEC:g} s") from None
        ready = READY.match(line or "")
        if ready is None:
            said = "ended without a word" if line is None else f"printed {line!r}"
            raise RuntimeError(f"arcpd serve {said} where `arcpd listening on ws://…/arcp` was due")
        self.url = ready.group(1)
        self._drain = asyncio.create_task(self._collect_extra_lines())

    async def stop(self) -> list[str]:
        """Ends the daemon; returns what was wrong with its life, in words."""
        if self._process is None:
            return []
        complaints: list[str] = []
        if self._process.returncode is not None:
            complaints.append(f"the daemon had ended by itself with status {self._process.returncode}")
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)
        if not await stop(self._process):
            complaints.append(f"the daemon did not end within {STOP_SEC:g} s of SIGTERM")
        if self._extra_lines:
            complaints.append(f"more than one line on stdout: {self._extra_lines[0]!r}")
        return complaints

    async def _read_line(self) -> str | None:
        assert self._process is not None and self._process.stdout is not None
        line = await self._process.stdout.readline()
        return line.decode("utf-8", "replace").rstrip("\n") if line else None

    async def _collect_extra_lines(self) -> None:
        while (line := await self._read_line()) is not None:
            self._extra_lines.append(line)


def stdio_command(binary: Path) -> list[str]:
    """`arcpd stdio`: one process is one session."""
    return [str(binary), "stdio", *FLAGS]


async def start_stdio(binary: Path, directory: Path, log: IO[bytes]) -> asyncio.subprocess.Process:
    """Starts `arcpd stdio` with its pipes at our end."""
    return await asyncio.create_subprocess_exec(
        *stdio_command(binary),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        cwd=directory,
        limit=LINE_LIMIT,
    )  # fmt: skip
