package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.json;
import static interop.Check.that;
import static interop.Check.upTo;

import com.fasterxml.jackson.databind.node.NullNode;
import dev.arcp.client.JobHandle;
import dev.arcp.core.agents.AgentRef;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.events.LogEvent;
import dev.arcp.core.messages.JobSubmit;
import dev.arcp.core.wire.Envelope;
import interop.Main.Scenario;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Jobs that are refused, fail or are cancelled: told to the one who asked, and to nobody else. */
final class Refusals {
  private static final JobSubmit NO_AGENT = Session.job("no-such-agent", NullNode.instance);
  private static final JobSubmit NO_VERSION = Session.job("echo@9.9.9", NullNode.instance);

  private Refusals() {}

  private static JobSubmit limited(String input, int sec) {
    return new JobSubmit(AgentRef.parse("sleeper"), json(input), null, null, null, sec);
  }

  @Scenario
  static void unknown_agent_is_refused(World world) throws Exception {
    Session session = world.open();
    that(!session.refused(ErrorCode.AGENT_NOT_AVAILABLE, NO_AGENT).retryable(), "retryable");
    equalJson(session.run("echo", "'after'"), "'after'", "echo after a refusal");
  }

  @Scenario
  static void unknown_agent_version_is_refused(World world) throws Exception {
    Session session = world.open();
    session.refused(ErrorCode.AGENT_VERSION_NOT_AVAILABLE, NO_VERSION);
    equalJson(session.run("echo", "'after'"), "'after'", "echo after a refusal");
  }

  @Scenario
  static void a_refusal_leaves_a_running_job_alone(World world) throws Exception {
    Session session = world.open();
    JobHandle running = session.submit("ticker", "{'count': 20, 'interval_ms': 15}");
    session.wire.waitTicks(running.jobId().value(), 2);
    session.refused(ErrorCode.AGENT_NOT_AVAILABLE, NO_AGENT);
    equal(Session.events(running).ticks(), upTo(20), "ticks of the running job");
    equalJson(Session.resultOf(running), "{'ticks': 20}", "result of the running job");
  }

  @Scenario
  static void refusals_among_concurrent_submits(World world) throws Exception {
    Session session = world.open();
    JobHandle running = session.submit("ticker", "{'count': 10, 'interval_ms': 20}");
    List<CompletableFuture<JobHandle>> handles =
        upTo(30).stream()
            .map(i -> i % 3 != 2 ? Session.job("echo", json("" + i)) : i % 2 == 1 ? NO_AGENT : NO_VERSION)
            .map(session.client::submitAsync)
            .toList();
    for (int i : upTo(30)) {
      try {
        equalJson(Session.resultOf(Session.await("submit " + i, handles.get(i - 1))), "" + i, "echo");
        that(i % 3 != 2, "submit " + i + " was accepted");
      } catch (ExecutionException e) {
        Check.isError("submit " + i, e.getCause(), i % 2 == 1 ? ErrorCode.AGENT_NOT_AVAILABLE : ErrorCode.AGENT_VERSION_NOT_AVAILABLE);
        that(i % 3 == 2, "submit " + i + " was refused");
      }
    }
    equal(Session.events(running).ticks(), upTo(10), "ticks of the running job");
  }

  @Scenario
  static void a_refused_submit_is_a_job_error_with_its_id_and_no_job(World world) throws Exception {
    Session session = world.open();
    session.refused(ErrorCode.AGENT_NOT_AVAILABLE, NO_AGENT);
    session.settle();
    List<String> types = session.wire.received(f -> !Wire.is(f, "session.ping")).stream().map(Envelope::type).toList();
    equal(types, List.of("session.welcome", "job.error", "session.jobs"), "frames");
    Envelope error = session.wire.ofType("job.error").get(0);
    equal(error.id(), session.wire.sent().get(1).id(), "id of the refusal");
    that(error.jobId() == null && error.eventSeq() == null, "neither a job_id nor a number are due");
  }

  @Scenario
  static void failer_reports_code_message_and_events(World world) throws Exception {
    Session session = world.open();
    String message = "not ünder my wätch";
    JobHandle handle =
        session.submit("failer", "{'code': 'PERMISSION_DENIED', 'message': '" + message + "', 'after_events': 3}");
    Events events = Session.events(handle);
    equal(Session.failsWith(handle, ErrorCode.PERMISSION_DENIED).getMessage(), message, "message");
    equal(events.all().stream().filter(LogEvent.class::isInstance).count(), 3L, "log events before the failure");
  }

  @Scenario
  static void failer_defaults_to_internal_error(World world) throws Exception {
    JobHandle handle = world.open().submit("failer", "{}");
    that(Session.failsWith(handle, ErrorCode.INTERNAL_ERROR).retryable(), "not retryable");
  }

  @Scenario
  static void max_runtime_ends_a_job_as_timed_out(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit(limited("{'ms': 20000}", 1));
    Session.failsWith(handle, ErrorCode.TIMEOUT);
    equal(session.row(handle.jobId()).status(), "timed_out", "status in the listing");
  }

  @Scenario
  static void max_runtime_that_is_kept_does_nothing(World world) throws Exception {
    JobHandle handle = world.open().submit(limited("{'ms': 20}", 30));
    equalJson(Session.resultOf(handle), "{'slept_ms': 20}", "result");
  }

  @Scenario
  static void cancel_ends_a_running_job(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("sleeper", "{'ms': 20000}");
    handle.cancel();
    Session.failsWith(handle, ErrorCode.CANCELLED);
    List<String> types =
        session.wire.ofJob(handle.jobId().value()).stream()
            .map(Envelope::type)
            .filter(t -> !t.equals("job.event"))
            .toList();
    equal(types, List.of("job.accepted", "job.cancelled", "job.error"), "frames of the cancelled job");
  }

  @Scenario
  static void cancel_in_the_middle_of_a_stream(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", "{'count': 2000, 'interval_ms': 10}");
    Events events = Session.events(handle);
    session.wire.waitTicks(handle.jobId().value(), 5);
    handle.cancel();
    Session.failsWith(handle, ErrorCode.CANCELLED);
    List<Integer> ticks = events.ticks();
    equal(ticks, upTo(ticks.size()), "ticks before the cancel");
    that(ticks.size() < 1000, "the ticker went on after the cancel");
    equal(session.row(handle.jobId()).status(), "cancelled", "status in the listing");
  }

  @Scenario
  static void cancel_touches_only_its_job(World world) throws Exception {
    Session session = world.open();
    JobHandle doomed = session.submit("sleeper", "{'ms': 20000}");
    JobHandle other = session.submit("ticker", "{'count': 10, 'interval_ms': 15}");
    doomed.cancel();
    Session.failsWith(doomed, ErrorCode.CANCELLED);
    equal(Session.events(other).ticks(), upTo(10), "ticks of the other job");
    equalJson(Session.resultOf(other), "{'ticks': 10}", "result of the other job");
  }

  @Scenario
  static void cancel_of_a_finished_job_disturbs_nothing(World world) throws Exception {
    Session session = world.open();
    JobHandle finished = session.submit("echo", "1");
    Session.resultOf(finished);
    JobHandle running = session.submit("ticker", "{'count': 10, 'interval_ms': 20}");
    session.wire.waitTicks(running.jobId().value(), 2);
    finished.cancel();
    equalJson(session.run("echo", "'next'"), "'next'", "a submit right behind it");
    equal(Session.events(running).ticks(), upTo(10), "ticks of the running job");
    equal(session.row(finished.jobId()).status(), "success", "status of the finished job");
  }
}
