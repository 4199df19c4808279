"""The demo agents (docs/demo-agents.md) on the runtime of the published Python package, unmodified.

Serves on a free loopback port and prints its address as the only line of standard output. Ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from arcp import (
    ERROR_CODES,
    ARCPError,
    BudgetExhaustedError,
    InvalidRequestError,
    RuntimeInfo,
    error_class_for,
    serve_websocket,
)
from arcp.runtime import ARCPRuntime, JobContext, StaticBearerVerifier

PACKAGE = "agentruntimecontrolprotocol"
PRINCIPALS = {"tok-a": "alice", "tok-b": "bob"}
HEARTBEAT_SEC = 2
RESUME_WINDOW_SEC = 60

# The package refuses chunks above 1 MiB of written text, and base64 makes four bytes of three.
CHUNK_BYTES = 512 * 1024
BYTES = bytes(range(251))
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
AMOUNT_CHARS = 32

Check = Callable[[Any], bool]


def integer(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def amount(value: Any) -> bool:
    plain = type(value) in (int, float) and len(repr(value)) <= AMOUNT_CHARS
    return plain and AMOUNT.fullmatch(repr(value)) is not None


def one_of(*texts: str) -> Check:
    return lambda value: value in texts


def fields(given: Any, **known: tuple[Any, Check]) -> list[Any]:
    """The fields of an input in the order in which they are known: each with its default, and what it has to be."""
    if given is not None and not isinstance(given, dict):
        raise InvalidRequestError("input: expected an object or null")
    given = given or {}
    for name, value in given.items():
        if name not in known:
            raise InvalidRequestError(f"input.{name}: expected one of {', '.join(known)}")
        if not known[name][1](value):
            raise InvalidRequestError(f"input.{name}: got {value!r}"[:200])
    return [given.get(name, default) for name, (default, _) in known.items()]


async def echo(given: Any, _job: JobContext) -> Any:
    return given


async def ticker(given: Any, job: JobContext) -> Any:
    count, interval_ms, size = fields(
        given,
        count=(3, integer(0, 10_000_000)),
        interval_ms=(10, integer(0, 3_600_000)),
        size=(0, integer(0, 524_288)),
    )
    message = "x" * size if size else None
    for current in range(1, count + 1):
        # Also without an interval: others, and a cancel, get their turn.
        await asyncio.sleep(interval_ms / 1000)
        await job.progress(current, total=count, message=message)
    return {"ticks": count}


async def chunker(given: Any, job: JobContext) -> Any:
    chunks, chunk_bytes, encoding = fields(
        given,
        chunks=(3, integer(1, 1_000_000)),
        chunk_bytes=(64, integer(1, 16_777_216)),
        encoding=("base64", one_of("base64", "utf8")),
    )
    pattern = BYTES if encoding == "base64" else LETTERS
    stream = job.stream_result()
    for chunk in range(chunks):
        end = (chunk + 1) * chunk_bytes
        for start in range(chunk * chunk_bytes, end, CHUNK_BYTES):
            size = min(CHUNK_BYTES, end - start)
            offset = start % len(pattern)
            data = (pattern * (size // len(pattern) + 2))[offset : offset + size]
            await stream.write(data if encoding == "base64" else data.decode())
            await asyncio.sleep(0)
    await stream.close()


async def spender(given: Any, job: JobContext) -> Any:
    calls, usd = fields(given, calls=(10, integer(0, 100_000)), usd_per_call=(0.3, amount))
    for call in range(calls):
        call_id = f"spend-{call + 1}"
        if "cost.budget" in job.lease:
            try:
                job.authorize("tool.call", "spend")
            except ARCPError as refused:
                await job.tool_result({"call_id": call_id, "error": refused.to_payload()})
                return {"calls_made": call, "exhausted": isinstance(refused, BudgetExhaustedError)}
        await job.tool_call({"tool": "spend", "args": {"usd": usd}, "call_id": call_id})
        await job.metric({"name": "cost.tool", "value": usd, "unit": "USD"})
        await job.tool_result({"call_id": call_id, "result": {"ok": True}})
        await asyncio.sleep(0)
    return {"calls_made": calls, "exhausted": False}


async def sleeper(given: Any, _job: JobContext) -> Any:
    (ms,) = fields(given, ms=(100, integer(0, 86_400_000)))
    await asyncio.sleep(ms / 1000)
    return {"slept_ms": ms}


async def failer(given: Any, job: JobContext) -> Any:
    code, message, retryable, after_events = fields(
        given,
        code=("INTERNAL_ERROR", one_of(*ERROR_CODES)),
        message=("failed, as it was asked to", lambda value: isinstance(value, str)),
        retryable=(None, lambda value: value is None or isinstance(value, bool)),
        after_events=(0, integer(0, 1_000_000)),
    )
    for event in range(1, after_events + 1):
        await job.log("info", f"event {event} of {after_events}, then it fails")
        await asyncio.sleep(0)
    raise error_class_for(code)(message, retryable=retryable)


async def main() -> None:
    runtime = ARCPRuntime(
        runtime=RuntimeInfo(name=PACKAGE, version=version(PACKAGE)),
        bearer=StaticBearerVerifier(PRINCIPALS),
        heartbeat_interval_sec=HEARTBEAT_SEC,
        resume_window_sec=RESUME_WINDOW_SEC,
    )
    for agent in (echo, ticker, chunker, spender, sleeper, failer):
        runtime.register_agent_version(agent.__name__, "1.0.0", agent)
    runtime.register_agent_version("echo", "2.0.0", echo)
    runtime.set_default_agent_version("echo", "2.0.0")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await serve_websocket(runtime.accept, host="127.0.0.1", port=0) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"ws://127.0.0.1:{port}/arcp", flush=True)
        await stop.wait()
    await runtime.close()


if __name__ == "__main__":
    asyncio.run(main())
