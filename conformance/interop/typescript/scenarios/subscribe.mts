// Watching a job from another session of its principal. A subscription of this client has no events of its own:
// they reach the handlers of `client.on`.

import { check, equal, failsWith, resultOf, scenario, type Session, upTo, type World } from "../harness.mjs";
import { essence, ticksIn } from "../wire.mjs";

const COUNT = 25;
const SLOW = { count: COUNT, interval_ms: 20 };
const ALL = upTo(COUNT);
const UNKNOWN_JOB = "job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E" as Parameters<Session["subscribe"]>[0];

function streamOf(session: Session, jobId: string): unknown[] {
  return session.wire.stream(jobId).map(essence);
}

/** A ticker of one session and a second session beside it. */
async function pair(world: World) {
  const submitter = await world.open();
  const watcher = await world.open();
  const handle = await submitter.submit("ticker", SLOW);
  return { submitter, watcher, handle };
}

scenario(async function subscribe_with_history_to_a_running_job(world) {
  const { submitter, watcher, handle } = await pair(world);
  await submitter.wire.waitTicks(handle.jobId, 5);
  const sub = await watcher.subscribe(handle.jobId, { history: true });
  equal([sub.subscribedFrom, sub.currentStatus], [0, "running"], "subscription");
  equal(await watcher.ticks(handle), ALL, "ticks of the watcher");
  await resultOf(handle);
  equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId), "the two sessions' streams");
}, "ws");

scenario(async function subscribe_to_a_finished_job(world) {
  const submitter = await world.open();
  const lease = { "tool.call": ["a"] };
  const handle = await submitter.submit("ticker", { count: 6, interval_ms: 1 }, { lease });
  await resultOf(handle);
  const watcher = await world.open();
  const sub = await watcher.subscribe(handle.jobId, { history: true });
  equal([sub.currentStatus, sub.agent, sub.lease], ["success", "ticker@1.0.0", lease], "subscription");
  equal(await watcher.ticks(handle), upTo(6), "ticks of the watcher");
  equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId), "the two sessions' streams");
}, "ws");

scenario(async function subscribe_to_a_finished_job_without_history(world) {
  const submitter = await world.open();
  const handle = await submitter.submit("ticker", { count: 6, interval_ms: 1 });
  await resultOf(handle);
  const watcher = await world.open();
  const sub = await watcher.subscribe(handle.jobId);
  equal([sub.currentStatus, sub.subscribedFrom], ["success", 6], "subscription");
  await watcher.wire.waitJobEnd(handle.jobId);
  equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId).slice(-1), "the end alone");
}, "ws");

scenario(async function subscribe_to_a_failed_job(world) {
  const submitter = await world.open();
  const request = { code: "PERMISSION_DENIED", message: "no", after_events: 2 };
  const handle = await submitter.submit("failer", request);
  await failsWith("failer", handle.done, "PERMISSION_DENIED");
  const watcher = await world.open();
  const sub = await watcher.subscribe(handle.jobId, { history: true });
  equal(sub.currentStatus, "error", "status of the subscription");
  await watcher.wire.waitJobEnd(handle.jobId);
  equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId), "the two sessions' streams");
  await watcher.settle();
  equal(watcher.seen.at(-1)?.payload.code, "PERMISSION_DENIED", "what the watcher's handler was given");
}, "ws");

scenario(async function subscribe_from_a_position(world) {
  const { submitter, watcher, handle } = await pair(world);
  await submitter.wire.waitTicks(handle.jobId, 8);
  const sub = await watcher.subscribe(handle.jobId, { history: true, fromEventSeq: 5 });
  equal(sub.subscribedFrom, 5, "subscribedFrom");
  await watcher.wire.waitJobEnd(handle.jobId);
  await resultOf(handle);
  equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId).slice(5), "what follows the position");
}, "ws");

scenario(async function subscribe_from_a_position_of_a_finished_job(world) {
  const submitter = await world.open();
  const handle = await submitter.submit("ticker", { count: 9, interval_ms: 1 });
  await resultOf(handle);
  const watcher = await world.open();
  await watcher.subscribe(handle.jobId, { history: true, fromEventSeq: 7 });
  await watcher.wire.waitJobEnd(handle.jobId);
  equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId).slice(7), "what follows the position");
}, "ws");

scenario(async function subscribe_without_history_is_live_only(world) {
  const { submitter, watcher, handle } = await pair(world);
  await submitter.wire.waitTicks(handle.jobId, 6);
  const sub = await watcher.subscribe(handle.jobId);
  check(sub.subscribedFrom >= 6, `subscribedFrom ${sub.subscribedFrom} after six events`);
  await watcher.wire.waitJobEnd(handle.jobId);
  await resultOf(handle);
  const expected = streamOf(submitter, handle.jobId).slice(sub.subscribedFrom);
  equal(streamOf(watcher, handle.jobId), expected, "what follows subscribedFrom");
}, "ws");

scenario(async function subscribe_twice_doubles_nothing(world) {
  const { submitter, watcher, handle } = await pair(world);
  await submitter.wire.waitTicks(handle.jobId, 3);
  await watcher.subscribe(handle.jobId, { history: true });
  await watcher.wire.waitTicks(handle.jobId, 6);
  await watcher.subscribe(handle.jobId);
  equal(await watcher.ticks(handle), ALL, "ticks of the watcher");
}, "ws");

scenario(async function subscribe_again_with_history_starts_over(world) {
  const { submitter, watcher, handle } = await pair(world);
  await submitter.wire.waitTicks(handle.jobId, 6);
  await watcher.subscribe(handle.jobId);
  await watcher.wire.waitTicks(handle.jobId, 3);
  await watcher.subscribe(handle.jobId, { history: true });
  await watcher.wire.waitJobEnd(handle.jobId);
  const frames = watcher.wire.received;
  const second = frames.indexOf(watcher.wire.ofType("job.subscribed")[1]!);
  equal(ticksIn(frames.slice(second)), ALL, "ticks after the second job.subscribed");
}, "ws");

scenario(async function subscribe_to_an_own_job_doubles_nothing(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", SLOW);
  await session.wire.waitTicks(handle.jobId, 3);
  await session.subscribe(handle.jobId);
  equal(await resultOf(handle), { ticks: COUNT }, "result");
  equal(await session.ticks(handle), ALL, "ticks");
});

scenario(async function several_watchers_see_the_same(world) {
  const submitter = await world.open();
  const handle = await submitter.submit("ticker", SLOW);
  const watchers: Session[] = [];
  for (const ticks of [1, 4, 9]) {
    await submitter.wire.waitTicks(handle.jobId, ticks);
    const watcher = await world.open();
    await watcher.subscribe(handle.jobId, { history: true });
    watchers.push(watcher);
  }
  await resultOf(handle);
  for (const watcher of watchers) {
    await watcher.wire.waitJobEnd(handle.jobId);
    equal(streamOf(watcher, handle.jobId), streamOf(submitter, handle.jobId), "a watcher's stream");
  }
}, "ws");

scenario(async function a_watcher_may_watch_and_work(world) {
  const { watcher, handle } = await pair(world);
  await watcher.subscribe(handle.jobId, { history: true });
  const own = await watcher.submit("ticker", { count: 30, interval_ms: 7 });
  equal(await resultOf(own), { ticks: 30 }, "result of the own job");
  equal(await watcher.ticks(own), upTo(30), "ticks of the own job");
  equal(await watcher.ticks(handle), ALL, "ticks of the watched job");
}, "ws");

scenario(async function unsubscribe_stops_the_events(world) {
  const { submitter, watcher, handle } = await pair(world);
  const sub = await watcher.subscribe(handle.jobId, { history: true });
  await watcher.wire.waitTicks(handle.jobId, 3);
  await sub.unsubscribe();
  await watcher.settle();
  await watcher.settle(); // A frame that was on its way during the first round trip has arrived now.
  const seen = watcher.wire.ofJob(handle.jobId).length;
  equal(await submitter.ticks(handle), ALL, "the submitter's ticks");
  await watcher.settle();
  equal(watcher.wire.ofJob(handle.jobId).length, seen, "the job's frames at the watcher");
}, "ws");

scenario(async function subscribe_again_after_unsubscribe(world) {
  const { watcher, handle } = await pair(world);
  const sub = await watcher.subscribe(handle.jobId);
  await watcher.wire.waitTicks(handle.jobId, 2);
  await sub.unsubscribe();
  await watcher.settle();
  await watcher.subscribe(handle.jobId, { history: true });
  equal((await watcher.ticks(handle)).slice(-COUNT), ALL, "ticks of the second subscription");
}, "ws");

scenario(async function foreign_job_cannot_be_watched(world) {
  const alice = await world.open();
  const bob = await world.open("bob");
  const handle = await alice.submit("ticker", SLOW);
  await alice.wire.waitTicks(handle.jobId, 2);
  const watching = bob.subscribe(handle.jobId, { history: true });
  await failsWith("subscribe", watching, "JOB_NOT_FOUND", "PERMISSION_DENIED");
  equal(await resultOf(handle), { ticks: COUNT }, "alice's result");
  await bob.settle();
  equal(bob.wire.ofJob(handle.jobId), [], "frames of alice's job at bob's");
}, "ws");

scenario(async function unknown_job_cannot_be_watched(world) {
  const session = await world.open();
  await failsWith("subscribe", session.subscribe(UNKNOWN_JOB), "JOB_NOT_FOUND");
  equal(await session.run("echo", "after"), "after", "echo after a refusal");
});

// The error would end the handles of the session's jobs too; while there are any, the client learns instead that
// there is nothing to watch.
scenario(async function a_refused_subscribe_leaves_a_running_job_alone(world) {
  const session = await world.open();
  const running = await session.submit("ticker", SLOW);
  const [sub, after] = await Promise.all([session.subscribe(UNKNOWN_JOB), session.run("echo", "beside it")]);
  equal([sub.currentStatus, after], ["error", "beside it"], "subscription and a submit beside it");
  equal(await resultOf(running), { ticks: COUNT }, "result of the running job");
});

scenario(async function a_watcher_cannot_cancel(world) {
  const { submitter, watcher, handle } = await pair(world);
  await watcher.subscribe(handle.jobId, { history: true });
  await watcher.wire.waitTicks(handle.jobId, 2);
  await watcher.client.cancelJob(handle.jobId);
  equal(await watcher.run("echo", "next"), "next", "a submit right behind it");
  equal(await resultOf(handle), { ticks: COUNT }, "the submitter's result");
  equal(await submitter.ticks(handle), ALL, "the submitter's ticks");
}, "ws");
