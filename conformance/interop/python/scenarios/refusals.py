"""Jobs that are refused or fail: told to the one who asked, and to nobody else."""

from __future__ import annotations

import asyncio

from harness import World, equal, fails_with, result_of, ticks_of, within
from recorder import is_progress
from registry import scenario


@scenario()
async def unknown_agent_is_refused(world: World) -> None:
    """An agent that nobody registered: AGENT_NOT_AVAILABLE, and the session goes on."""
    session = await world.open()
    error = await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent", {})
    equal(error.retryable, False, "retryable")
    equal(await session.run("echo", "after"), "after", "echo after a refusal")


@scenario()
async def unknown_agent_version_is_refused(world: World) -> None:
    """A known agent in an unknown version: AGENT_VERSION_NOT_AVAILABLE."""
    session = await world.open()
    await session.refused("AGENT_VERSION_NOT_AVAILABLE", "echo@9.9.9", {})
    equal(await session.run("echo", "after"), "after", "echo after a refusal")


@scenario()
async def a_refusal_leaves_a_running_job_alone(world: World) -> None:
    """A job that runs while another submit is refused neither fails nor loses an event."""
    session = await world.open()
    running = await session.submit("ticker", {"count": 20, "interval_ms": 15})
    await session.wire.wait_ticks(running.job_id, 2)
    await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent")
    equal(await ticks_of(running), list(range(1, 21)), "ticks of the running job")
    equal(await result_of(running), {"ticks": 20}, "result of the running job")


@scenario()
async def refusals_among_concurrent_submits(world: World) -> None:
    """Thirty submits in flight, every third refused: the good ones finish, each bad one fails by itself."""
    session = await world.open()

    async def good(i: int) -> None:
        equal(await session.run("echo", {"i": i}), {"i": i}, f"echo {i}")

    async def bad(i: int) -> None:
        if i % 2:
            await session.refused("AGENT_NOT_AVAILABLE", f"no-such-agent-{i}", {"i": i})
        else:
            await session.refused("AGENT_VERSION_NOT_AVAILABLE", f"echo@9.9.{i}", {"i": i})

    running = await session.submit("ticker", {"count": 10, "interval_ms": 20})
    await asyncio.gather(*(bad(i) if i % 3 == 2 else good(i) for i in range(30)))
    equal(await ticks_of(running), list(range(1, 11)), "ticks of the running job")


@scenario()
async def a_refused_submit_is_answered_by_its_own_job(world: World) -> None:
    """This client's refusal is a job of its own: job.accepted, then job.error without a number."""
    session = await world.open()
    await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent")
    await session.settle()
    equal(session.wire.of_type("session.error"), [], "session.error frames")
    (accepted,) = session.wire.of_type("job.accepted")
    (error,) = session.wire.of_type("job.error")
    equal(accepted["payload"]["request_id"], session.wire.sent[1]["id"], "request_id")
    equal(error["job_id"], accepted["payload"]["job_id"], "job_id of the refusal")
    assert "event_seq" not in error, "a refusal must not take a number"


@scenario()
async def failer_reports_code_message_and_events(world: World) -> None:
    """An agent's failure reaches the client with its events, code, message and retryable flag."""
    session = await world.open()
    request = {"code": "PERMISSION_DENIED", "message": "not ünder my wätch", "after_events": 3}
    handle = await session.submit("failer", request)
    error = await fails_with("failer", handle.done, "PERMISSION_DENIED")
    equal(error.message, request["message"], "message")
    stream = session.wire.stream(handle.job_id)
    logs = [f for f in stream if f["type"] == "job.event" and f["payload"]["kind"] == "log"]
    equal(len(logs), 3, "log events before the failure")
    equal(stream[-1]["type"], "job.error", "last frame of the job")
    assert not any(is_progress(f) for f in stream), "progress of an agent that makes none"


@scenario()
async def failer_defaults_to_internal_error(world: World) -> None:
    """A failure without particulars is an INTERNAL_ERROR, which is retryable."""
    session = await world.open()
    handle = await session.submit("failer", {})
    error = await fails_with("failer", handle.done, "INTERNAL_ERROR")
    equal(error.retryable, True, "retryable")


@scenario()
async def max_runtime_ends_a_job_as_timed_out(world: World) -> None:
    """A job that exceeds max_runtime_sec ends with the status timed_out, and is listed so."""
    session = await world.open()
    handle = await session.submit("sleeper", {"ms": 20000}, max_runtime_sec=1)
    payload = await within("the timeout", handle.done)
    equal(payload.final_status, "timed_out", "final status")
    rows = [row for row in (await session.list_jobs(limit=1000)).jobs if row.job_id == handle.job_id]
    equal([row.status for row in rows], ["timed_out"], "status in the listing")


@scenario()
async def max_runtime_that_is_kept_does_nothing(world: World) -> None:
    """A job that stays below its limit is not touched."""
    session = await world.open()
    equal(await session.run("sleeper", {"ms": 20}, max_runtime_sec=30), {"slept_ms": 20}, "result")
