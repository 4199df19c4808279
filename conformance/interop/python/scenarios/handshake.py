"""Opening a session."""

from __future__ import annotations

from arcp import V1_1_FEATURES, TransportClosed
from harness import OFFERED, HEARTBEAT_SEC, RESUME_WINDOW_SEC, World, equal, fails_with, within
from registry import scenario

DEMO_AGENTS = {"echo", "ticker", "chunker", "spender", "sleeper", "failer"}


@scenario()
async def handshake_welcome_is_complete(world: World) -> None:
    """The welcome carries everything that a session needs later."""
    session = await world.open()
    welcome = session.welcome
    equal(session.wire.received[0]["type"], "session.welcome", "first frame")
    equal(session.wire.received[0]["session_id"], welcome.session_id, "session_id of envelope and payload")
    assert welcome.session_id and welcome.resume_token and welcome.accepted_at, "empty field in the welcome"
    assert welcome.runtime.name and welcome.runtime.version, "the runtime does not name itself"
    equal(welcome.resume_window_sec, RESUME_WINDOW_SEC, "resume_window_sec")
    equal(welcome.heartbeat_interval_sec, HEARTBEAT_SEC, "heartbeat_interval_sec")
    assert "json" in welcome.capabilities.encodings, "encodings without json"


@scenario()
async def handshake_negotiates_what_both_sides_can(world: World) -> None:
    """A client with its default features gets each of them that the daemon offers."""
    session = await world.open()
    equal(set(session.welcome.capabilities.features), OFFERED & set(V1_1_FEATURES), "features in the welcome")
    equal(set(session.client.negotiated_features), OFFERED & set(V1_1_FEATURES), "negotiated features")


@scenario()
async def handshake_features_are_the_intersection(world: World) -> None:
    """The welcome names no feature that the client did not ask for, and none that nobody knows."""
    session = await world.open(features=("list_jobs", "subscribe", "x-interop.unknown"))
    equal(set(session.welcome.capabilities.features), {"list_jobs", "subscribe"}, "features in the welcome")
    equal(await session.run("echo", "still works"), "still works", "echo")


@scenario()
async def handshake_lists_the_agents(world: World) -> None:
    """The inventory names the demo agents with their versions and defaults."""
    session = await world.open()
    agents = {a.name: a for a in session.welcome.capabilities.agents if not isinstance(a, str)}
    assert DEMO_AGENTS <= set(agents), f"missing agents: {sorted(DEMO_AGENTS - set(agents))}"
    equal(sorted(agents["echo"].versions), ["1.0.0", "2.0.0"], "versions of echo")
    equal(agents["echo"].default, "2.0.0", "default version of echo")
    equal(list(agents["ticker"].versions), ["1.0.0"], "versions of ticker")


@scenario()
async def bad_token_is_refused_and_the_connection_closed(world: World) -> None:
    """A wrong token gets UNAUTHENTICATED, then the end of the connection."""
    await fails_with("connect", world.open(token="nope"), "UNAUTHENTICATED")
    wire = world.recorder()
    equal([f["type"] for f in wire.received], ["session.error"], "frames of a refused handshake")
    try:
        frame = await within("the end of the connection", wire.recv())
    except TransportClosed:
        return
    raise AssertionError(f"expected a closed connection, got {frame.get('type')}")


@scenario("ws")
async def sessions_of_one_principal_are_separate(world: World) -> None:
    """Each session has its own id, token, numbering and jobs' frames."""
    first = await world.open()
    second = await world.open()
    assert first.welcome.session_id != second.welcome.session_id, "two sessions with one id"
    assert first.welcome.resume_token != second.welcome.resume_token, "two sessions with one token"
    handle = await first.submit("ticker", {"count": 3, "interval_ms": 5})
    equal(await second.run("echo", 2), 2, "echo in the second session")
    await first.wire.wait_end(handle.job_id)
    await second.settle()
    equal(second.wire.of_job(handle.job_id), [], "frames of another session's job")
