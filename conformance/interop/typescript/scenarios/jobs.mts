// Submitting jobs that run to a good end, and what they may do.

import { check, equal, failsWith, resultOf, scenario, upTo } from "../harness.mjs";

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const VALUES = [
  "wörld 日本語 🎉 \u2028 \u0000 \" \\",
  "",
  null,
  false,
  true,
  0,
  -1,
  Number.MAX_SAFE_INTEGER,
  1.5,
  [],
  {},
  [null],
  { n: null, "": { deep: [[[{ ключ: [1, 2.25, "x", false] }]]] } },
];
const PATTERNS = {
  "tool.call": ["zeta", "alpha", "search.*"],
  "fs.read": ["/project/**", "/data/*"],
  "net.fetch": ["https://example.test/*"],
  "x-vendor.interop.custom": ["anything"],
};

function secondsFromNow(seconds: number): string {
  return new Date(Date.now() + seconds * 1000).toISOString();
}

scenario(async function echo_returns_every_kind_of_value(world) {
  const session = await world.open();
  for (const value of VALUES) equal(await session.run("echo", value), value, "echo");
});

scenario(async function echo_without_input(world) {
  const session = await world.open();
  equal(await session.run("echo"), null, "echo without input");
  check(!("input" in session.wire.sent.at(-1)!.payload), "this client no longer omits an absent input");
});

scenario(async function bare_agent_name_takes_the_default_version(world) {
  const session = await world.open();
  const handle = await session.submit("echo", 1);
  equal(handle.agent, "echo@2.0.0", "resolved agent");
  equal(await resultOf(handle), 1, "result");
});

scenario(async function pinned_agent_version_is_honoured(world) {
  const session = await world.open();
  for (const version of ["1.0.0", "2.0.0"]) {
    const handle = await session.submit(`echo@${version}`, version);
    equal(handle.agent, `echo@${version}`, "resolved agent");
    equal(await resultOf(handle), version, "result");
  }
});

scenario(async function trace_id_is_echoed(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 2 }, { traceId: TRACE_ID });
  equal(handle.traceId, TRACE_ID, "trace id of the handle");
  await resultOf(handle);
  const traces = session.wire.ofJob(handle.jobId).flatMap((f) => f.trace_id ?? []);
  check(traces.length > 0 && traces.every((t) => t === TRACE_ID), `trace ids on the job's frames: ${traces}`);
  equal((await session.row(handle.jobId)).trace_id, TRACE_ID, "trace id in the listing");
});

scenario(async function answers_find_their_submits_by_trace(world) {
  const session = await world.open();
  const trace = (i: number) => i.toString(16).padStart(32, "a");
  const one = async (i: number): Promise<void> => {
    if (i % 3 === 0) await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent", i, { traceId: trace(i) });
    else equal(await session.run("echo", i, { traceId: trace(i) }), i, "echo");
  };
  await Promise.all(upTo(20).map(one));
});

scenario(async function ticker_events_arrive_in_order(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 25, interval_ms: 5 });
  equal(await session.ticks(handle), upTo(25), "ticks");
  equal(await resultOf(handle), { ticks: 25 }, "result");
});

scenario(async function ticker_defaults(world) {
  const session = await world.open();
  const handle = await session.submit("ticker");
  equal(await session.ticks(handle), [1, 2, 3], "ticks");
  equal(await resultOf(handle), { ticks: 3 }, "result");
});

scenario(async function twenty_concurrent_submits(world) {
  const session = await world.open();
  const handles = await Promise.all(upTo(20).map((i) => session.submit("echo", { i })));
  equal(new Set(handles.map((h) => h.jobId)).size, 20, "distinct jobs");
  equal(await Promise.all(handles.map((h) => resultOf(h))), upTo(20).map((i) => ({ i })), "results");
});

scenario(async function concurrent_streams_do_not_mix(world) {
  const session = await world.open();
  const handles = await Promise.all(upTo(10).map((i) => session.submit("ticker", { count: 10 + i, interval_ms: 3 })));
  const streams = await Promise.all(handles.map((h) => session.ticks(h)));
  equal(streams, upTo(10).map((i) => upTo(10 + i)), "streams");
});

scenario(async function fast_ticker_of_2000_events(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 2000, interval_ms: 0, size: 100 });
  equal(await resultOf(handle, 15_000), { ticks: 2000 }, "result");
  equal(await session.ticks(handle), upTo(2000), "ticks");
});

scenario(async function lease_is_echoed_verbatim(world) {
  const session = await world.open();
  const handle = await session.submit("echo", 1, { lease: PATTERNS });
  equal(handle.lease, PATTERNS, "lease of job.accepted");
  equal(handle.leaseConstraints?.expires_at, undefined, "an expiry that nobody asked for");
  await resultOf(handle);
  equal((await session.row(handle.jobId)).lease, PATTERNS, "lease in the listing");
});

scenario(async function no_lease_is_an_empty_lease(world) {
  const session = await world.open();
  const handle = await session.submit("echo", 1);
  equal(handle.lease, {}, "lease");
  equal(await resultOf(handle), 1, "result");
});

scenario(async function expiry_in_the_future_is_accepted(world) {
  const session = await world.open();
  const wanted = secondsFromNow(300);
  const handle = await session.submit("echo", 1, { expiresAt: wanted });
  equal(Date.parse(handle.leaseConstraints?.expires_at ?? ""), Date.parse(wanted), "expires_at");
  equal(await resultOf(handle), 1, "result");
});

scenario(async function expiry_in_the_past_is_refused(world) {
  const session = await world.open();
  await session.refused("INVALID_REQUEST", "echo", 1, { expiresAt: "2020-01-01T00:00:00Z" });
  equal(await session.run("echo", "after"), "after", "echo after a refusal");
});

scenario(async function lease_that_expires_ends_the_job(world) {
  const session = await world.open();
  const handle = await session.submit("sleeper", { ms: 20_000 }, { expiresAt: secondsFromNow(1) });
  const error = await failsWith("sleeper", handle.done, "LEASE_EXPIRED");
  equal(error.retryable, false, "retryable");
  equal((await session.row(handle.jobId)).status, "error", "status in the listing");
});
