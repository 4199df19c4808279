// Submitting the same job twice.

import { check, equal, failsWith, resultOf, scenario, upTo } from "../harness.mjs";
import { essence, isTerminal } from "../wire.mjs";

const RUNNING = { count: 15, interval_ms: 20 };

scenario(async function same_key_after_the_end_completes_both(world) {
  const session = await world.open();
  const more = { key: "after-the-end" };
  const first = await session.submit("echo", { k: 1 }, more);
  equal(await resultOf(first), { k: 1 }, "first result");
  const second = await session.submit("echo", { k: 1 }, more);
  equal(second.jobId, first.jobId, "job id");
  equal(await resultOf(second), { k: 1 }, "second result");
});

scenario(async function same_key_while_running_is_one_job(world) {
  const session = await world.open();
  const more = { key: "while-running" };
  const first = await session.submit("ticker", RUNNING, more);
  await session.wire.waitTicks(first.jobId, 3);
  // In one session this client keeps only the newest handle of a job.
  const second = await session.submit("ticker", RUNNING, more);
  equal(second.jobId, first.jobId, "job id");
  equal(await resultOf(second), { ticks: 15 }, "result");
  equal(await session.ticks(second), upTo(15), "ticks");
  equal(session.wire.ofJob(first.jobId).filter(isTerminal).length, 1, "terminal frames");
});

scenario(async function same_key_in_a_second_session_while_running(world) {
  const one = await world.open();
  const two = await world.open();
  const more = { key: "second-session" };
  const first = await one.submit("ticker", RUNNING, more);
  await one.wire.waitTicks(first.jobId, 4);
  const second = await two.submit("ticker", RUNNING, more);
  equal(second.jobId, first.jobId, "job id");
  for (const [session, handle] of [[one, first], [two, second]] as const) {
    equal(await resultOf(handle), { ticks: 15 }, "result");
    equal(await session.ticks(handle), upTo(15), "ticks");
  }
}, "ws");

scenario(async function same_key_in_a_second_session_after_the_end(world) {
  const one = await world.open();
  const more = { key: "second-session-late" };
  const first = await one.submit("ticker", { count: 4, interval_ms: 1 }, more);
  await resultOf(first);
  const two = await world.open();
  const second = await two.submit("ticker", { count: 4, interval_ms: 1 }, more);
  equal(second.jobId, first.jobId, "job id");
  equal(await resultOf(second), { ticks: 4 }, "second result");
  equal(two.wire.stream(first.jobId).map(essence), one.wire.stream(first.jobId).map(essence), "streams");
}, "ws");

scenario(async function same_key_gives_a_second_session_cancel_authority(world) {
  const one = await world.open();
  const two = await world.open();
  const first = await one.submit("sleeper", { ms: 20_000 }, { key: "authority" });
  const second = await two.submit("sleeper", { ms: 20_000 }, { key: "authority" });
  await two.client.cancelJob(second.jobId);
  await failsWith("first", first.done, "CANCELLED");
  await failsWith("second", second.done, "CANCELLED");
}, "ws");

scenario(async function same_key_with_the_resolved_agent_name(world) {
  const session = await world.open();
  const first = await session.submit("echo", [1], { key: "resolved-name" });
  await resultOf(first);
  const second = await session.submit("echo@2.0.0", [1], { key: "resolved-name" });
  equal(second.jobId, first.jobId, "job id");
  equal(await resultOf(second), [1], "second result");
});

scenario(async function key_conflict_while_running(world) {
  const session = await world.open();
  const first = await session.submit("ticker", RUNNING, { key: "conflict-running" });
  await session.wire.waitTicks(first.jobId, 3);
  const error = await session.refused("DUPLICATE_KEY", "ticker", { count: 16 }, { key: "conflict-running" });
  equal(error.retryable, false, "retryable");
  equal(await resultOf(first), { ticks: 15 }, "result of the first job");
  equal(await session.ticks(first), upTo(15), "ticks of the first job");
});

scenario(async function key_conflict_after_the_end(world) {
  const session = await world.open();
  const key = "conflict-ended";
  const first = await session.submit("echo", { k: 1 }, { key });
  await resultOf(first);
  await session.refused("DUPLICATE_KEY", "echo", { k: 2 }, { key });
  await session.refused("DUPLICATE_KEY", "echo", { k: 1 }, { key, maxRuntimeSec: 9 });
  const again = await session.submit("echo", { k: 1 }, { key });
  equal(again.jobId, first.jobId, "job id");
  equal(await resultOf(again), { k: 1 }, "result");
});

scenario(async function the_same_key_of_another_principal_is_independent(world) {
  const alice = await world.open();
  const bob = await world.open("bob");
  const hers = await alice.submit("echo", "alice", { key: "shared-key" });
  const his = await bob.submit("echo", "bob", { key: "shared-key" });
  check(hers.jobId !== his.jobId, "two principals share a job");
  equal(await resultOf(hers), "alice", "alice's result");
  equal(await resultOf(his), "bob", "bob's result");
}, "ws");

scenario(async function a_repeated_failure_fails_again(world) {
  const session = await world.open();
  const request = { code: "PERMISSION_DENIED", message: "no" };
  const first = await session.submit("failer", request, { key: "failed-before" });
  await failsWith("first", first.done, "PERMISSION_DENIED");
  const second = await session.submit("failer", request, { key: "failed-before" });
  equal(second.jobId, first.jobId, "job id");
  equal((await failsWith("second", second.done, "PERMISSION_DENIED")).message, "no", "message");
});
