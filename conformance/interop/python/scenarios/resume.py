"""Connections that break and sessions that do not.

A client object that resumes has no handles for the jobs of before, so these scenarios watch the wire.
"""

from __future__ import annotations

from arcp import V1_1_FEATURES
from arcp.client import AutoAckOptions
from harness import OFFERED, Session, World, equal, fails_with, result_of
from recorder import essence
from registry import scenario

COUNT = 40
SLOW = {"count": COUNT, "interval_ms": 20}
ALL = list(range(1, COUNT + 1))


def check_welcome(before: Session, after: Session) -> None:
    equal(after.wire.received[0]["type"], "session.welcome", "first frame")
    equal(after.welcome.session_id, before.welcome.session_id, "session id")
    assert after.welcome.resume_token != before.welcome.resume_token, "the resume token did not change"
    equal(set(after.client.negotiated_features), OFFERED & set(V1_1_FEATURES), "features after the resume")


async def watch(world: World, job_id: str) -> Session:
    """A second session that tells how far the job is while the first is away."""
    watcher = await world.open()
    await watcher.subscribe(job_id, history=True)
    return watcher


@scenario("ws")
async def resume_in_the_middle_of_a_stream(world: World) -> None:
    """Three broken connections in one stream: nothing missing, nothing twice, the end arrives."""
    session = await world.open()
    handle = await session.submit("ticker", SLOW)
    watcher = await watch(world, handle.job_id)
    ticks: list[int] = []
    for progress in (5, 15, 25):
        await watcher.wire.wait_ticks(handle.job_id, progress)
        await session.wire.wait_ticks(handle.job_id, 2)
        await world.drop(session)
        ticks += session.wire.ticks(handle.job_id)
        await watcher.wire.wait_ticks(handle.job_id, progress + 4)
        resumed = await world.resume(session)
        check_welcome(session, resumed)
        session = resumed
    end = await session.wire.wait_end(handle.job_id)
    ticks += session.wire.ticks(handle.job_id)
    equal(ticks, ALL, "ticks over all connections")
    equal(end["payload"]["result"], {"ticks": COUNT}, "result")
    equal(await session.run("echo", "next"), "next", "a new job after the resume")


@scenario("ws")
async def resume_after_the_job_has_ended(world: World) -> None:
    """A job that ends while its client is away is replayed to its end."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 15, "interval_ms": 10})
    watcher = await watch(world, handle.job_id)
    await session.wire.wait_ticks(handle.job_id, 3)
    await world.drop(session)
    await watcher.wire.wait_end(handle.job_id)
    resumed = await world.resume(session)
    await resumed.wire.wait_end(handle.job_id)
    stream = session.wire.stream(handle.job_id) + resumed.wire.stream(handle.job_id)
    seen = [essence(f) for f in stream]
    equal(seen, [essence(f) for f in watcher.wire.stream(handle.job_id)], "stream over both connections")


@scenario("ws")
async def resume_when_caught_up(world: World) -> None:
    """Nothing to replay: the session just goes on, and so does its numbering."""
    session = await world.open()
    await session.run("ticker", {"count": 3, "interval_ms": 1})
    await world.drop(session)
    resumed = await world.resume(session)
    check_welcome(session, resumed)
    equal(await resumed.run("echo", "next"), "next", "echo")
    numbered = [f for f in resumed.wire.received if "event_seq" in f]
    equal(numbered[0]["event_seq"], session.last_seq() + 1, "first number after the resume")


@scenario("ws")
async def resume_of_a_session_without_jobs(world: World) -> None:
    """A session that never did anything can be resumed from 0."""
    session = await world.open()
    await world.drop(session)
    resumed = await world.resume(session)
    check_welcome(session, resumed)
    equal(await resumed.run("echo", "first"), "first", "echo")


@scenario("ws")
async def resume_from_an_earlier_position(world: World) -> None:
    """A client that lost what it had received gets it again, unchanged."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 10, "interval_ms": 1})
    await result_of(handle)
    await world.drop(session)
    resumed = await world.resume(session, last_event_seq=4)
    await resumed.wire.wait_end(handle.job_id)
    before = [(f["event_seq"], essence(f)) for f in session.wire.stream(handle.job_id)]
    after = [(f["event_seq"], essence(f)) for f in resumed.wire.stream(handle.job_id)]
    equal(after, before[4:], "replay")


@scenario("ws")
async def resume_with_several_jobs(world: World) -> None:
    """Interleaved streams of four jobs survive a broken connection together."""
    session = await world.open()
    handles = [await session.submit("ticker", {"count": 20, "interval_ms": 12 + i}) for i in range(4)]
    await session.wire.wait_ticks(handles[0].job_id, 5)
    await world.drop(session)
    resumed = await world.resume(session)
    for handle in handles:
        await resumed.wire.wait_end(handle.job_id)
        ticks = session.wire.ticks(handle.job_id) + resumed.wire.ticks(handle.job_id)
        equal(ticks, list(range(1, 21)), "ticks over both connections")


@scenario("ws")
async def cancel_after_resume(world: World) -> None:
    """A resumed session keeps its authority over its jobs."""
    session = await world.open()
    handle = await session.submit("sleeper", {"ms": 20000})
    await world.drop(session)
    resumed = await world.resume(session)
    await resumed.client.cancel_job(handle.job_id)
    end = await resumed.wire.wait_end(handle.job_id)
    equal(end["payload"]["final_status"], "cancelled", "final status")
    types = [f["type"] for f in resumed.wire.of_job(handle.job_id) if f["type"] != "job.event"]
    equal(types, ["job.cancelled", "job.result"], "frames of the cancelled job")


@scenario("ws")
async def stale_resume_token_is_refused(world: World) -> None:
    """Once the new connection is in use the old token is void; the newest one works."""
    session = await world.open()
    await session.run("echo", 1)
    await world.drop(session)
    resumed = await world.resume(session)
    equal(await resumed.run("echo", 2), 2, "echo after the resume")
    await world.drop(resumed)
    stale = world.resume(resumed, resume_token=session.welcome.resume_token)
    await fails_with("resume with a stale token", stale, "RESUME_WINDOW_EXPIRED")
    again = await world.resume(resumed)
    check_welcome(resumed, again)
    equal(await again.run("echo", 3), 3, "echo after the second resume")


@scenario("ws")
async def invented_resume_token_is_refused(world: World) -> None:
    """A token that nobody issued: RESUME_WINDOW_EXPIRED, and the true one still works."""
    session = await world.open()
    await world.drop(session)
    invented = world.resume(session, resume_token="rt_0123456789abcdef0123456789abcdef")
    await fails_with("resume with an invented token", invented, "RESUME_WINDOW_EXPIRED")
    check_welcome(session, await world.resume(session))


@scenario("ws")
async def another_principal_cannot_resume(world: World) -> None:
    """bob with alice's token is refused, and alice still gets everything."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 20, "interval_ms": 15})
    await session.wire.wait_ticks(handle.job_id, 3)
    await world.drop(session)
    theft = world.resume(session, principal="bob")
    await fails_with("resume as bob", theft, "RESUME_WINDOW_EXPIRED", "PERMISSION_DENIED")
    equal([f["type"] for f in world.recorder().received], ["session.error"], "frames that bob got")
    resumed = await world.resume(session)
    await resumed.wire.wait_end(handle.job_id)
    ticks = session.wire.ticks(handle.job_id) + resumed.wire.ticks(handle.job_id)
    equal(ticks, list(range(1, 21)), "ticks over both connections")


@scenario("ws")
async def subscriptions_survive_resume(world: World) -> None:
    """A watcher whose connection breaks goes on watching where it was."""
    submitter = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    watcher = await watch(world, handle.job_id)
    await watcher.wire.wait_ticks(handle.job_id, 6)
    await world.drop(watcher)
    await submitter.wire.wait_ticks(handle.job_id, 12)
    resumed = await world.resume(watcher)
    await resumed.wire.wait_end(handle.job_id)
    await result_of(handle)
    seen = [essence(f) for f in watcher.wire.stream(handle.job_id) + resumed.wire.stream(handle.job_id)]
    equal(seen, [essence(f) for f in submitter.wire.stream(handle.job_id)], "stream over both connections")


@scenario("ws")
async def unsubscribe_after_resume(world: World) -> None:
    """A resumed watcher can still leave."""
    submitter = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    watcher = await watch(world, handle.job_id)
    await watcher.wire.wait_ticks(handle.job_id, 3)
    await world.drop(watcher)
    resumed = await world.resume(watcher)
    await resumed.client.unsubscribe(handle.job_id)
    await resumed.settle()
    await resumed.settle()
    seen = len(resumed.wire.of_job(handle.job_id))
    await result_of(handle)
    await resumed.settle()
    equal(len(resumed.wire.of_job(handle.job_id)), seen, "the job's frames at the watcher")


@scenario("ws")
async def close_leaves_the_job_running(world: World) -> None:
    """After a polite goodbye the job finishes, and the session can be resumed to see its end."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 20, "interval_ms": 15})
    watcher = await watch(world, handle.job_id)
    await session.wire.wait_ticks(handle.job_id, 3)
    await session.client.close()
    equal(session.wire.sent[-1]["type"], "session.bye", "last frame of the client")
    await watcher.wire.wait_end(handle.job_id)
    resumed = await world.resume(session)
    check_welcome(session, resumed)
    end = await resumed.wire.wait_end(handle.job_id)
    equal(end["payload"]["result"], {"ticks": 20}, "result")
    ticks = session.wire.ticks(handle.job_id) + resumed.wire.ticks(handle.job_id)
    equal(ticks, list(range(1, 21)), "ticks over both connections")


@scenario("ws")
async def idempotent_submit_after_a_lost_session(world: World) -> None:
    """A client that lost its session finds its job again by its key, with all events."""
    lost = await world.open()
    handle = await lost.submit("ticker", SLOW, key="lost-session")
    await lost.wire.wait_ticks(handle.job_id, 5)
    await world.drop(lost)
    fresh = await world.open()
    again = await fresh.submit("ticker", SLOW, key="lost-session")
    equal(again.job_id, handle.job_id, "job id")
    equal(await result_of(again), {"ticks": COUNT}, "result")
    equal(fresh.wire.ticks(handle.job_id), ALL, "ticks in the new session")


@scenario("ws")
async def ack_then_resume(world: World) -> None:
    """Acknowledging frees only what was acknowledged; resume goes by last_event_seq alone."""
    session = await world.open()
    handle = await session.submit("ticker", SLOW)
    await session.wire.wait_ticks(handle.job_id, 10)
    await session.client.ack(session.last_seq() - 4)
    await session.settle()
    await world.drop(session)
    position = session.last_seq() - 2
    resumed = await world.resume(session, last_event_seq=position)
    await resumed.wire.wait_end(handle.job_id)
    kept = [f for f in session.wire.stream(handle.job_id) if f["event_seq"] <= position]
    frames = kept + resumed.wire.stream(handle.job_id)
    ticks = [f["payload"]["body"]["current"] for f in frames if f["payload"].get("kind") == "progress"]
    equal(ticks, ALL, "ticks over both connections")


@scenario("ws")
async def auto_ack_then_resume(world: World) -> None:
    """The client's automatic acknowledgements harm neither the stream nor a resume."""
    session = await world.open(auto_ack=AutoAckOptions(every_n=5, interval_sec=0.02))
    handle = await session.submit("ticker", SLOW)
    await session.wire.wait_ticks(handle.job_id, 15)
    acks = [f["payload"]["last_processed_seq"] for f in session.wire.sent if f["type"] == "session.ack"]
    assert acks, "the client acknowledged nothing"
    equal(acks, sorted(set(acks)), "acknowledgements")
    await world.drop(session)
    resumed = await world.resume(session)
    await resumed.wire.wait_end(handle.job_id)
    ticks = session.wire.ticks(handle.job_id) + resumed.wire.ticks(handle.job_id)
    equal(ticks, ALL, "ticks over both connections")
