"""Large results: streamed in chunks, and inline."""

from __future__ import annotations

from arcp.client import JobHandle
from harness import Session, World, equal, result_of, within
from registry import scenario

CHUNKS = 10
CHUNK_BYTES = 512 * 1024
TOTAL = CHUNKS * CHUNK_BYTES
ALPHABET = b"abcdefghijklmnopqrstuvwxyz"


def repeated(pattern: bytes, length: int) -> bytes:
    return (pattern * (length // len(pattern) + 1))[:length]


async def check_chunks(session: Session, handle: JobHandle, expected: bytes, at_least: int) -> None:
    """The decoded chunks are the contract's bytes, and the frames are in order and complete."""
    received = await within("collect_chunks", handle.collect_chunks(), 15)
    equal(len(received), len(expected), "bytes received")
    assert received == expected, "the bytes differ from the contract's"
    payload = await within("the result", handle.done)
    equal(payload.final_status, "success", "final status")
    equal(payload.result_size, len(expected), "result_size")
    end = session.wire.of_job(handle.job_id)[-1]
    assert "result" not in end["payload"], "inline and chunked in one result"
    bodies = [
        f["payload"]["body"]
        for f in session.wire.of_job(handle.job_id)
        if f["type"] == "job.event" and f["payload"]["kind"] == "result_chunk"
    ]
    assert len(bodies) >= at_least, f"{len(bodies)} chunks where at least {at_least} were due"
    equal([b["chunk_seq"] for b in bodies], list(range(len(bodies))), "chunk_seq")
    equal({b["result_id"] for b in bodies}, {payload.result_id}, "result_id")
    equal([b["more"] for b in bodies], [True] * (len(bodies) - 1) + [False], "more")


@scenario()
async def chunked_result_base64_5_mb(world: World) -> None:
    """Five megabytes in base64 chunks arrive byte for byte."""
    session = await world.open()
    handle = await session.submit("chunker", {"chunks": CHUNKS, "chunk_bytes": CHUNK_BYTES})
    await check_chunks(session, handle, repeated(bytes(range(251)), TOTAL), CHUNKS)


@scenario()
async def chunked_result_utf8_5_mb(world: World) -> None:
    """Five megabytes of text in utf8 chunks arrive byte for byte."""
    session = await world.open()
    request = {"chunks": CHUNKS, "chunk_bytes": CHUNK_BYTES, "encoding": "utf8"}
    handle = await session.submit("chunker", request)
    await check_chunks(session, handle, repeated(ALPHABET, TOTAL), CHUNKS)


@scenario()
async def chunked_result_defaults(world: World) -> None:
    """Without input the chunker streams three chunks of 64 bytes in base64."""
    session = await world.open()
    handle = await session.submit("chunker")
    await check_chunks(session, handle, repeated(bytes(range(251)), 192), 3)


@scenario()
async def chunked_results_side_by_side(world: World) -> None:
    """Three streams at once do not mix."""
    session = await world.open()
    sizes = (1000, 2000, 3000)
    handles = [await session.submit("chunker", {"chunks": 20, "chunk_bytes": size}) for size in sizes]
    for handle, size in zip(handles, sizes):
        await check_chunks(session, handle, repeated(bytes(range(251)), 20 * size), 20)


@scenario("ws")
async def chunked_result_of_a_finished_job(world: World) -> None:
    """A watcher that comes late can still collect the whole result."""
    session = await world.open()
    handle = await session.submit("chunker", {"chunks": 30, "chunk_bytes": 700})
    expected = repeated(bytes(range(251)), 30 * 700)
    await check_chunks(session, handle, expected, 30)
    watcher = await world.open()
    sub = await watcher.subscribe(handle.job_id, history=True)
    await check_chunks(watcher, sub.handle, expected, 30)


@scenario("ws")
async def chunked_result_over_a_broken_connection(world: World) -> None:
    """A streamed result that is cut in the middle is completed by the resume."""
    session = await world.open()
    handle = await session.submit("chunker", {"chunks": 40, "chunk_bytes": 64 * 1024})
    await session.wire.wait_for("chunks", lambda f: f["type"] == "job.event", count=3)
    await world.drop(session)
    resumed = await world.resume(session)
    await resumed.wire.wait_end(handle.job_id)
    frames = session.wire.stream(handle.job_id) + resumed.wire.stream(handle.job_id)
    seqs = [f["payload"]["body"]["chunk_seq"] for f in frames if f["payload"].get("kind") == "result_chunk"]
    equal(seqs, list(range(len(seqs))), "chunk_seq over both connections")
    assert len(seqs) >= 40, "chunks are missing"


@scenario()
async def inline_result_of_700_kb(world: World) -> None:
    """A large inline result comes back whole."""
    session = await world.open()
    text = "0123456789abcdef" * (700_000 // 16)
    assert await session.run("echo", {"text": text}) == {"text": text}, "the result differs from the input"


@scenario()
async def many_inline_results_of_100_kb(world: World) -> None:
    """Several large results in a row neither block nor mix."""
    session = await world.open()
    texts = [str(i) * 100_000 for i in range(8)]
    handles = [await session.submit("echo", text) for text in texts]
    for handle, text in zip(handles, texts):
        assert await result_of(handle) == text, "the result differs from the input"
