"""A transport that remembers every frame that passes through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from arcp import Transport, TransportClosed

Frame = dict[str, Any]
WAIT_SEC = 8.0


class Recorder:
    """Wraps any of the client's transports; scenarios read the frames and wait for the ones they need."""

    def __init__(self, inner: Transport) -> None:
        self.sent: list[Frame] = []
        self.received: list[Frame] = []
        self._inner = inner
        self._ended = False
        self._changed = asyncio.Event()

    async def send(self, envelope: Frame) -> None:
        self.sent.append(envelope)
        await self._inner.send(envelope)

    async def recv(self) -> Frame:
        try:
            frame = await self._inner.recv()
        except TransportClosed:
            self._ended = True
            self._wake()
            raise
        self.received.append(frame)
        self._wake()
        return frame

    async def close(self) -> None:
        await self._inner.close()

    @property
    def is_closed(self) -> bool:
        return self._inner.is_closed

    async def wait_for(
        self, what: str, matches: Callable[[Frame], bool], count: int = 1, timeout: float = WAIT_SEC
    ) -> list[Frame]:
        """The first `count` received frames that match, waiting for those still to come."""
        found: list[Frame] = []
        position = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    while position < len(self.received):
                        frame = self.received[position]
                        position += 1
                        if matches(frame):
                            found.append(frame)
                            if len(found) == count:
                                return found
                    if self._ended:
                        raise AssertionError(f"connection ended after {len(found)} of {count} {what}")
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{len(found)} of {count} {what} within {timeout:g} s") from None

    async def wait_ticks(self, job_id: str, count: int) -> list[Frame]:
        """Waits until `count` progress events of the job have arrived."""
        return await self.wait_for(
            "progress events", lambda f: is_job_frame(f, job_id) and is_progress(f), count
        )

    async def wait_end(self, job_id: str) -> Frame:
        """Waits for the terminal frame of the job."""
        frames = await self.wait_for(
            "terminal frames", lambda f: is_job_frame(f, job_id) and is_terminal(f)
        )
        return frames[0]

    def of_job(self, job_id: str) -> list[Frame]:
        """Every received frame of the job, in order of arrival."""
        return [frame for frame in self.received if is_job_frame(frame, job_id)]

    def stream(self, job_id: str) -> list[Frame]:
        """The job's numbered frames: its events and its terminal frame."""
        return [f for f in self.of_job(job_id) if f["type"] == "job.event" or is_terminal(f)]

    def ticks(self, job_id: str) -> list[int]:
        """The `current` values of the job's progress events, in order of arrival."""
        return [f["payload"]["body"]["current"] for f in self.of_job(job_id) if is_progress(f)]

    def of_type(self, frame_type: str) -> list[Frame]:
        return [frame for frame in self.received if frame.get("type") == frame_type]

    def last_seq(self) -> int:
        """The highest event_seq that has arrived, or 0."""
        return max((f["event_seq"] for f in self.received if isinstance(f.get("event_seq"), int)), default=0)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def job_id_of(frame: Frame) -> str | None:
    if not str(frame.get("type", "")).startswith("job."):
        return None
    payload = frame.get("payload")
    inner = payload.get("job_id") if isinstance(payload, dict) else None
    return frame.get("job_id") or inner


def is_job_frame(frame: Frame, job_id: str) -> bool:
    return job_id_of(frame) == job_id


def is_terminal(frame: Frame) -> bool:
    return frame.get("type") in ("job.result", "job.error")


def is_progress(frame: Frame) -> bool:
    return frame.get("type") == "job.event" and frame["payload"].get("kind") == "progress"


def essence(frame: Frame) -> tuple[Any, ...]:
    """What two sessions that see the same job must agree on."""
    payload = frame["payload"]
    if frame["type"] == "job.event":
        return ("job.event", payload.get("kind"), payload.get("ts"), payload.get("body"))
    return (frame["type"], payload.get("final_status"), payload.get("code"), payload.get("result"))
