"""The ways to reach arcpd: one link carries one session."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from arcp import StdioTransport, Transport, WebSocketTransport

from processes import start_stdio, stop


class Link(Protocol):
    transport: Transport

    async def drop(self) -> None:
        """Breaks the connection without a word."""

    async def dispose(self) -> None:
        """Releases whatever the link still holds."""


class Endpoint(Protocol):
    async def connect(self) -> Link: ...


class WebSocketLink:
    def __init__(self, sock: socket.socket, transport: Transport) -> None:
        self.transport = transport
        self._socket = sock

    async def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def dispose(self) -> None:
        await self.transport.close()


class WebSocketEndpoint:
    def __init__(self, url: str) -> None:
        self._url = url

    async def connect(self) -> Link:
        # The socket is our own, so that a scenario can break it below the WebSocket protocol.
        parts = urlsplit(self._url)
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname or "", parts.port or 80))
            transport = await WebSocketTransport.connect(self._url, sock=sock, close_timeout=2)
        except BaseException:
            sock.close()
            raise
        return WebSocketLink(sock, transport)


class StdioLink:
    def __init__(self, process: asyncio.subprocess.Process, transport: Transport) -> None:
        self.transport = transport
        self.process = process

    async def drop(self) -> None:
        self.process.kill()

    async def dispose(self) -> None:
        with contextlib.suppress(OSError):
            await self.transport.close()
        await stop(self.process)


class StdioEndpoint:
    def __init__(self, binary: Path, directory: Path, log: IO[bytes]) -> None:
        self._binary = binary
        self._directory = directory
        self._log = log

    async def connect(self) -> Link:
        process = await start_stdio(self._binary, self._directory, self._log)
        return StdioLink(process, await StdioTransport.from_process_pipes(process))
