package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.json;
import static interop.Check.that;
import static interop.Check.upTo;

import dev.arcp.client.JobHandle;
import dev.arcp.core.agents.AgentRef;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.messages.JobSubmit;
import interop.Main.Scenario;
import java.util.List;

/** Submitting the same job twice. */
final class Idempotency {
  private static final String RUNNING = "{'count': 15, 'interval_ms': 20}";

  private Idempotency() {}

  private static JobSubmit ticker(String key) {
    return Session.keyed("ticker", json(RUNNING), key);
  }

  @Scenario
  static void same_key_after_the_end_completes_both(World world) throws Exception {
    Session session = world.open();
    JobSubmit submit = Session.keyed("echo", json("1"), "after-the-end");
    JobHandle first = session.submit(submit);
    equalJson(Session.resultOf(first), "1", "first result");
    JobHandle second = session.submit(submit);
    equal(second.jobId(), first.jobId(), "job id");
    equal(second.accepted().acceptedAt(), first.accepted().acceptedAt(), "accepted_at");
    equalJson(Session.resultOf(second), "1", "second result");
  }

  @Scenario
  static void same_key_while_running_is_one_job(World world) throws Exception {
    Session session = world.open();
    JobHandle first = session.submit(ticker("while-running"));
    session.wire.waitTicks(first.jobId().value(), 3);
    // In one session this client keeps only the newest handle of a job; the wire shows the rest.
    JobHandle second = session.submit(ticker("while-running"));
    equal(second.jobId(), first.jobId(), "job id");
    equalJson(Session.resultOf(second), "{'ticks': 15}", "result");
    equal(session.wire.ticks(first.jobId().value()), upTo(15), "ticks on the wire");
  }

  @Scenario("ws")
  static void same_key_in_a_second_session_while_running(World world) throws Exception {
    Session one = world.open();
    Session two = world.open();
    JobHandle first = one.submit(ticker("second-session"));
    one.wire.waitTicks(first.jobId().value(), 4);
    JobHandle second = two.submit(ticker("second-session"));
    equal(second.jobId(), first.jobId(), "job id");
    for (JobHandle handle : List.of(first, second)) {
      equal(Session.events(handle).ticks(), upTo(15), "ticks");
      equalJson(Session.resultOf(handle), "{'ticks': 15}", "result");
    }
  }

  @Scenario("ws")
  static void same_key_in_a_second_session_after_the_end(World world) throws Exception {
    JobHandle first = world.open().submit(ticker("second-session-late"));
    List<?> seen = Session.events(first).all();
    JobHandle second = world.open().submit(ticker("second-session-late"));
    equal(second.jobId(), first.jobId(), "job id");
    equal(Session.events(second).all(), seen, "events of the second handle");
    equalJson(Session.resultOf(second), "{'ticks': 15}", "second result");
  }

  @Scenario("ws")
  static void same_key_gives_a_second_session_cancel_authority(World world) throws Exception {
    JobSubmit submit = Session.keyed("sleeper", json("{'ms': 20000}"), "authority");
    JobHandle first = world.open().submit(submit);
    JobHandle second = world.open().submit(submit);
    second.cancel();
    Session.failsWith(first, ErrorCode.CANCELLED);
    Session.failsWith(second, ErrorCode.CANCELLED);
  }

  @Scenario
  static void same_key_with_the_resolved_agent_name(World world) throws Exception {
    Session session = world.open();
    JobHandle first = session.submit(Session.keyed("echo", json("[1]"), "resolved-name"));
    Session.resultOf(first);
    JobHandle second = session.submit(Session.keyed("echo@2.0.0", json("[1]"), "resolved-name"));
    equal(second.jobId(), first.jobId(), "job id");
    equalJson(Session.resultOf(second), "[1]", "second result");
  }

  @Scenario
  static void key_conflict_while_running(World world) throws Exception {
    Session session = world.open();
    JobHandle first = session.submit(ticker("conflict-running"));
    session.wire.waitTicks(first.jobId().value(), 3);
    JobSubmit other = Session.keyed("ticker", json("{'count': 16}"), "conflict-running");
    that(!session.refused(ErrorCode.DUPLICATE_KEY, other).retryable(), "retryable");
    equal(Session.events(first).ticks(), upTo(15), "ticks of the first job");
    equalJson(Session.resultOf(first), "{'ticks': 15}", "result of the first job");
  }

  @Scenario
  static void key_conflict_after_the_end(World world) throws Exception {
    Session session = world.open();
    String key = "conflict-ended";
    JobHandle first = session.submit(Session.keyed("echo", json("1"), key));
    Session.resultOf(first);
    session.refused(ErrorCode.DUPLICATE_KEY, Session.keyed("echo", json("2"), key));
    session.refused(ErrorCode.DUPLICATE_KEY, new JobSubmit(AgentRef.parse("echo"), json("1"), null, null, key, 9));
    JobHandle again = session.submit(Session.keyed("echo", json("1"), key));
    equal(again.jobId(), first.jobId(), "job id");
    equalJson(Session.resultOf(again), "1", "result");
  }

  @Scenario("ws")
  static void the_same_key_of_another_principal_is_independent(World world) throws Exception {
    JobHandle hers = world.open().submit(Session.keyed("echo", json("'alice'"), "shared-key"));
    JobHandle his = world.open("bob").submit(Session.keyed("echo", json("'bob'"), "shared-key"));
    that(!hers.jobId().equals(his.jobId()), "two principals share a job");
    equalJson(Session.resultOf(hers), "'alice'", "alice's result");
    equalJson(Session.resultOf(his), "'bob'", "bob's result");
  }

  @Scenario
  static void a_repeated_failure_fails_again(World world) throws Exception {
    Session session = world.open();
    JobSubmit submit = Session.keyed("failer", json("{'code': 'PERMISSION_DENIED', 'message': 'no'}"), "failed-before");
    JobHandle first = session.submit(submit);
    Session.failsWith(first, ErrorCode.PERMISSION_DENIED);
    JobHandle second = session.submit(submit);
    equal(second.jobId(), first.jobId(), "job id");
    equal(Session.failsWith(second, ErrorCode.PERMISSION_DENIED).getMessage(), "no", "message");
  }
}
