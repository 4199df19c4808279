// Jobs that are refused, fail or are cancelled: told to the one who asked, and to nobody else.

import { check, equal, failsWith, resultOf, scenario, upTo } from "../harness.mjs";
import { isProgress } from "../wire.mjs";

const UNKNOWN_JOB = "job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E";

scenario(async function unknown_agent_is_refused(world) {
  const session = await world.open();
  const error = await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent", {});
  equal(error.retryable, false, "retryable");
  equal(await session.run("echo", "after"), "after", "echo after a refusal");
});

scenario(async function unknown_agent_version_is_refused(world) {
  const session = await world.open();
  await session.refused("AGENT_VERSION_NOT_AVAILABLE", "echo@9.9.9", {});
  equal(await session.run("echo", "after"), "after", "echo after a refusal");
});

scenario(async function a_refusal_leaves_a_running_job_alone(world) {
  const session = await world.open();
  const running = await session.submit("ticker", { count: 20, interval_ms: 15 });
  await session.wire.waitTicks(running.jobId, 2);
  await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent");
  equal(await resultOf(running), { ticks: 20 }, "result of the running job");
  equal(await session.ticks(running), upTo(20), "ticks of the running job");
});

scenario(async function refusals_among_concurrent_submits(world) {
  const session = await world.open();
  const running = await session.submit("ticker", { count: 10, interval_ms: 20 });
  const one = async (i: number): Promise<void> => {
    if (i % 3 !== 2) equal(await session.run("echo", { i }), { i }, `echo ${i}`);
    else if (i % 2 === 1) await session.refused("AGENT_NOT_AVAILABLE", `no-such-agent-${i}`, { i });
    else await session.refused("AGENT_VERSION_NOT_AVAILABLE", `echo@9.9.${i}`, { i });
  };
  await Promise.all(upTo(30).map(one));
  equal(await resultOf(running), { ticks: 10 }, "result of the running job");
  equal(await session.ticks(running), upTo(10), "ticks of the running job");
});

scenario(async function a_refused_submit_is_a_job_error_for_a_job_of_its_own(world) {
  const session = await world.open();
  await session.refused("AGENT_NOT_AVAILABLE", "no-such-agent");
  await session.settle();
  const types = session.wire.received.map((f) => f.type).filter((t) => t !== "session.ping");
  equal(types, ["session.welcome", "job.error", "session.jobs"], "frames");
  const error = session.wire.ofType("job.error")[0]!;
  check(error.job_id !== undefined && error.event_seq === undefined, "a job_id and no number are due");
});

scenario(async function failer_reports_code_message_and_events(world) {
  const session = await world.open();
  const request = { code: "PERMISSION_DENIED", message: "not ünder my wätch", after_events: 3 };
  const handle = await session.submit("failer", request);
  const error = await failsWith("failer", handle.done, "PERMISSION_DENIED");
  equal(error.message, request.message, "message");
  const stream = session.wire.stream(handle.jobId);
  equal(stream.filter((f) => f.payload.kind === "log").length, 3, "log events before the failure");
  equal(stream.at(-1)!.type, "job.error", "last frame of the job");
  check(!stream.some(isProgress), "progress of an agent that makes none");
});

scenario(async function failer_defaults_to_internal_error(world) {
  const session = await world.open();
  const handle = await session.submit("failer", {});
  equal((await failsWith("failer", handle.done, "INTERNAL_ERROR")).retryable, true, "retryable");
});

scenario(async function max_runtime_ends_a_job_as_timed_out(world) {
  const session = await world.open();
  const handle = await session.submit("sleeper", { ms: 20_000 }, { maxRuntimeSec: 1 });
  await failsWith("sleeper", handle.done, "TIMEOUT");
  equal((await session.wire.waitJobEnd(handle.jobId)).payload.final_status, "timed_out", "final status");
  equal((await session.row(handle.jobId)).status, "timed_out", "status in the listing");
});

scenario(async function max_runtime_that_is_kept_does_nothing(world) {
  const session = await world.open();
  equal(await session.run("sleeper", { ms: 20 }, { maxRuntimeSec: 30 }), { slept_ms: 20 }, "result");
});

scenario(async function cancel_ends_a_running_job(world) {
  const session = await world.open();
  const handle = await session.submit("sleeper", { ms: 20_000 });
  await session.client.cancelJob(handle.jobId);
  await failsWith("sleeper", handle.done, "CANCELLED");
  const types = session.wire.ofJob(handle.jobId).map((f) => f.type).filter((t) => t !== "job.event");
  equal(types, ["job.accepted", "job.cancelled", "job.error"], "frames of the cancelled job");
  equal((await session.wire.waitJobEnd(handle.jobId)).payload.final_status, "cancelled", "final status");
});

scenario(async function cancel_in_the_middle_of_a_stream(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 2000, interval_ms: 10 });
  await session.wire.waitTicks(handle.jobId, 5);
  await session.client.cancelJob(handle.jobId, { reason: "seen enough" });
  await failsWith("ticker", handle.done, "CANCELLED");
  const ticks = await session.ticks(handle);
  equal(ticks, upTo(ticks.length), "ticks before the cancel");
  check(ticks.length < 1000, "the ticker went on after the cancel");
  equal((await session.row(handle.jobId)).status, "cancelled", "status in the listing");
});

scenario(async function cancel_touches_only_its_job(world) {
  const session = await world.open();
  const doomed = await session.submit("sleeper", { ms: 20_000 });
  const other = await session.submit("ticker", { count: 10, interval_ms: 15 });
  await session.client.cancelJob(doomed.jobId);
  await failsWith("sleeper", doomed.done, "CANCELLED");
  equal(await resultOf(other), { ticks: 10 }, "result of the other job");
  equal(await session.ticks(other), upTo(10), "ticks of the other job");
});

scenario(async function cancel_of_a_finished_job_disturbs_nothing(world) {
  const session = await world.open();
  const finished = await session.submit("echo", 1);
  await resultOf(finished);
  const running = await session.submit("ticker", { count: 10, interval_ms: 20 });
  await session.wire.waitTicks(running.jobId, 2);
  await session.client.cancelJob(finished.jobId);
  equal(await session.run("echo", "next"), "next", "a submit right behind it");
  equal(await resultOf(running), { ticks: 10 }, "result of the running job");
  equal((await session.row(finished.jobId)).status, "success", "status of the finished job");
});

scenario(async function cancel_of_an_unknown_job_disturbs_nothing(world) {
  const session = await world.open();
  const running = await session.submit("ticker", { count: 10, interval_ms: 20 });
  await session.wire.waitTicks(running.jobId, 2);
  await session.client.cancelJob(UNKNOWN_JOB as typeof running.jobId);
  equal(await session.run("echo", "next"), "next", "a submit right behind it");
  equal(await resultOf(running), { ticks: 10 }, "result of the running job");
  equal(await session.ticks(running), upTo(10), "ticks of the running job");
});

scenario(async function another_principal_cannot_cancel(world) {
  const alice = await world.open();
  const bob = await world.open("bob");
  const handle = await alice.submit("ticker", { count: 15, interval_ms: 20 });
  await alice.wire.waitTicks(handle.jobId, 2);
  await bob.client.cancelJob(handle.jobId);
  equal(await bob.run("echo", "next"), "next", "a submit right behind it");
  equal(await resultOf(handle), { ticks: 15 }, "result of alice's job");
}, "ws");
