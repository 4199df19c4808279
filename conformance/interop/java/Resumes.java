package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.json;
import static interop.Check.that;
import static interop.Check.upTo;

import dev.arcp.client.JobHandle;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.wire.Envelope;
import interop.Main.Scenario;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Connections that break and sessions that do not. A client that resumes has no handles for the jobs of before, so
 * these scenarios watch the wire.
 */
final class Resumes {
  private static final int COUNT = 40;
  private static final String SLOW = "{'count': 40, 'interval_ms': 20}";

  private Resumes() {}

  private static void checkWelcome(Session before, Session after) {
    equal(after.wire.received().get(0).type(), "session.welcome", "first frame");
    equal(after.id(), before.id(), "session id");
    that(!after.resumeToken().equals(before.resumeToken()), "the resume token did not change");
    equal(after.client.session().negotiatedFeatures(), Sessions.OFFERED, "features after the resume");
  }

  private static List<Integer> ticks(String job, Session... sessions) {
    return Arrays.stream(sessions).flatMap(s -> s.wire.ticks(job).stream()).toList();
  }

  private static List<String> stream(String job, Session... sessions) {
    return Arrays.stream(sessions).flatMap(s -> s.wire.stream(job).stream()).map(Wire::essence).toList();
  }

  /** A second session that tells how far the job is while the first is away. */
  private static Session watch(World world, JobHandle handle) throws Exception {
    Session watcher = world.open();
    watcher.watch(handle.jobId());
    return watcher;
  }

  @Scenario("ws")
  static void resume_in_the_middle_of_a_stream(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", SLOW);
    String job = handle.jobId().value();
    Session watcher = watch(world, handle);
    List<Integer> ticks = new ArrayList<>();
    for (int progress : List.of(5, 15, 25)) {
      watcher.wire.waitTicks(job, progress);
      session.wire.waitTicks(job, 2);
      world.drop(session);
      ticks.addAll(session.wire.ticks(job));
      watcher.wire.waitTicks(job, progress + 4);
      Session resumed = world.resume(session);
      checkWelcome(session, resumed);
      session = resumed;
    }
    Envelope end = session.wire.waitJobEnd(job);
    ticks.addAll(session.wire.ticks(job));
    equal(ticks, upTo(COUNT), "ticks over all connections");
    equalJson(end.payload().get("result"), "{'ticks': 40}", "result");
    equalJson(session.run("echo", "'next'"), "'next'", "a new job after the resume");
  }

  @Scenario("ws")
  static void resume_after_the_job_has_ended(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", "{'count': 15, 'interval_ms': 10}");
    String job = handle.jobId().value();
    Session watcher = watch(world, handle);
    session.wire.waitTicks(job, 3);
    world.drop(session);
    watcher.wire.waitJobEnd(job);
    Session resumed = world.resume(session);
    resumed.wire.waitJobEnd(job);
    equal(stream(job, session, resumed), stream(job, watcher), "stream over both connections");
  }

  @Scenario("ws")
  static void resume_when_caught_up(World world) throws Exception {
    Session session = world.open();
    session.run("ticker", "{'count': 3, 'interval_ms': 1}");
    world.drop(session);
    Session resumed = world.resume(session);
    checkWelcome(session, resumed);
    equalJson(resumed.run("echo", "'next'"), "'next'", "echo");
    equal(resumed.wire.received(f -> f.eventSeq() != null).get(0).eventSeq(), session.lastSeq() + 1, "first number");
  }

  /** This client resumes from -1 if it has seen nothing. */
  @Scenario("ws")
  static void resume_of_a_session_without_jobs(World world) throws Exception {
    Session session = world.open();
    equal(session.lastSeq(), -1L, "position of an unused session");
    world.drop(session);
    Session resumed = world.resume(session);
    checkWelcome(session, resumed);
    equalJson(resumed.run("echo", "'first'"), "'first'", "echo");
  }

  @Scenario("ws")
  static void resume_from_an_earlier_position(World world) throws Exception {
    Session session = world.open("alice", b -> b.autoAck(false));
    JobHandle handle = session.submit("ticker", "{'count': 10, 'interval_ms': 1}");
    String job = handle.jobId().value();
    Session.resultOf(handle);
    world.drop(session);
    Session resumed = world.resume(session, "alice", session.resumeToken(), 4);
    resumed.wire.waitJobEnd(job);
    equal(stream(job, resumed), stream(job, session).subList(4, 11), "replay");
  }

  @Scenario("ws")
  static void resume_with_several_jobs(World world) throws Exception {
    Session session = world.open();
    List<String> jobs = new ArrayList<>();
    for (int i : upTo(4)) {
      jobs.add(session.submit("ticker", "{'count': 20, 'interval_ms': %d}".formatted(11 + i)).jobId().value());
    }
    session.wire.waitTicks(jobs.get(0), 5);
    world.drop(session);
    Session resumed = world.resume(session);
    for (String job : jobs) {
      resumed.wire.waitJobEnd(job);
      equal(ticks(job, session, resumed), upTo(20), "ticks over both connections");
    }
  }

  @Scenario("ws")
  static void watch_after_resume(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", SLOW);
    session.wire.waitTicks(handle.jobId().value(), 5);
    world.drop(session);
    Session resumed = world.resume(session);
    List<Integer> seen = resumed.watch(handle.jobId()).ticks();
    equal(seen.subList(seen.size() - COUNT, seen.size()), upTo(COUNT), "ticks of the subscription");
  }

  @Scenario("ws")
  static void stale_resume_token_is_refused(World world) throws Exception {
    Session session = world.open();
    session.run("echo", "1");
    world.drop(session);
    Session resumed = world.resume(session);
    equalJson(resumed.run("echo", "2"), "2", "echo after the resume");
    world.drop(resumed);
    Check.failsWith(
        "resume with a stale token",
        () -> world.resume(resumed, "alice", session.resumeToken(), resumed.lastSeq()),
        ErrorCode.RESUME_WINDOW_EXPIRED);
    Session again = world.resume(resumed);
    checkWelcome(resumed, again);
    equalJson(again.run("echo", "3"), "3", "echo after the second resume");
  }

  @Scenario("ws")
  static void invented_resume_token_is_refused(World world) throws Exception {
    Session session = world.open();
    world.drop(session);
    Check.failsWith(
        "resume with an invented token",
        () -> world.resume(session, "alice", "rt_0123456789abcdef0123456789abcdef", -1),
        ErrorCode.RESUME_WINDOW_EXPIRED);
    checkWelcome(session, world.resume(session));
  }

  @Scenario("ws")
  static void another_principal_cannot_resume(World world) throws Exception {
    Session session = world.open();
    String job = session.submit("ticker", "{'count': 20, 'interval_ms': 15}").jobId().value();
    session.wire.waitTicks(job, 3);
    world.drop(session);
    Check.failsWith(
        "resume as bob",
        () -> world.resume(session, "bob", session.resumeToken(), session.lastSeq()),
        ErrorCode.RESUME_WINDOW_EXPIRED,
        ErrorCode.PERMISSION_DENIED);
    equal(world.newest().wire.received().stream().map(Envelope::type).toList(), List.of("job.error"), "frames for bob");
    Session resumed = world.resume(session);
    resumed.wire.waitJobEnd(job);
    equal(ticks(job, session, resumed), upTo(20), "ticks over both connections");
  }

  @Scenario("ws")
  static void subscriptions_survive_resume(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    String job = handle.jobId().value();
    Session watcher = watch(world, handle);
    watcher.wire.waitTicks(job, 6);
    world.drop(watcher);
    submitter.wire.waitTicks(job, 12);
    Session resumed = world.resume(watcher);
    resumed.wire.waitJobEnd(job);
    Session.resultOf(handle);
    equal(stream(job, watcher, resumed), stream(job, submitter), "stream over both connections");
  }

  @Scenario("ws")
  static void unsubscribe_after_resume(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    String job = handle.jobId().value();
    Session watcher = watch(world, handle);
    watcher.wire.waitTicks(job, 3);
    world.drop(watcher);
    Session resumed = world.resume(watcher);
    resumed.client.unsubscribe(handle.jobId());
    resumed.settle();
    resumed.settle();
    int seen = resumed.wire.ofJob(job).size();
    Session.resultOf(handle);
    resumed.settle();
    equal(resumed.wire.ofJob(job).size(), seen, "the job's frames at the watcher");
  }

  @Scenario("ws")
  static void close_leaves_the_job_running(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", "{'count': 20, 'interval_ms': 15}");
    String job = handle.jobId().value();
    Session watcher = watch(world, handle);
    session.wire.waitTicks(job, 3);
    session.client.close();
    List<Envelope> sent = session.wire.sent();
    equal(sent.get(sent.size() - 1).type(), "session.close", "last frame of the client");
    watcher.wire.waitJobEnd(job);
    Session resumed = world.resume(session);
    checkWelcome(session, resumed);
    Envelope end = resumed.wire.waitJobEnd(job);
    equalJson(end.payload().get("result"), "{'ticks': 20}", "result");
    equal(ticks(job, session, resumed), upTo(20), "ticks over both connections");
  }

  @Scenario("ws")
  static void idempotent_submit_after_a_lost_session(World world) throws Exception {
    Session lost = world.open();
    JobHandle handle = lost.submit(Session.keyed("ticker", json(SLOW), "lost-session"));
    lost.wire.waitTicks(handle.jobId().value(), 5);
    world.drop(lost);
    JobHandle again = world.open().submit(Session.keyed("ticker", json(SLOW), "lost-session"));
    equal(again.jobId(), handle.jobId(), "job id");
    equal(Session.events(again).ticks(), upTo(COUNT), "ticks in the new session");
    equalJson(Session.resultOf(again), "{'ticks': 40}", "result");
  }

  @Scenario("ws")
  static void ack_then_resume(World world) throws Exception {
    Session session = world.open("alice", b -> b.autoAck(false));
    String job = session.submit("ticker", SLOW).jobId().value();
    session.wire.waitTicks(job, 10);
    session.client.ack(session.lastSeq() - 4);
    session.settle();
    world.drop(session);
    long position = session.lastSeq() - 2;
    Session resumed = world.resume(session, "alice", session.resumeToken(), position);
    resumed.wire.waitJobEnd(job);
    List<Integer> ticks = new ArrayList<>(ticks(job, session).subList(0, (int) position));
    ticks.addAll(ticks(job, resumed));
    equal(ticks, upTo(COUNT), "ticks over both connections");
  }

  @Scenario("ws")
  static void auto_ack_then_resume(World world) throws Exception {
    Session session = world.open("alice", b -> b.ackInterval(Duration.ofMillis(20)));
    String job = session.submit("ticker", SLOW).jobId().value();
    session.wire.waitTicks(job, 15);
    that(session.wire.sent().stream().anyMatch(f -> Wire.is(f, "session.ack")), "the client acknowledged nothing");
    world.drop(session);
    Session resumed = world.resume(session);
    resumed.wire.waitJobEnd(job);
    equal(ticks(job, session, resumed), upTo(COUNT), "ticks over both connections");
  }
}
