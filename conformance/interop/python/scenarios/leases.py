"""Leases: what a job may do, for how long and for how much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harness import World, equal, fails_with, result_of
from registry import scenario

PATTERNS = {
    "tool.call": ["zeta", "alpha", "search.*"],
    "fs.read": ["/project/**", "/data/*"],
    "net.fetch": ["https://example.test/*"],
    "x-vendor.interop.custom": ["anything"],
}


def timestamp(seconds_from_now: float) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@scenario()
async def lease_is_echoed_verbatim(world: World) -> None:
    """The effective lease is the requested one, patterns in their order; also in the listing."""
    session = await world.open()
    handle = await session.submit("echo", 1, lease=PATTERNS)
    equal(handle.lease, PATTERNS, "lease of job.accepted")
    constraints = handle.lease_constraints
    assert constraints is None or constraints.expires_at is None, "an expiry that nobody asked for"
    await result_of(handle)
    rows = [row for row in (await session.list_jobs(limit=1000)).jobs if row.job_id == handle.job_id]
    equal([row.model_dump()["lease"] for row in rows], [PATTERNS], "lease in the listing")


@scenario()
async def no_lease_is_an_empty_lease(world: World) -> None:
    """A job that asks for nothing gets nothing, and runs."""
    session = await world.open()
    handle = await session.submit("echo", 1)
    equal(handle.lease, {}, "lease")
    equal(await result_of(handle), 1, "result")


@scenario()
async def expiry_in_the_future_is_accepted(world: World) -> None:
    """expires_at comes back as the same moment, and the job runs."""
    session = await world.open()
    wanted = timestamp(300)
    handle = await session.submit("echo", 1, expires_at=wanted)
    assert handle.lease_constraints is not None and handle.lease_constraints.expires_at, "no expiry"
    granted = datetime.fromisoformat(handle.lease_constraints.expires_at)
    equal(granted, datetime.fromisoformat(wanted), "expires_at")
    equal(await result_of(handle), 1, "result")


@scenario()
async def expiry_in_the_past_is_refused(world: World) -> None:
    """A lease that is already over: INVALID_REQUEST."""
    session = await world.open()
    await session.refused("INVALID_REQUEST", "echo", 1, expires_at="2020-01-01T00:00:00Z")
    equal(await session.run("echo", "after"), "after", "echo after a refusal")


@scenario()
async def lease_that_expires_ends_the_job(world: World) -> None:
    """A job whose lease runs out fails with LEASE_EXPIRED, which is not retryable."""
    session = await world.open()
    handle = await session.submit("sleeper", {"ms": 20000}, expires_at=timestamp(1.0))
    error = await fails_with("sleeper", handle.done, "LEASE_EXPIRED")
    equal(error.retryable, False, "retryable")
    rows = [row for row in (await session.list_jobs(limit=1000)).jobs if row.job_id == handle.job_id]
    equal([row.status for row in rows], ["error"], "status in the listing")

