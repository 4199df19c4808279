// Large results: streamed in chunks, and inline.

import type { JobHandle } from "@agentruntimecontrolprotocol/client";

import { check, equal, resultOf, scenario, type Session, upTo, within } from "../harness.mjs";

const CHUNKS = 10;
const CHUNK_BYTES = 512 * 1024;
const TOTAL = CHUNKS * CHUNK_BYTES;
const BYTES = Buffer.from(Array.from({ length: 251 }, (_, i) => i));
const ALPHABET = Buffer.from("abcdefghijklmnopqrstuvwxyz");

/** The assembled result is the contract's bytes, and the chunks are in order and complete. */
async function checkChunks(session: Session, handle: JobHandle, pattern: Buffer, length: number): Promise<void> {
  const received = await within("collectChunks", handle.collectChunks(), 15_000);
  const bytes = typeof received === "string" ? Buffer.from(received) : received;
  equal(bytes.length, length, "bytes received");
  check(bytes.equals(Buffer.alloc(length, pattern)), "the bytes differ from the contract's");
  const end = await handle.done;
  equal([end.final_status, end.result_size, "result" in end], ["success", length, false], "the result");
  const bodies = session.wire.stream(handle.jobId).filter((f) => f.payload.kind === "result_chunk").map((f) => f.payload.body);
  equal(bodies.map((b) => b.chunk_seq), bodies.map((_, i) => i), "chunk_seq");
  check(bodies.every((b) => b.result_id === end.result_id), "result_id");
  equal(bodies.map((b) => b.more), bodies.map((_, i) => i < bodies.length - 1), "more");
}

scenario(async function chunked_result_base64_5_mb(world) {
  const session = await world.open();
  const handle = await session.submit("chunker", { chunks: CHUNKS, chunk_bytes: CHUNK_BYTES });
  await checkChunks(session, handle, BYTES, TOTAL);
});

scenario(async function chunked_result_utf8_5_mb(world) {
  const session = await world.open();
  const handle = await session.submit("chunker", { chunks: CHUNKS, chunk_bytes: CHUNK_BYTES, encoding: "utf8" });
  await checkChunks(session, handle, ALPHABET, TOTAL);
});

scenario(async function chunked_result_defaults(world) {
  const session = await world.open();
  await checkChunks(session, await session.submit("chunker"), BYTES, 192);
});

scenario(async function chunked_results_side_by_side(world) {
  const session = await world.open();
  const sizes = [1000, 2000, 3000];
  const handles = await Promise.all(sizes.map((size) => session.submit("chunker", { chunks: 20, chunk_bytes: size })));
  for (const [i, handle] of handles.entries()) await checkChunks(session, handle, BYTES, 20 * sizes[i]!);
});

scenario(async function chunked_result_over_a_broken_connection(world) {
  const session = await world.open();
  const { jobId } = await session.submit("chunker", { chunks: 40, chunk_bytes: 64 * 1024 });
  await session.wire.waitFor("chunks", (f) => f.type === "job.event", 3);
  await world.drop(session);
  const resumed = await world.resume(session);
  await resumed.wire.waitJobEnd(jobId);
  const frames = [...session.wire.stream(jobId), ...resumed.wire.stream(jobId)];
  const seqs = frames.filter((f) => f.payload.kind === "result_chunk").map((f) => f.payload.body.chunk_seq);
  equal(seqs, seqs.map((_, i) => i), "chunk_seq over both connections");
  check(seqs.length >= 40, "chunks are missing");
}, "ws");

scenario(async function inline_result_of_700_kb(world) {
  const session = await world.open();
  const text = "0123456789abcdef".repeat(Math.floor(700_000 / 16));
  equal(await session.run("echo", { text }), { text }, "result");
});

scenario(async function many_inline_results_of_100_kb(world) {
  const session = await world.open();
  const texts = upTo(8).map((i) => String(i).repeat(100_000));
  const handles = await Promise.all(texts.map((text) => session.submit("echo", text)));
  for (const [i, handle] of handles.entries()) equal(await resultOf(handle), texts[i], "result");
});
