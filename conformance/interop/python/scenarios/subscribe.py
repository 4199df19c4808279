"""Watching a job from another session of its principal."""

from __future__ import annotations

from harness import Session, World, equal, events_of, fails_with, result_of, ticks_of
from recorder import essence, is_progress
from registry import scenario

COUNT = 25
SLOW = {"count": COUNT, "interval_ms": 20}
ALL = list(range(1, COUNT + 1))
FOREIGN = ("JOB_NOT_FOUND", "PERMISSION_DENIED")


def streams(session: Session, job_id: str) -> list[tuple[object, ...]]:
    return [essence(frame) for frame in session.wire.stream(job_id)]


@scenario("ws")
async def subscribe_with_history_to_a_running_job(world: World) -> None:
    """With history a subscriber sees what the submitter saw: everything, once, in order."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await submitter.wire.wait_ticks(handle.job_id, 5)
    sub = await watcher.subscribe(handle.job_id, history=True)
    equal(sub.subscribed_from, 0, "subscribed_from")
    equal(await ticks_of(sub.handle), ALL, "ticks of the subscription")
    equal(await result_of(sub.handle), {"ticks": COUNT}, "result of the subscription")
    await result_of(handle)
    equal(streams(watcher, handle.job_id), streams(submitter, handle.job_id), "the two sessions' streams")


@scenario("ws")
async def subscribe_to_a_finished_job(world: World) -> None:
    """A finished job can still be watched: its status, its history, its end."""
    submitter = await world.open()
    handle = await submitter.submit("ticker", {"count": 6, "interval_ms": 1}, lease={"tool.call": ["a"]})
    seen = await events_of(handle)
    watcher = await world.open()
    sub = await watcher.subscribe(handle.job_id, history=True)
    equal(await events_of(sub.handle), seen, "events of the subscription")
    equal(await result_of(sub.handle), {"ticks": 6}, "result of the subscription")
    equal(sub.handle.agent_ref, "ticker@1.0.0", "agent")
    equal(sub.handle.lease, {"tool.call": ["a"]}, "lease")
    (subscribed,) = watcher.wire.of_type("job.subscribed")
    equal(subscribed["payload"]["current_status"], "success", "current_status")
    equal(streams(watcher, handle.job_id), streams(submitter, handle.job_id), "the two sessions' streams")


@scenario("ws")
async def subscribe_from_a_position(world: World) -> None:
    """from_event_seq skips that many events of the job's own history and nothing else."""
    submitter = await world.open()
    other = await submitter.submit("ticker", {"count": 4, "interval_ms": 1})
    await result_of(other)
    handle = await submitter.submit("ticker", SLOW)
    await submitter.wire.wait_ticks(handle.job_id, 8)
    watcher = await world.open()
    sub = await watcher.subscribe(handle.job_id, history=True, from_event_seq=5)
    equal(sub.subscribed_from, 5, "subscribed_from")
    equal(await result_of(sub.handle), {"ticks": COUNT}, "result of the subscription")
    await result_of(handle)
    equal(streams(watcher, handle.job_id), streams(submitter, handle.job_id)[5:], "what follows the position")


@scenario("ws")
async def subscribe_from_a_position_of_a_finished_job(world: World) -> None:
    """The same for a job that is over."""
    submitter = await world.open()
    handle = await submitter.submit("ticker", {"count": 9, "interval_ms": 1})
    await result_of(handle)
    watcher = await world.open()
    sub = await watcher.subscribe(handle.job_id, history=True, from_event_seq=7)
    equal(await result_of(sub.handle), {"ticks": 9}, "result of the subscription")
    equal(streams(watcher, handle.job_id), streams(submitter, handle.job_id)[7:], "what follows the position")


@scenario("ws")
async def subscribe_without_history_is_live_only(world: World) -> None:
    """Without history a subscriber sees what follows subscribed_from, without a hole."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await submitter.wire.wait_ticks(handle.job_id, 6)
    sub = await watcher.subscribe(handle.job_id)
    assert sub.subscribed_from >= 6, f"subscribed_from {sub.subscribed_from} after six events"
    equal(await result_of(sub.handle), {"ticks": COUNT}, "result of the subscription")
    await result_of(handle)
    expected = streams(submitter, handle.job_id)[sub.subscribed_from :]
    equal(streams(watcher, handle.job_id), expected, "what follows subscribed_from")


@scenario("ws")
async def subscribe_twice_doubles_nothing(world: World) -> None:
    """A second subscribe to the same job keeps one stream of events."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await submitter.wire.wait_ticks(handle.job_id, 3)
    await watcher.subscribe(handle.job_id, history=True)
    await watcher.wire.wait_ticks(handle.job_id, 6)
    again = await watcher.subscribe(handle.job_id)
    equal(await result_of(again.handle), {"ticks": COUNT}, "result of the second subscription")
    equal(watcher.wire.ticks(handle.job_id), ALL, "ticks on the watcher's wire")


@scenario("ws")
async def subscribe_again_with_history_starts_over(world: World) -> None:
    """A second subscribe with history shows its handle the whole job, once."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await submitter.wire.wait_ticks(handle.job_id, 6)
    await watcher.subscribe(handle.job_id)
    await watcher.wire.wait_ticks(handle.job_id, 3)
    again = await watcher.subscribe(handle.job_id, history=True)
    equal(await result_of(again.handle), {"ticks": COUNT}, "result of the second subscription")
    frames = watcher.wire.received
    second = [i for i, frame in enumerate(frames) if frame["type"] == "job.subscribed"][1]
    ticks = [f["payload"]["body"]["current"] for f in frames[second:] if is_progress(f)]
    equal(ticks, ALL, "ticks after the second job.subscribed")


@scenario()
async def subscribe_to_an_own_job_doubles_nothing(world: World) -> None:
    """The submitter that also subscribes still gets each event once and one end."""
    session = await world.open()
    handle = await session.submit("ticker", SLOW)
    await session.wire.wait_ticks(handle.job_id, 3)
    sub = await session.subscribe(handle.job_id)
    equal(await result_of(sub.handle), {"ticks": COUNT}, "result")
    await session.settle()
    equal(session.wire.ticks(handle.job_id), ALL, "ticks on the wire")


@scenario("ws")
async def several_watchers_see_the_same(world: World) -> None:
    """Three watchers that join at different moments agree with the submitter."""
    submitter = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    watchers: list[Session] = []
    for ticks in (1, 4, 9):
        await submitter.wire.wait_ticks(handle.job_id, ticks)
        watcher = await world.open()
        await watcher.subscribe(handle.job_id, history=True)
        watchers.append(watcher)
    await result_of(handle)
    for watcher in watchers:
        await watcher.wire.wait_end(handle.job_id)
        equal(streams(watcher, handle.job_id), streams(submitter, handle.job_id), "a watcher's stream")


@scenario("ws")
async def a_watcher_may_watch_and_work(world: World) -> None:
    """A subscription and own jobs share the session's numbers without gaps or doubles."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    sub = await watcher.subscribe(handle.job_id, history=True)
    own = await watcher.submit("ticker", {"count": 30, "interval_ms": 7})
    equal(await ticks_of(own), list(range(1, 31)), "ticks of the own job")
    equal(await ticks_of(sub.handle), ALL, "ticks of the subscription")


@scenario("ws")
async def unsubscribe_stops_the_events(world: World) -> None:
    """After unsubscribe nothing more of the job arrives, and the submitter notices nothing."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await watcher.subscribe(handle.job_id, history=True)
    await watcher.wire.wait_ticks(handle.job_id, 3)
    await watcher.client.unsubscribe(handle.job_id)
    await watcher.settle()
    await watcher.settle()  # a frame that was on its way during the first round trip has arrived now
    seen = len(watcher.wire.of_job(handle.job_id))
    equal(await ticks_of(handle), ALL, "the submitter's ticks")
    await watcher.settle()
    equal(len(watcher.wire.of_job(handle.job_id)), seen, "the job's frames at the watcher")


@scenario("ws")
async def subscribe_again_after_unsubscribe(world: World) -> None:
    """A watcher that left may come back and see everything."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await watcher.subscribe(handle.job_id)
    await watcher.wire.wait_ticks(handle.job_id, 2)
    await watcher.client.unsubscribe(handle.job_id)
    await watcher.settle()
    sub = await watcher.subscribe(handle.job_id, history=True)
    equal((await ticks_of(sub.handle))[-COUNT:], ALL, "ticks of the second subscription")


@scenario("ws")
async def foreign_job_cannot_be_watched(world: World) -> None:
    """bob's subscribe to alice's job is refused, and alice's job goes on."""
    alice = await world.open()
    bob = await world.open("bob")
    handle = await alice.submit("ticker", SLOW)
    await alice.wire.wait_ticks(handle.job_id, 2)
    await fails_with("subscribe", bob.subscribe(handle.job_id, history=True), *FOREIGN)
    equal(await result_of(handle), {"ticks": COUNT}, "alice's result")
    await bob.settle()
    equal(bob.wire.of_job(handle.job_id), [], "frames of alice's job at bob's")


@scenario()
async def unknown_job_cannot_be_watched(world: World) -> None:
    """A job that does not exist: JOB_NOT_FOUND."""
    session = await world.open()
    await fails_with("subscribe", session.subscribe("job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E"), "JOB_NOT_FOUND")
    equal(await session.run("echo", "after"), "after", "echo after a refusal")


@scenario("ws")
async def a_watcher_cannot_cancel(world: World) -> None:
    """Watching gives no authority: the job still succeeds."""
    submitter = await world.open()
    watcher = await world.open()
    handle = await submitter.submit("ticker", SLOW)
    await watcher.subscribe(handle.job_id, history=True)
    await watcher.wire.wait_ticks(handle.job_id, 2)
    await watcher.client.cancel_job(handle.job_id)
    equal(await ticks_of(handle), ALL, "the submitter's ticks")
    equal(await result_of(handle), {"ticks": COUNT}, "the submitter's result")
