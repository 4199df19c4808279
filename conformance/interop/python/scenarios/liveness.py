"""Sessions that are idle, acknowledge or end."""

from __future__ import annotations

import asyncio

from arcp import V1_1_FEATURES
from harness import HEARTBEAT_SEC, World, equal, fails_with, result_of, ticks_of, within
from links import StdioLink
from registry import scenario


@scenario()
async def idle_session_is_pinged_and_stays_alive(world: World) -> None:
    """Three idle intervals: pings arrive, the client answers each, and the session still works."""
    session = await world.open()
    pings = await session.wire.wait_for(
        "pings", lambda f: f["type"] == "session.ping", count=3, timeout=HEARTBEAT_SEC * 5
    )
    assert all(f["payload"].get("nonce") and f["payload"].get("sent_at") for f in pings), "incomplete ping"
    equal(len({f["payload"]["nonce"] for f in pings}), 3, "distinct nonces")
    equal(await session.run("echo", "alive"), "alive", "echo after three idle intervals")
    answered = [f["payload"]["ping_nonce"] for f in session.wire.sent if f["type"] == "session.pong"]
    equal(answered, [f["payload"]["nonce"] for f in session.wire.of_type("session.ping")], "answered pings")


@scenario("ws")
async def session_without_heartbeat_is_left_alone(world: World) -> None:
    """A client that did not negotiate heartbeat is neither pinged nor given up."""
    quiet = await world.open(features=tuple(f for f in V1_1_FEATURES if f != "heartbeat"))
    clock = await world.open()
    await clock.wire.wait_for(
        "pings", lambda f: f["type"] == "session.ping", count=3, timeout=HEARTBEAT_SEC * 5
    )
    equal(quiet.wire.of_type("session.ping"), [], "pings")
    equal(await quiet.run("echo", "alive"), "alive", "echo after three idle intervals")


@scenario()
async def a_long_job_outlives_several_heartbeats(world: World) -> None:
    """A job that says nothing for two intervals ends well, and its session with it."""
    session = await world.open()
    handle = await session.submit("sleeper", {"ms": HEARTBEAT_SEC * 2000 + 300})
    equal(await result_of(handle), {"slept_ms": HEARTBEAT_SEC * 2000 + 300}, "result")


@scenario()
async def ack_changes_nothing_in_the_stream(world: World) -> None:
    """Acknowledging every event, and one twice, has no answer and loses nothing."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 15, "interval_ms": 5})
    for count in range(1, 11):
        await session.wire.wait_ticks(handle.job_id, count)
        await session.client.ack(session.last_seq())
    await session.client.ack(1)
    equal(await ticks_of(handle), list(range(1, 16)), "ticks")
    equal(session.wire.of_type("session.error"), [], "session.error frames")


@scenario("stdio")
async def process_ends_with_its_session(world: World) -> None:
    """After goodbye and the end of its input `arcpd stdio` exits with status 0."""
    session = await world.open()
    equal(await session.run("echo", 1), 1, "echo")
    await session.client.close()
    assert isinstance(session.link, StdioLink)
    equal(await within("the end of the process", session.link.process.wait()), 0, "exit status")


@scenario("stdio")
async def refused_process_ends(world: World) -> None:
    """A process that refused its only session exits by itself."""
    await fails_with("connect", world.open(token="nope"), "UNAUTHENTICATED")
    link = world.link()
    assert isinstance(link, StdioLink)
    await within("the end of the process", link.process.wait())


@scenario("ws")
async def many_sessions_at_once(world: World) -> None:
    """Thirty sessions of two principals work side by side."""

    async def one(i: int) -> None:
        session = await world.open("alice" if i % 2 else "bob")
        equal(await session.run("echo", i), i, "echo")
        handle = await session.submit("ticker", {"count": 10, "interval_ms": 2})
        equal(await ticks_of(handle), list(range(1, 11)), "ticks")

    await asyncio.gather(*(one(i) for i in range(30)))
