// Connections that break and sessions that do not. A client object that resumes has no handles for the jobs of
// before, so these scenarios watch the wire.

import { check, equal, failsWith, OFFERED, resultOf, scenario, type Session, upTo, type World } from "../harness.mjs";
import { essence } from "../wire.mjs";

const COUNT = 40;
const SLOW = { count: COUNT, interval_ms: 20 };
const ALL = upTo(COUNT);

function checkWelcome(before: Session, after: Session): void {
  equal(after.wire.received[0]!.type, "session.welcome", "first frame");
  equal(after.id, before.id, "session id");
  check(after.welcome.resume_token !== before.welcome.resume_token, "the resume token did not change");
  equal([...after.client.negotiatedFeatures].sort(), OFFERED, "features after the resume");
}

/** A second session that tells how far the job is while the first is away. */
async function watch(world: World, jobId: string): Promise<Session> {
  const watcher = await world.open();
  await watcher.subscribe(jobId as Parameters<Session["subscribe"]>[0], { history: true });
  return watcher;
}

function streamOf(jobId: string, ...sessions: Session[]): unknown[] {
  return sessions.flatMap((session) => session.wire.stream(jobId)).map(essence);
}

function ticksOf(jobId: string, ...sessions: Session[]): number[] {
  return sessions.flatMap((session) => session.wire.ticks(jobId));
}

scenario(async function resume_in_the_middle_of_a_stream(world) {
  let session = await world.open();
  const all = [session];
  const { jobId } = await session.submit("ticker", SLOW);
  const watcher = await watch(world, jobId);
  for (const progress of [5, 15, 25]) {
    await watcher.wire.waitTicks(jobId, progress);
    await session.wire.waitTicks(jobId, 2);
    await world.drop(session);
    await watcher.wire.waitTicks(jobId, progress + 4);
    const resumed = await world.resume(session);
    checkWelcome(session, resumed);
    session = resumed;
    all.push(session);
  }
  const end = await session.wire.waitJobEnd(jobId);
  equal(ticksOf(jobId, ...all), ALL, "ticks over all connections");
  equal(end.payload.result, { ticks: COUNT }, "result");
  equal(await session.run("echo", "next"), "next", "a new job after the resume");
}, "ws");

scenario(async function resume_after_the_job_has_ended(world) {
  const session = await world.open();
  const { jobId } = await session.submit("ticker", { count: 15, interval_ms: 10 });
  const watcher = await watch(world, jobId);
  await session.wire.waitTicks(jobId, 3);
  await world.drop(session);
  await watcher.wire.waitJobEnd(jobId);
  const resumed = await world.resume(session);
  await resumed.wire.waitJobEnd(jobId);
  equal(streamOf(jobId, session, resumed), streamOf(jobId, watcher), "stream over both connections");
}, "ws");

scenario(async function resume_when_caught_up(world) {
  const session = await world.open();
  await session.run("ticker", { count: 3, interval_ms: 1 });
  await world.drop(session);
  const resumed = await world.resume(session);
  checkWelcome(session, resumed);
  equal(await resumed.run("echo", "next"), "next", "echo");
  const numbered = resumed.wire.received.find((f) => f.event_seq !== undefined)!;
  equal(numbered.event_seq, session.lastSeq() + 1, "first number after the resume");
}, "ws");

scenario(async function resume_of_a_session_without_jobs(world) {
  const session = await world.open();
  await world.drop(session);
  const resumed = await world.resume(session);
  checkWelcome(session, resumed);
  equal(await resumed.run("echo", "first"), "first", "echo");
}, "ws");

scenario(async function resume_from_an_earlier_position(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 10, interval_ms: 1 });
  await resultOf(handle);
  await world.drop(session);
  const resumed = await world.resume(session, { lastEventSeq: 4 });
  await resumed.wire.waitJobEnd(handle.jobId);
  equal(streamOf(handle.jobId, resumed), streamOf(handle.jobId, session).slice(4), "replay");
}, "ws");

scenario(async function resume_with_several_jobs(world) {
  const session = await world.open();
  const handles = await Promise.all(upTo(4).map((i) => session.submit("ticker", { count: 20, interval_ms: 11 + i })));
  await session.wire.waitTicks(handles[0]!.jobId, 5);
  await world.drop(session);
  const resumed = await world.resume(session);
  for (const { jobId } of handles) {
    await resumed.wire.waitJobEnd(jobId);
    equal(ticksOf(jobId, session, resumed), upTo(20), "ticks over both connections");
  }
}, "ws");

scenario(async function cancel_after_resume(world) {
  const session = await world.open();
  const handle = await session.submit("sleeper", { ms: 20_000 });
  await world.drop(session);
  const resumed = await world.resume(session);
  await resumed.client.cancelJob(handle.jobId);
  const end = await resumed.wire.waitJobEnd(handle.jobId);
  equal(end.payload.final_status, "cancelled", "final status");
  const types = resumed.wire.ofJob(handle.jobId).map((f) => f.type).filter((t) => t !== "job.event");
  equal(types, ["job.cancelled", "job.error"], "frames of the cancelled job");
}, "ws");

scenario(async function stale_resume_token_is_refused(world) {
  const session = await world.open();
  await session.run("echo", 1);
  await world.drop(session);
  const resumed = await world.resume(session);
  equal(await resumed.run("echo", 2), 2, "echo after the resume");
  await world.drop(resumed);
  const stale = world.resume(resumed, { resumeToken: session.welcome.resume_token });
  await failsWith("resume with a stale token", stale, "RESUME_WINDOW_EXPIRED");
  const again = await world.resume(resumed);
  checkWelcome(resumed, again);
  equal(await again.run("echo", 3), 3, "echo after the second resume");
}, "ws");

scenario(async function invented_resume_token_is_refused(world) {
  const session = await world.open();
  await world.drop(session);
  const invented = world.resume(session, { resumeToken: "rt_0123456789abcdef0123456789abcdef" });
  await failsWith("resume with an invented token", invented, "RESUME_WINDOW_EXPIRED");
  checkWelcome(session, await world.resume(session));
}, "ws");

scenario(async function another_principal_cannot_resume(world) {
  const session = await world.open();
  const { jobId } = await session.submit("ticker", { count: 20, interval_ms: 15 });
  await session.wire.waitTicks(jobId, 3);
  await world.drop(session);
  const theft = world.resume(session, { principal: "bob" });
  await failsWith("resume as bob", theft, "RESUME_WINDOW_EXPIRED", "PERMISSION_DENIED");
  equal(world.newest().wire.received.map((f) => f.type), ["session.error"], "frames that bob got");
  const resumed = await world.resume(session);
  await resumed.wire.waitJobEnd(jobId);
  equal(ticksOf(jobId, session, resumed), upTo(20), "ticks over both connections");
}, "ws");

scenario(async function subscriptions_survive_resume(world) {
  const submitter = await world.open();
  const handle = await submitter.submit("ticker", SLOW);
  const watcher = await watch(world, handle.jobId);
  await watcher.wire.waitTicks(handle.jobId, 6);
  await world.drop(watcher);
  await submitter.wire.waitTicks(handle.jobId, 12);
  const resumed = await world.resume(watcher);
  await resumed.wire.waitJobEnd(handle.jobId);
  await resultOf(handle);
  equal(streamOf(handle.jobId, watcher, resumed), streamOf(handle.jobId, submitter), "stream over both connections");
}, "ws");

scenario(async function close_leaves_the_job_running(world) {
  const session = await world.open();
  const { jobId } = await session.submit("ticker", { count: 20, interval_ms: 15 });
  const watcher = await watch(world, jobId);
  await session.wire.waitTicks(jobId, 3);
  await session.client.close();
  equal(session.wire.sent.at(-1)!.type, "session.bye", "last frame of the client");
  await watcher.wire.waitJobEnd(jobId);
  const resumed = await world.resume(session);
  checkWelcome(session, resumed);
  const end = await resumed.wire.waitJobEnd(jobId);
  equal(end.payload.result, { ticks: 20 }, "result");
  equal(ticksOf(jobId, session, resumed), upTo(20), "ticks over both connections");
}, "ws");

scenario(async function idempotent_submit_after_a_lost_session(world) {
  const lost = await world.open();
  const handle = await lost.submit("ticker", SLOW, { key: "lost-session" });
  await lost.wire.waitTicks(handle.jobId, 5);
  await world.drop(lost);
  const fresh = await world.open();
  const again = await fresh.submit("ticker", SLOW, { key: "lost-session" });
  equal(again.jobId, handle.jobId, "job id");
  equal(await resultOf(again), { ticks: COUNT }, "result");
  equal(await fresh.ticks(again), ALL, "ticks in the new session");
}, "ws");

scenario(async function ack_then_resume(world) {
  const session = await world.open();
  const { jobId } = await session.submit("ticker", SLOW);
  await session.wire.waitTicks(jobId, 10);
  await session.client.ack(session.lastSeq() - 4);
  await session.settle();
  await world.drop(session);
  const position = session.lastSeq() - 2;
  const resumed = await world.resume(session, { lastEventSeq: position });
  await resumed.wire.waitJobEnd(jobId);
  const kept = session.wire.stream(jobId).filter((f) => f.event_seq! <= position).map(essence);
  const ticks = [...kept, ...streamOf(jobId, resumed)].length - 1;
  equal(ticks, COUNT, "ticks over both connections");
}, "ws");

scenario(async function auto_ack_then_resume(world) {
  const session = await world.open("alice", { autoAck: { minSeqDelta: 5, intervalMs: 20 } });
  const { jobId } = await session.submit("ticker", SLOW);
  await session.wire.waitTicks(jobId, 15);
  const acks = session.wire.sent.filter((f) => f.type === "session.ack").map((f) => f.payload.last_processed_seq);
  check(acks.length > 0, "the client acknowledged nothing");
  await world.drop(session);
  const resumed = await world.resume(session);
  await resumed.wire.waitJobEnd(jobId);
  equal(ticksOf(jobId, session, resumed), ALL, "ticks over both connections");
}, "ws");
