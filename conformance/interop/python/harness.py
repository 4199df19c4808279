"""What a scenario works with: sessions of the published client whose frames are recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from arcp import ARCPError, ClientInfo, LeaseConstraints, ListJobsFilter, SessionResume, SessionWelcomePayload
from arcp.client import ARCPClient, AutoAckOptions, JobHandle, JobSubscription

from invariants import Carried, carry_over, violations
from links import Endpoint, Link
from processes import HEARTBEAT_SEC, RESUME_WINDOW_SEC, TOKENS
from recorder import WAIT_SEC, Recorder

T = TypeVar("T")

# What the daemon offers today; budgets, models and credentials come later.
OFFERED = {
    "heartbeat", "ack", "list_jobs", "subscribe", "lease_expires_at", "progress", "result_chunk", "agent_versions",
}


async def within(what: str, awaitable: Awaitable[T], timeout: float = WAIT_SEC) -> T:
    """Awaits with a bound, and says what did not happen."""

    async def run() -> T:
        return await awaitable

    task = asyncio.ensure_future(run())
    try:
        done, _ = await asyncio.wait([task], timeout=timeout)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if not done:
        raise AssertionError(f"{what} did not complete within {timeout:g} s")
    return task.result()


def equal(actual: Any, expected: Any, what: str) -> None:
    if actual == expected and type(actual) is type(expected):
        return
    if isinstance(actual, list) and isinstance(expected, list) and len(expected) > 4:
        what, expected, actual = _first_difference(actual, expected, what)
    raise AssertionError(f"{what}: expected {_short(expected)}, got {_short(actual)}")


def _first_difference(actual: list[Any], expected: list[Any], what: str) -> tuple[str, Any, Any]:
    same = 0
    while same < min(len(actual), len(expected)) and actual[same] == expected[same]:
        same += 1
    place = f"{what}: {len(actual)} where {len(expected)} were due, different from index {same}"
    return place, expected[same : same + 3], actual[same : same + 3]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 240 else f"{text[:150]} … {text[-80:]} ({len(text)} characters)"


async def fails_with(what: str, awaitable: Awaitable[Any], *codes: str) -> ARCPError:
    """The call must raise one of the protocol's errors with one of these codes."""
    try:
        value = await within(what, awaitable)
    except ARCPError as error:
        assert error.code in codes, f"{what}: expected {' or '.join(codes)}, got {error.code}: {error.message}"
        assert error.message, f"{what}: error without a message"
        return error
    raise AssertionError(f"{what}: expected {' or '.join(codes)}, got {_short(value)}")


async def result_of(handle: JobHandle, timeout: float = WAIT_SEC) -> Any:
    """The inline result of a job that must succeed."""
    payload = await within(f"job {handle.agent_ref}", handle.done, timeout)
    equal(payload.final_status, "success", f"final status of {handle.agent_ref}")
    return payload.result


async def final_status_of(handle: JobHandle, timeout: float = WAIT_SEC) -> str:
    payload = await within(f"job {handle.agent_ref}", handle.done, timeout)
    return payload.final_status


async def events_of(handle: JobHandle, timeout: float = WAIT_SEC) -> list[dict[str, Any]]:
    """All events that the handle yields until its job ends."""

    async def collect() -> list[dict[str, Any]]:
        return [event async for event in handle.events()]

    return await within(f"events of {handle.agent_ref}", collect(), timeout)


async def ticks_of(handle: JobHandle, timeout: float = WAIT_SEC) -> list[int]:
    """The `current` values of the progress events that the handle yields until its job ends."""
    return [e["body"]["current"] for e in await events_of(handle, timeout) if e["kind"] == "progress"]


class ClientLog:
    """Stands in for the client's logger, to learn why its read pump died."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def exception(self, event: str, **details: Any) -> None:
        self.failures.append(f"{event}: {details.get('error')}")

    def __getattr__(self, _level: str) -> Any:
        return lambda *args, **kwargs: None


@dataclass
class Session:
    """One connection of the client, with what passed over it."""

    client: ARCPClient
    wire: Recorder
    link: Link
    log: ClientLog
    carried: Carried
    principal: str
    welcome: SessionWelcomePayload

    async def submit(
        self,
        agent: str,
        input: Any = None,
        *,
        lease: dict[str, list[str]] | None = None,
        expires_at: str | None = None,
        key: str | None = None,
        max_runtime_sec: int | None = None,
        trace_id: str | None = None,
    ) -> JobHandle:
        constraints = LeaseConstraints(expires_at=expires_at) if expires_at is not None else None
        submitting = self.client.submit(
            agent=agent,
            input=input,
            lease_request=lease,
            lease_constraints=constraints,
            idempotency_key=key,
            max_runtime_sec=max_runtime_sec,
            trace_id=trace_id,
        )
        return await within(f"submit {agent}", submitting)

    async def run(self, agent: str, input: Any = None, **options: Any) -> Any:
        """Submits and returns the inline result."""
        return await result_of(await self.submit(agent, input, **options))

    async def refused(self, code: str, agent: str, input: Any = None, **options: Any) -> ARCPError:
        """Submits what must be refused; the refusal may reach `submit()` or the handle's `done`."""

        async def attempt() -> Any:
            handle = await self.submit(agent, input, **options)
            return await handle.done

        return await fails_with(f"submit {agent}", attempt(), code)

    async def list_jobs(
        self, filter: ListJobsFilter | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Any:
        return await within("list_jobs", self.client.list_jobs(filter=filter, limit=limit, cursor=cursor))

    async def subscribe(
        self, job_id: str, *, history: bool = False, from_event_seq: int | None = None
    ) -> JobSubscription:
        subscribing = self.client.subscribe(job_id, history=history, from_event_seq=from_event_seq)
        return await within("subscribe", subscribing)

    async def settle(self) -> None:
        """A round trip: whatever was sent before has been handled when it returns."""
        await self.list_jobs(limit=1)

    def last_seq(self) -> int:
        return max(self.wire.last_seq(), self.carried.last_event_seq)


class World:
    """Opens sessions for one scenario, judges their frames and takes everything down again."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._links: list[Link] = []
        self._clients: list[ARCPClient] = []
        self._connections: list[tuple[Recorder, ClientLog, Carried]] = []

    async def open(
        self,
        principal: str = "alice",
        *,
        token: str | None = None,
        features: tuple[str, ...] | None = None,
        auto_ack: AutoAckOptions | bool = False,
    ) -> Session:
        """A new session of this principal."""
        return await self._connect(principal, token, features, auto_ack, None, Carried())

    async def resume(
        self,
        session: Session,
        *,
        principal: str | None = None,
        resume_token: str | None = None,
        last_event_seq: int | None = None,
    ) -> Session:
        """Takes a session up again on a new connection, by default as a well-behaved client would."""
        seq = session.last_seq() if last_event_seq is None else last_event_seq
        resume = SessionResume(
            session_id=session.welcome.session_id,
            resume_token=resume_token or session.welcome.resume_token,
            last_event_seq=seq,
        )
        carried = carry_over(session.wire.received, session.carried, seq)
        return await self._connect(principal or session.principal, None, None, False, resume, carried)

    async def drop(self, session: Session) -> None:
        """Breaks the session's connection as a failing network would."""
        await session.link.drop()
        await within("closing a broken client", session.client.close())

    def recorder(self) -> Recorder:
        """The recorder of the newest connection, also where its handshake was refused."""
        return self._connections[-1][0]

    def link(self) -> Link:
        """The link of the newest connection."""
        return self._links[-1]

    def complaints(self) -> list[str]:
        """What was wrong on the wire, whatever the scenario looked at."""
        found: list[str] = []
        for wire, log, carried in self._connections:
            found += [f"the client gave up: {failure}" for failure in log.failures]
            found += violations(wire.received, carried)
        return found

    async def close(self) -> None:
        for client in self._clients:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await client.close()
        for link in self._links:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(12):
                    await link.dispose()

    async def _connect(
        self,
        principal: str,
        token: str | None,
        features: tuple[str, ...] | None,
        auto_ack: AutoAckOptions | bool,
        resume: SessionResume | None,
        carried: Carried,
    ) -> Session:
        link = await within("connecting", self._endpoint.connect())
        self._links.append(link)
        wire = Recorder(link.transport)
        log = ClientLog()
        self._connections.append((wire, log, carried))
        client = ARCPClient(
            client=ClientInfo(name="interop", version="1"),
            token=TOKENS[principal] if token is None else token,
            features=features,
            auto_ack=auto_ack,
            logger=log,
        )
        self._clients.append(client)
        if resume is None:
            welcome = await within("connect", client.connect(wire))
        else:
            welcome = await within("resume", client.resume(wire, resume=resume))
        return Session(client, wire, link, log, carried, principal, welcome)
