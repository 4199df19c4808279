"""Submitting jobs that run to a good end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from harness import World, equal, events_of, result_of, ticks_of
from registry import scenario

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"

VALUES: tuple[Any, ...] = (
    "wörld 日本語 🎉 \u2028 \u0000 \" \\",
    "",
    False,
    True,
    0,
    -1,
    2**53 + 1,
    -(2**63),
    1.5,
    [],
    {},
    [None],
    {"n": None, "": {"deep": [[[{"ключ": [1, 2.25, "x", False]}]]]}},
)


@scenario()
async def echo_returns_every_kind_of_value(world: World) -> None:
    """Unicode, null, false, 0 and empty values come back as they were sent."""
    session = await world.open()
    for value in VALUES:
        answer = await session.run("echo", value)
        equal(json.dumps(answer), json.dumps(value), "echo")


@scenario()
async def echo_without_input(world: World) -> None:
    """An absent input is no error, and its result is null."""
    session = await world.open()
    equal(await session.run("echo"), None, "echo without input")
    assert "input" not in session.wire.sent[-1]["payload"], "this client no longer omits an absent input"


@scenario()
async def bare_agent_name_takes_the_default_version(world: World) -> None:
    """`echo` runs as the advertised default."""
    session = await world.open()
    handle = await session.submit("echo", 1)
    equal(handle.agent_ref, "echo@2.0.0", "resolved agent")
    equal(await result_of(handle), 1, "result")


@scenario()
async def pinned_agent_version_is_honoured(world: World) -> None:
    """`name@version` runs exactly that version."""
    session = await world.open()
    for version in ("1.0.0", "2.0.0"):
        handle = await session.submit(f"echo@{version}", version)
        equal(handle.agent_ref, f"echo@{version}", "resolved agent")
        equal(await result_of(handle), version, "result")


@scenario()
async def trace_id_is_echoed(world: World) -> None:
    """The submitter's trace id comes back on the job and in the listing."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 2}, trace_id=TRACE_ID)
    equal(handle.trace_id, TRACE_ID, "trace id of job.accepted")
    await result_of(handle)
    carried = {f["trace_id"] for f in session.wire.of_job(handle.job_id) if "trace_id" in f}
    assert carried <= {TRACE_ID}, f"other trace ids on the job's frames: {carried}"
    rows = [row for row in (await session.list_jobs(limit=1000)).jobs if row.job_id == handle.job_id]
    equal([row.trace_id for row in rows], [TRACE_ID], "trace id in the listing")


@scenario()
async def ticker_events_arrive_in_order(world: World) -> None:
    """Every progress event arrives once and in order, then the result."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 25, "interval_ms": 5})
    events = [e for e in await events_of(handle) if e["kind"] == "progress"]
    equal([e["body"] for e in events], [{"current": i, "total": 25} for i in range(1, 26)], "progress")
    assert all(e["ts"] for e in events), "an event without ts"
    equal(await result_of(handle), {"ticks": 25}, "result")


@scenario()
async def ticker_defaults(world: World) -> None:
    """An agent that is called without input takes its defaults."""
    session = await world.open()
    handle = await session.submit("ticker")
    equal(await ticks_of(handle), [1, 2, 3], "ticks")
    equal(await result_of(handle), {"ticks": 3}, "result")


@scenario()
async def twenty_concurrent_submits(world: World) -> None:
    """Each of twenty submits in flight gets its own answer."""
    session = await world.open()
    handles = await asyncio.gather(*(session.submit("echo", {"i": i}) for i in range(20)))
    equal(len({h.job_id for h in handles}), 20, "distinct jobs")
    results = await asyncio.gather(*(result_of(h) for h in handles))
    equal(results, [{"i": i} for i in range(20)], "results")


@scenario()
async def concurrent_streams_do_not_mix(world: World) -> None:
    """Ten tickers side by side: each handle sees its own events, complete and in order."""
    session = await world.open()
    handles = await asyncio.gather(
        *(session.submit("ticker", {"count": 10 + i, "interval_ms": 3}) for i in range(10))
    )
    streams = await asyncio.gather(*(ticks_of(h) for h in handles))
    equal(streams, [list(range(1, 11 + i)) for i in range(10)], "streams")


@scenario()
async def fast_ticker_of_2000_events(world: World) -> None:
    """Two thousand events as fast as the agent can: none lost, none twice, none out of order."""
    session = await world.open()
    handle = await session.submit("ticker", {"count": 2000, "interval_ms": 0, "size": 100})
    events = [e for e in await events_of(handle, 15) if e["kind"] == "progress"]
    equal([e["body"]["current"] for e in events], list(range(1, 2001)), "ticks")
    equal({e["body"].get("message") for e in events}, {"x" * 100}, "messages")
    equal(await result_of(handle), {"ticks": 2000}, "result")
