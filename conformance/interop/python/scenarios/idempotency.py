"""Submitting the same job twice."""

from __future__ import annotations

from harness import World, equal, events_of, result_of, ticks_of
from recorder import essence, is_terminal
from registry import scenario


@scenario()
async def same_key_after_the_end_completes_both(world: World) -> None:
    """Repeating a finished submit gives the same job, and the second handle gets its result too."""
    session = await world.open()
    first = await session.submit("echo", {"k": 1}, key="after-the-end")
    equal(await result_of(first), {"k": 1}, "first result")
    second = await session.submit("echo", {"k": 1}, key="after-the-end")
    equal(second.job_id, first.job_id, "job id")
    equal(second.accepted.accepted_at, first.accepted.accepted_at, "accepted_at")
    equal(await result_of(second), {"k": 1}, "second result")


@scenario()
async def same_key_while_running_is_one_job(world: World) -> None:
    """Repeating a running submit in the same session: one job, each event once, one end."""
    session = await world.open()
    first = await session.submit("ticker", {"count": 15, "interval_ms": 20}, key="while-running")
    await session.wire.wait_ticks(first.job_id, 3)
    # In one session this client keeps only the newest handle of a job; the wire shows the rest.
    second = await session.submit("ticker", {"count": 15, "interval_ms": 20}, key="while-running")
    equal(second.job_id, first.job_id, "job id")
    equal(await result_of(second), {"ticks": 15}, "result")
    equal(session.wire.ticks(first.job_id), list(range(1, 16)), "ticks on the wire")
    equal(sum(map(is_terminal, session.wire.of_job(first.job_id))), 1, "terminal frames")


@scenario("ws")
async def same_key_in_a_second_session_while_running(world: World) -> None:
    """A second session that repeats a running submit sees the whole job; both handles complete."""
    one = await world.open()
    two = await world.open()
    first = await one.submit("ticker", {"count": 15, "interval_ms": 20}, key="second-session")
    await one.wire.wait_ticks(first.job_id, 4)
    second = await two.submit("ticker", {"count": 15, "interval_ms": 20}, key="second-session")
    equal(second.job_id, first.job_id, "job id")
    equal(await ticks_of(first), list(range(1, 16)), "ticks of the first handle")
    equal(await ticks_of(second), list(range(1, 16)), "ticks of the second handle")
    equal(await result_of(first), {"ticks": 15}, "first result")
    equal(await result_of(second), {"ticks": 15}, "second result")


@scenario("ws")
async def same_key_in_a_second_session_after_the_end(world: World) -> None:
    """A second session that repeats a finished submit gets the job's history and its result."""
    one = await world.open()
    first = await one.submit("ticker", {"count": 4, "interval_ms": 1}, key="second-session-late")
    seen = await events_of(first)
    two = await world.open()
    second = await two.submit("ticker", {"count": 4, "interval_ms": 1}, key="second-session-late")
    equal(second.job_id, first.job_id, "job id")
    equal(await events_of(second), seen, "events of the second handle")
    equal(await result_of(second), {"ticks": 4}, "second result")


@scenario("ws")
async def same_key_gives_a_second_session_cancel_authority(world: World) -> None:
    """Whoever repeats a submit owns the job as much as the first submitter."""
    one = await world.open()
    two = await world.open()
    first = await one.submit("sleeper", {"ms": 20000}, key="authority")
    second = await two.submit("sleeper", {"ms": 20000}, key="authority")
    await two.client.cancel_job(second.job_id)
    for session, handle in ((one, first), (two, second)):
        await session.wire.wait_end(handle.job_id)
        equal((await handle.done).final_status, "cancelled", "final status")


@scenario()
async def same_key_with_the_resolved_agent_name(world: World) -> None:
    """`echo` and the version that it resolves to are the same parameters."""
    session = await world.open()
    first = await session.submit("echo", [1], key="resolved-name")
    await result_of(first)
    second = await session.submit("echo@2.0.0", [1], key="resolved-name")
    equal(second.job_id, first.job_id, "job id")
    equal(await result_of(second), [1], "second result")


@scenario()
async def key_conflict_while_running(world: World) -> None:
    """Other parameters under a key in use: DUPLICATE_KEY, and the first job goes on undisturbed."""
    session = await world.open()
    first = await session.submit("ticker", {"count": 15, "interval_ms": 20}, key="conflict-running")
    await session.wire.wait_ticks(first.job_id, 3)
    error = await session.refused("DUPLICATE_KEY", "ticker", {"count": 16}, key="conflict-running")
    equal(error.retryable, False, "retryable")
    equal(await ticks_of(first), list(range(1, 16)), "ticks of the first job")
    equal(await result_of(first), {"ticks": 15}, "result of the first job")


@scenario()
async def key_conflict_after_the_end(world: World) -> None:
    """A finished job keeps its key: other parameters are refused, the same ones still find it."""
    session = await world.open()
    first = await session.submit("echo", {"k": 1}, key="conflict-ended")
    await result_of(first)
    await session.refused("DUPLICATE_KEY", "echo", {"k": 2}, key="conflict-ended")
    await session.refused("DUPLICATE_KEY", "echo", {"k": 1}, key="conflict-ended", max_runtime_sec=9)
    again = await session.submit("echo", {"k": 1}, key="conflict-ended")
    equal(again.job_id, first.job_id, "job id")
    equal(await result_of(again), {"k": 1}, "result")


@scenario("ws")
async def the_same_key_of_another_principal_is_independent(world: World) -> None:
    """Keys belong to a principal: bob's is another job, whatever its parameters."""
    alice = await world.open()
    bob = await world.open("bob")
    hers = await alice.submit("echo", "alice", key="shared-key")
    his = await bob.submit("echo", "bob", key="shared-key")
    assert hers.job_id != his.job_id, "two principals share a job"
    equal(await result_of(hers), "alice", "alice's result")
    equal(await result_of(his), "bob", "bob's result")


@scenario()
async def a_repeated_failure_fails_again(world: World) -> None:
    """Repeating a submit whose job failed tells the same failure again."""
    session = await world.open()
    request = {"code": "PERMISSION_DENIED", "message": "no"}
    first = await session.submit("failer", request, key="failed-before")
    end = await session.wire.wait_end(first.job_id)
    error = await session.refused("PERMISSION_DENIED", "failer", request, key="failed-before")
    equal(error.message, "no", "message")
    ends = [essence(f) for f in session.wire.of_job(first.job_id) if is_terminal(f)]
    equal(ends, [essence(end), essence(end)], "terminal frames, one for each submit")
