// Listing jobs.

import { check, equal, failsWith, resultOf, scenario, type Session, upTo } from "../harness.mjs";
import { isProgress } from "../wire.mjs";

type Filter = NonNullable<Parameters<Session["listJobs"]>[0]>;
type Row = Awaited<ReturnType<Session["listJobs"]>>["jobs"][number];

const MAX_PAGES = 200;

/** All pages of a listing. */
async function rowsOf(session: Session, filter: Filter = {}, limit = 50): Promise<Row[]> {
  const rows: Row[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { jobs, nextCursor } = await session.listJobs(filter, { limit, ...(cursor === undefined ? {} : { cursor }) });
    check(jobs.length <= limit, `a page of ${jobs.length} rows where ${limit} were asked for`);
    rows.push(...jobs);
    if (nextCursor === null) return rows;
    cursor = nextCursor;
  }
  throw new Error(`the listing did not end within ${MAX_PAGES} pages`);
}

async function idsOf(session: Session, filter: Filter = {}): Promise<string[]> {
  return (await rowsOf(session, filter)).map((row) => row.job_id);
}

/** A time of the daemon's clock, later than every earlier job and earlier than every later one. */
async function moment(session: Session): Promise<string> {
  const handle = await session.submit("ticker", { count: 3, interval_ms: 4 });
  await resultOf(handle);
  return session.wire.ofJob(handle.jobId).filter(isProgress)[1]!.payload.ts;
}

scenario(async function list_rows_are_complete(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 3, interval_ms: 1 }, { lease: { "tool.call": ["a"] } });
  await resultOf(handle);
  const row = await session.row(handle.jobId);
  equal([row.agent, row.status, row.lease], ["ticker@1.0.0", "success", { "tool.call": ["a"] }], "row");
  const accepted = session.wire.ofType("job.accepted")[0]!.payload.accepted_at;
  check(Math.abs(Date.parse(row.created_at) - Date.parse(accepted)) < 1000, "created_at");
  equal(row.last_event_seq, session.wire.stream(handle.jobId).length, "last_event_seq, the job's own position");
});

scenario(async function list_shows_only_own_jobs(world) {
  const alice = await world.open();
  const bob = await world.open("bob");
  const hers = await Promise.all(upTo(3).map((i) => alice.submit("echo", i)));
  const his = await bob.submit("echo", "bob");
  for (const handle of [...hers, his]) await resultOf(handle);
  for (const filter of [{}, { agent: "echo" }, { status: ["success", "running"] }]) {
    const listed = await idsOf(bob, filter);
    check(listed.includes(his.jobId), "bob's own job is missing");
    check(!hers.some((h) => listed.includes(h.jobId)), "bob sees alice's jobs");
  }
  const own = await idsOf(alice);
  check(hers.every((h) => own.includes(h.jobId)), "alice misses jobs of her own");
}, "ws");

scenario(async function list_shows_jobs_of_all_own_sessions(world) {
  const first = await world.open();
  const second = await world.open();
  const handle = await first.submit("echo", 1);
  await resultOf(handle);
  check((await idsOf(second)).includes(handle.jobId), "the job of the other session is missing");
}, "ws");

scenario(async function list_filters_by_status(world) {
  const session = await world.open();
  const running = await session.submit("ticker", { count: 2000, interval_ms: 10 });
  await session.wire.waitTicks(running.jobId, 1);
  const success = await session.submit("echo", 1);
  await resultOf(success);
  const failed = await session.submit("failer", {});
  await failsWith("failer", failed.done, "INTERNAL_ERROR");
  const cancelled = await session.submit("sleeper", { ms: 20_000 });
  await session.client.cancelJob(cancelled.jobId);
  await failsWith("sleeper", cancelled.done, "CANCELLED");
  const byStatus = { running, success, error: failed, cancelled };
  const own = Object.values(byStatus).map((h) => h.jobId as string);
  for (const [status, handle] of Object.entries(byStatus)) {
    const rows = await rowsOf(session, { status: [status] });
    check(rows.every((row) => row.status === status), `other statuses under the filter ${status}`);
    equal(rows.map((r) => r.job_id).filter((id) => own.includes(id)), [handle.jobId], `jobs under ${status}`);
  }
  const both = (await idsOf(session, { status: ["success", "error"] })).filter((id) => own.includes(id));
  equal(both.sort(), [success.jobId, failed.jobId].sort(), "jobs under a filter of two statuses");
});

scenario(async function list_filters_by_agent(world) {
  const session = await world.open();
  const refs = ["echo@1.0.0", "echo@2.0.0", "ticker@1.0.0"];
  const handles = await Promise.all(refs.map((ref) => session.submit(ref)));
  for (const handle of handles) await resultOf(handle);
  const own = handles.map((h) => h.jobId as string);
  const echoes = (await idsOf(session, { agent: "echo" })).filter((id) => own.includes(id));
  equal(echoes.sort(), own.slice(0, 2).sort(), "jobs of the agent echo");
  for (const [i, ref] of refs.entries()) {
    const rows = await rowsOf(session, { agent: ref });
    check(rows.every((row) => row.agent === ref), `other agents under the filter ${ref}`);
    equal(rows.map((r) => r.job_id).filter((id) => own.includes(id)), [own[i]], `jobs of ${ref}`);
  }
  equal(await idsOf(session, { agent: "echo@9.9.9" }), [], "jobs of a version that never ran");
});

scenario(async function list_filters_by_creation_time(world) {
  const session = await world.open();
  const earlier = await session.submit("echo", "earlier");
  await resultOf(earlier);
  const between = await moment(session);
  const later = await session.submit("echo", "later");
  await resultOf(later);
  equal(await idsOf(session, { created_after: between }), [later.jobId], "jobs after the moment");
  const before = await idsOf(session, { created_before: between });
  check(before.includes(earlier.jobId) && !before.includes(later.jobId), "jobs before the moment");
  equal(await idsOf(session, { created_after: between, agent: "ticker" }), [], "tickers after the moment");
});

scenario(async function list_pages_show_each_job_once(world) {
  const session = await world.open();
  const start = await moment(session);
  const wanted = await Promise.all(upTo(7).map((i) => session.submit("echo", i)));
  for (const handle of wanted) await resultOf(handle);
  const seen: string[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const options = { limit: 2, ...(cursor === null ? {} : { cursor }) };
    const { jobs, nextCursor } = await session.listJobs({ created_after: start }, options);
    check(jobs.length <= 2, "a page longer than its limit");
    seen.push(...jobs.map((row) => row.job_id));
    cursor = nextCursor;
    if (cursor === null) break;
    if (page < 5) await session.run("echo", "inserted");
  }
  equal(cursor, null, "cursor after the last page");
  equal(seen.length, new Set(seen).size, "rows, each once");
  equal(wanted.filter((h) => !seen.includes(h.jobId)), [], "jobs that no page showed");
});

scenario(async function list_refuses_a_tampered_cursor(world) {
  const session = await world.open();
  for (const i of upTo(3)) await session.run("echo", i);
  const cursor = (await session.listJobs(undefined, { limit: 1 })).nextCursor;
  check(cursor !== null, "no cursor although there are more jobs");
  for (const wrong of ["not-a-cursor", cursor.slice(0, -3)]) {
    await failsWith("listJobs", session.listJobs(undefined, { limit: 1, cursor: wrong }), "INVALID_REQUEST");
  }
  equal((await session.listJobs(undefined, { limit: 1, cursor })).jobs.length, 1, "rows behind the true cursor");
  equal(await session.run("echo", "after"), "after", "echo after a refusal");
});

// The error would end the handles of the session's jobs too; while there are any, the page is empty instead.
scenario(async function a_refused_listing_leaves_a_running_job_alone(world) {
  const session = await world.open();
  const running = await session.submit("ticker", { count: 20, interval_ms: 20 });
  const page = await session.listJobs(undefined, { limit: 1, cursor: "not-a-cursor" });
  equal(page, { jobs: [], nextCursor: null }, "page");
  equal(await resultOf(running), { ticks: 20 }, "result of the running job");
});

scenario(async function list_does_not_subscribe(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 10, interval_ms: 15 });
  for (const _ of upTo(5)) await session.listJobs();
  equal(await resultOf(handle), { ticks: 10 }, "result");
  equal(session.wire.ticks(handle.jobId), upTo(10), "ticks on the wire");
});
