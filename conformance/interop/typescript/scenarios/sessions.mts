// Sessions: opening, idling, acknowledging, ending.

import { check, equal, failsWith, HEARTBEAT_SEC, OFFERED, RESUME_SEC, resultOf, scenario, upTo, within } from "../harness.mjs";

const DEMO_AGENTS = ["chunker", "echo", "failer", "sleeper", "spender", "ticker"];

scenario(async function handshake_welcome_is_complete(world) {
  const session = await world.open();
  const { welcome } = session;
  equal(session.wire.received[0]!.type, "session.welcome", "first frame");
  check(session.id !== "" && welcome.resume_token !== "", "empty field in the welcome");
  check(welcome.runtime.name !== "" && welcome.runtime.version !== "", "the runtime does not name itself");
  equal(welcome.resume_window_sec, RESUME_SEC, "resume_window_sec");
  equal(welcome.heartbeat_interval_sec, HEARTBEAT_SEC, "heartbeat_interval_sec");
  check(welcome.capabilities.encodings?.includes("json"), "encodings without json");
});

scenario(async function handshake_negotiates_what_both_sides_can(world) {
  const session = await world.open();
  equal([...session.client.negotiatedFeatures].sort(), OFFERED, "negotiated features");
});

scenario(async function handshake_features_are_the_intersection(world) {
  const session = await world.open("alice", { features: ["list_jobs", "subscribe", "x-interop.unknown"] });
  equal([...(session.welcome.capabilities.features ?? [])].sort(), ["list_jobs", "subscribe"], "features");
  equal(await session.run("echo", "still works"), "still works", "echo");
});

scenario(async function handshake_lists_the_agents(world) {
  const session = await world.open();
  const agents = (session.welcome.capabilities.agents ?? []).filter((a) => typeof a !== "string");
  equal(agents.map((a) => a.name).sort(), DEMO_AGENTS, "agents");
  const echo = agents.find((a) => a.name === "echo")!;
  equal([[...echo.versions].sort(), echo.default], [["1.0.0", "2.0.0"], "2.0.0"], "versions and default of echo");
});

scenario(async function bad_token_is_refused_and_the_connection_closed(world) {
  await failsWith("connect", world.open("alice", { token: "nope" }), "UNAUTHENTICATED");
  const { wire } = world.newest();
  await wire.waitEnd();
  equal(wire.received.map((f) => f.type), ["session.error"], "frames of a refused handshake");
});

scenario(async function sessions_of_one_principal_are_separate(world) {
  const first = await world.open();
  const second = await world.open();
  check(first.id !== second.id, "two sessions with one id");
  check(first.welcome.resume_token !== second.welcome.resume_token, "two sessions with one token");
  const handle = await first.submit("ticker", { count: 3, interval_ms: 5 });
  equal(await second.run("echo", 2), 2, "echo in the second session");
  await first.wire.waitJobEnd(handle.jobId);
  await second.settle();
  equal(second.wire.ofJob(handle.jobId), [], "frames of another session's job");
}, "ws");

scenario(async function idle_session_is_pinged_and_stays_alive(world) {
  const session = await world.open();
  const pings = await session.wire.waitFor("pings", (f) => f.type === "session.ping", 3, HEARTBEAT_SEC * 5000);
  equal(new Set(pings.map((f) => f.payload.nonce)).size, 3, "distinct nonces");
  equal(await session.run("echo", "alive"), "alive", "echo after three idle intervals");
  const pongs = session.wire.sent.filter((f) => f.type === "session.pong").map((f) => f.payload.ping_nonce);
  equal(pongs, session.wire.ofType("session.ping").map((f) => f.payload.nonce), "answered pings");
});

scenario(async function session_without_heartbeat_is_left_alone(world) {
  const quiet = await world.open("alice", { features: OFFERED.filter((f) => f !== "heartbeat") });
  const clock = await world.open();
  await clock.wire.waitFor("pings", (f) => f.type === "session.ping", 3, HEARTBEAT_SEC * 5000);
  equal(quiet.wire.ofType("session.ping"), [], "pings");
  equal(await quiet.run("echo", "alive"), "alive", "echo after three idle intervals");
}, "ws");

scenario(async function a_long_job_outlives_several_heartbeats(world) {
  const session = await world.open();
  const ms = HEARTBEAT_SEC * 2000 + 300;
  equal(await session.run("sleeper", { ms }), { slept_ms: ms }, "result");
});

scenario(async function ack_changes_nothing_in_the_stream(world) {
  const session = await world.open();
  const handle = await session.submit("ticker", { count: 15, interval_ms: 5 });
  for (const count of upTo(10)) {
    await session.wire.waitTicks(handle.jobId, count);
    await session.client.ack(session.lastSeq());
  }
  await session.client.ack(1);
  equal(await session.ticks(handle), upTo(15), "ticks");
  equal(session.wire.ofType("session.error"), [], "session.error frames");
});

scenario(async function process_ends_with_its_session(world) {
  const session = await world.open();
  equal(await session.run("echo", 1), 1, "echo");
  const child = session.link.process!;
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await session.client.close();
  child.stdin!.end(); // This client leaves the pipe open.
  equal(await within("the end of the process", ended), 0, "exit status");
}, "stdio");

scenario(async function refused_process_ends(world) {
  const opening = world.open("alice", { token: "nope" });
  await failsWith("connect", opening, "UNAUTHENTICATED");
  const child = world.newest().link.process!;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  if (child.exitCode === null) await within("the end of the process", ended);
}, "stdio");

scenario(async function many_sessions_at_once(world) {
  const one = async (i: number): Promise<void> => {
    const session = await world.open(i % 2 === 1 ? "alice" : "bob");
    equal(await session.run("echo", i), i, "echo");
    const handle = await session.submit("ticker", { count: 10, interval_ms: 2 });
    equal(await session.ticks(handle), upTo(10), "ticks");
    equal(await resultOf(handle), { ticks: 10 }, "result");
  };
  await Promise.all(upTo(30).map(one));
}, "ws");
