"""Cancelling jobs."""

from __future__ import annotations

from harness import World, equal, final_status_of, result_of, ticks_of
from registry import scenario

UNKNOWN_JOB = "job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E"


@scenario()
async def cancel_ends_a_running_job(world: World) -> None:
    """job.cancelled confirms the cancel on the wire, then `done` resolves as cancelled."""
    session = await world.open()
    handle = await session.submit("sleeper", {"ms": 20000})
    await session.client.cancel_job(handle.job_id)
    equal(await final_status_of(handle), "cancelled", "final status")
    types = [f["type"] for f in session.wire.of_job(handle.job_id) if f["type"] != "job.event"]
    equal(types, ["job.accepted", "job.cancelled", "job.result"], "frames of the cancelled job")


@scenario()
async def cancel_in_the_middle_of_a_stream(world: World) -> None:
    """A cancelled ticker stops ticking; what it had ticked is complete, and it is listed as cancelled."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 2000, "interval_ms": 10})
    await session.wire.wait_ticks(handle.job_id, 5)
    await session.client.cancel_job(handle.job_id, reason="seen enough")
    equal(await final_status_of(handle), "cancelled", "final status")
    ticks = session.wire.ticks(handle.job_id)
    equal(ticks, list(range(1, len(ticks) + 1)), "ticks before the cancel")
    assert len(ticks) < 1000, "the ticker went on after the cancel"
    rows = [row for row in (await session.list_jobs(limit=1000)).jobs if row.job_id == handle.job_id]
    equal([row.status for row in rows], ["cancelled"], "status in the listing")


@scenario()
async def cancel_touches_only_its_job(world: World) -> None:
    """Of two running jobs only the one that was named ends."""
    session = await world.open()
    doomed = await session.submit("sleeper", {"ms": 20000})
    other = await session.submit("ticker", {"count": 10, "interval_ms": 15})
    await session.client.cancel_job(doomed.job_id)
    equal(await final_status_of(doomed), "cancelled", "final status of the cancelled job")
    equal(await ticks_of(other), list(range(1, 11)), "ticks of the other job")
    equal(await result_of(other), {"ticks": 10}, "result of the other job")


@scenario()
async def cancel_of_a_finished_job_disturbs_nothing(world: World) -> None:
    """Cancelling too late changes neither the finished job nor a running one."""
    session = await world.open()
    finished = await session.submit("echo", 1)
    await result_of(finished)
    running = await session.submit("ticker", {"count": 10, "interval_ms": 20})
    await session.wire.wait_ticks(running.job_id, 2)
    await session.client.cancel_job(finished.job_id)
    equal(await ticks_of(running), list(range(1, 11)), "ticks of the running job")
    equal(await result_of(running), {"ticks": 10}, "result of the running job")
    rows = {row.job_id: row.status for row in (await session.list_jobs(limit=1000)).jobs}
    equal(rows[finished.job_id], "success", "status of the finished job")


@scenario()
async def cancel_of_an_unknown_job_disturbs_nothing(world: World) -> None:
    """Cancelling a job that does not exist changes nothing for those that do."""
    session = await world.open()
    running = await session.submit("ticker", {"count": 10, "interval_ms": 20})
    await session.wire.wait_ticks(running.job_id, 2)
    await session.client.cancel_job(UNKNOWN_JOB)
    equal(await session.run("echo", "next"), "next", "a submit right behind it")
    equal(await ticks_of(running), list(range(1, 11)), "ticks of the running job")
    equal(await result_of(running), {"ticks": 10}, "result of the running job")


@scenario("ws")
async def another_principal_cannot_cancel(world: World) -> None:
    """bob's cancel of alice's job has no effect."""
    alice = await world.open()
    bob = await world.open("bob")
    handle = await alice.submit("ticker", {"count": 15, "interval_ms": 20})
    await alice.wire.wait_ticks(handle.job_id, 2)
    await bob.client.cancel_job(handle.job_id)
    equal(await result_of(handle), {"ticks": 15}, "result of alice's job")
