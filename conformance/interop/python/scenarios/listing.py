"""Listing jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from arcp import ListJobsFilter
from harness import Session, World, equal, fails_with, final_status_of, result_of
from recorder import is_progress, is_terminal
from registry import scenario

MAX_PAGES = 200


async def rows_of(session: Session, filter: ListJobsFilter | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """All pages of a listing as plain rows."""
    rows: list[dict[str, Any]] = []
    cursor = None
    for _ in range(MAX_PAGES):
        page = await session.list_jobs(filter, limit, cursor)
        assert len(page.jobs) <= limit, f"a page of {len(page.jobs)} rows where {limit} were asked for"
        rows += [row.model_dump() for row in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            return rows
    raise AssertionError(f"the listing did not end within {MAX_PAGES} pages")


async def moment(session: Session) -> str:
    """A time of the daemon's clock, later than every earlier job and earlier than every later one."""
    handle = await session.submit("ticker", {"count": 3, "interval_ms": 4})
    await result_of(handle)
    ticks = [f for f in session.wire.of_job(handle.job_id) if is_progress(f)]
    return ticks[1]["payload"]["ts"]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["job_id"] for row in rows]


def parse(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    assert value.tzinfo is not None, f"a time without a zone: {text}"
    return value.astimezone(UTC)


@scenario()
async def list_rows_are_complete(world: World) -> None:
    """A row tells the agent, status, lease, times and position of its job; finished jobs are included."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 3, "interval_ms": 1}, lease={"tool.call": ["a"]})
    await result_of(handle)
    (row,) = [row for row in await rows_of(session) if row["job_id"] == handle.job_id]
    equal(row["agent"], "ticker@1.0.0", "agent")
    equal(row["status"], "success", "status")
    equal(row["lease"], {"tool.call": ["a"]}, "lease")
    equal(row["parent_job_id"], None, "parent_job_id")
    equal(row["created_at"], row["submitted_at"], "created_at and submitted_at")
    assert abs((parse(row["created_at"]) - parse(handle.accepted.accepted_at)).total_seconds()) < 1, "created_at"
    stream = session.wire.stream(handle.job_id)
    assert is_terminal(stream[-1]), "the terminal frame is not the last one"
    equal(row["last_event_seq"], len(stream), "last_event_seq, the job's own position")


@scenario("ws")
async def list_shows_only_own_jobs(world: World) -> None:
    """bob sees none of alice's jobs, in no way of asking."""
    alice = await world.open()
    bob = await world.open("bob")
    hers = [await alice.submit("echo", i) for i in range(3)] + [await alice.submit("sleeper", {"ms": 300})]
    his = await bob.submit("echo", "bob")
    for handle in (*hers, his):
        await result_of(handle)
    filters = (None, ListJobsFilter(agent="echo"), ListJobsFilter(status=("success", "running")))
    for filter in filters:
        listed = set(ids(await rows_of(bob, filter)))
        assert his.job_id in listed, "bob's own job is missing"
        assert not listed & {h.job_id for h in hers}, "bob sees alice's jobs"
    assert {h.job_id for h in hers} <= set(ids(await rows_of(alice))), "alice misses jobs of her own"


@scenario("ws")
async def list_shows_jobs_of_all_own_sessions(world: World) -> None:
    """A second session of alice sees the jobs of her first."""
    first = await world.open()
    second = await world.open()
    handle = await first.submit("echo", 1)
    await result_of(handle)
    assert handle.job_id in ids(await rows_of(second)), "the job of the other session is missing"


@scenario()
async def list_filters_by_status(world: World) -> None:
    """Running, finished, failed and cancelled jobs each appear under their status only."""
    session = await world.open()
    running = await session.submit("ticker", {"count": 2000, "interval_ms": 10})
    await session.wire.wait_ticks(running.job_id, 1)
    success = await session.submit("echo", 1)
    await result_of(success)
    failed = await session.submit("failer", {})
    await session.wire.wait_end(failed.job_id)
    cancelled = await session.submit("sleeper", {"ms": 20000})
    await session.client.cancel_job(cancelled.job_id)
    await final_status_of(cancelled)
    by_status = {"running": running, "success": success, "error": failed, "cancelled": cancelled}
    own = {handle.job_id for handle in by_status.values()}
    for status, handle in by_status.items():
        rows = await rows_of(session, ListJobsFilter(status=(status,)))
        equal({row["status"] for row in rows}, {status}, f"statuses under the filter {status}")
        equal(own & set(ids(rows)), {handle.job_id}, f"jobs under the filter {status}")
    both = set(ids(await rows_of(session, ListJobsFilter(status=("success", "error")))))
    equal(own & both, {success.job_id, failed.job_id}, "jobs under a filter of two statuses")


@scenario()
async def list_filters_by_agent(world: World) -> None:
    """A bare name finds every version, name@version exactly one."""
    session = await world.open()
    handles = {ref: await session.submit(ref) for ref in ("echo@1.0.0", "echo@2.0.0", "ticker@1.0.0")}
    for handle in handles.values():
        await result_of(handle)
    own = {handle.job_id for handle in handles.values()}
    echoes = {handles["echo@1.0.0"].job_id, handles["echo@2.0.0"].job_id}
    rows = await rows_of(session, ListJobsFilter(agent="echo"))
    equal(own & set(ids(rows)), echoes, "jobs of the agent echo")
    equal({row["agent"].split("@")[0] for row in rows}, {"echo"}, "agents under the filter echo")
    for ref, handle in handles.items():
        rows = await rows_of(session, ListJobsFilter(agent=ref))
        equal(own & set(ids(rows)), {handle.job_id}, f"jobs of {ref}")
        equal({row["agent"] for row in rows}, {ref}, f"agents under the filter {ref}")
    equal(await rows_of(session, ListJobsFilter(agent="echo@9.9.9")), [], "jobs of a version that never ran")


@scenario()
async def list_filters_by_creation_time(world: World) -> None:
    """created_after keeps later jobs and drops earlier ones."""
    session = await world.open()
    earlier = await session.submit("echo", "earlier")
    await result_of(earlier)
    between = await moment(session)
    later = await session.submit("echo", "later")
    await result_of(later)
    listed = ids(await rows_of(session, ListJobsFilter(created_after=between)))
    equal(listed, [later.job_id], "jobs after the moment between the two")
    combined = ListJobsFilter(created_after=between, agent="ticker", status=("success",))
    equal(await rows_of(session, combined), [], "tickers after that moment")


@scenario()
async def list_pages_show_each_job_once(world: World) -> None:
    """Seven jobs in pages of two: each exactly once, though new jobs arrive between the pages."""
    session = await world.open()
    start = await moment(session)
    wanted = [await session.submit("echo", i) for i in range(7)]
    for handle in wanted:
        await result_of(handle)
    seen: list[str] = []
    cursor = None
    for page_number in range(MAX_PAGES):
        page = await session.list_jobs(ListJobsFilter(created_after=start), 2, cursor)
        assert len(page.jobs) <= 2, "a page longer than its limit"
        seen += [row.job_id for row in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
        if page_number < 5:
            await session.run("echo", "inserted")
    equal(cursor, None, "cursor after the last page")
    equal(len(seen), len(set(seen)), "rows, each once")
    missing = [handle.job_id for handle in wanted if handle.job_id not in seen]
    equal(missing, [], "jobs that no page showed")


@scenario()
async def list_refuses_a_tampered_cursor(world: World) -> None:
    """A cursor that the daemon did not make is an error; the session goes on."""
    session = await world.open()
    for i in range(3):
        await session.run("echo", i)
    cursor = (await session.list_jobs(limit=1)).next_cursor
    assert cursor, "no cursor although there are more jobs"
    middle = len(cursor) // 2
    tampered = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    for wrong in (tampered, "not-a-cursor", cursor[:-3]):
        await fails_with(f"list_jobs with cursor {wrong!r}", session.list_jobs(None, 1, wrong), "INVALID_REQUEST")
    equal(len((await session.list_jobs(None, 1, cursor)).jobs), 1, "rows behind the true cursor")
    equal(await session.run("echo", "after"), "after", "echo after a refusal")


@scenario()
async def list_does_not_subscribe(world: World) -> None:
    """Listing a running job changes nothing in what the session is sent."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 10, "interval_ms": 15})
    for _ in range(5):
        await session.list_jobs()
    equal(await result_of(handle), {"ticks": 10}, "result")
    equal(session.wire.ticks(handle.job_id), list(range(1, 11)), "ticks on the wire")
