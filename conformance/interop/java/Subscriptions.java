package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.that;
import static interop.Check.upTo;

import dev.arcp.client.JobHandle;
import dev.arcp.client.SubscribeOptions;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.ids.JobId;
import interop.Main.Scenario;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;

/** Watching a job from another session of its principal. */
final class Subscriptions {
  private static final int COUNT = 25;
  private static final String SLOW = "{'count': 25, 'interval_ms': 20}";
  private static final List<Integer> ALL = upTo(COUNT);
  private static final JobId UNKNOWN = JobId.of("job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E");

  private Subscriptions() {}

  private static List<String> stream(Session session, JobHandle handle) {
    return session.wire.stream(handle.jobId().value()).stream().map(Wire::essence).toList();
  }

  /** The publisher must end with this error. */
  private static void failed(Events events, ErrorCode... codes) throws Exception {
    try {
      Session.await("the end of the publisher", events.end());
      throw new AssertionError("the publisher ended without an error");
    } catch (ExecutionException e) {
      Check.isError("subscribe", e.getCause(), codes);
    }
  }

  @Scenario("ws")
  static void subscribe_with_history_to_a_running_job(World world) throws Exception {
    Session submitter = world.open();
    Session watcher = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    submitter.wire.waitTicks(handle.jobId().value(), 5);
    equal(watcher.watch(handle.jobId()).ticks(), ALL, "ticks of the subscription");
    Session.resultOf(handle);
    equal(stream(watcher, handle), stream(submitter, handle), "the two sessions' streams");
  }

  @Scenario("ws")
  static void subscribe_to_a_finished_job(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    List<?> seen = Session.events(handle).all();
    Session watcher = world.open();
    equal(watcher.watch(handle.jobId()).all(), seen, "events of the subscription");
    equal(stream(watcher, handle), stream(submitter, handle), "the two sessions' streams");
    var subscribed = watcher.wire.ofType("job.subscribed").get(0).payload();
    equal(subscribed.get("current_status").asText(), "success", "current_status");
  }

  @Scenario("ws")
  static void subscribe_to_a_finished_job_without_history(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    Session.resultOf(handle);
    Session watcher = world.open();
    equal(watcher.watch(handle.jobId(), SubscribeOptions.live()).all(), List.of(), "events of the subscription");
    equal(stream(watcher, handle), stream(submitter, handle).subList(COUNT, COUNT + 1), "the end alone");
  }

  @Scenario("ws")
  static void subscribe_to_a_failed_job(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle =
        submitter.submit("failer", "{'code': 'PERMISSION_DENIED', 'message': 'no', 'after_events': 2}");
    Session.failsWith(handle, ErrorCode.PERMISSION_DENIED);
    Session watcher = world.open();
    Events watched = watcher.watch(handle.jobId());
    failed(watched, ErrorCode.PERMISSION_DENIED);
    equal(stream(watcher, handle), stream(submitter, handle), "the two sessions' streams");
  }

  @Scenario("ws")
  static void subscribe_from_a_position(World world) throws Exception {
    Session submitter = world.open();
    Session.resultOf(submitter.submit("ticker", "{'count': 4, 'interval_ms': 1}"));
    JobHandle handle = submitter.submit("ticker", SLOW);
    submitter.wire.waitTicks(handle.jobId().value(), 8);
    Session watcher = world.open();
    watcher.watch(handle.jobId(), SubscribeOptions.withHistory(5)).all();
    Session.resultOf(handle);
    equal(stream(watcher, handle), stream(submitter, handle).subList(5, COUNT + 1), "what follows the position");
  }

  @Scenario("ws")
  static void subscribe_from_a_position_of_a_finished_job(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle = submitter.submit("ticker", "{'count': 9, 'interval_ms': 1}");
    Session.resultOf(handle);
    Session watcher = world.open();
    equal(watcher.watch(handle.jobId(), SubscribeOptions.withHistory(7)).ticks(), List.of(8, 9), "ticks");
    equal(stream(watcher, handle), stream(submitter, handle).subList(7, 10), "what follows the position");
  }

  @Scenario("ws")
  static void subscribe_without_history_is_live_only(World world) throws Exception {
    Session submitter = world.open();
    Session watcher = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    submitter.wire.waitTicks(handle.jobId().value(), 6);
    watcher.watch(handle.jobId(), SubscribeOptions.live()).all();
    Session.resultOf(handle);
    int from = watcher.wire.ofType("job.subscribed").get(0).payload().get("subscribed_from").asInt();
    that(from >= 6, "subscribed_from " + from + " after six events");
    equal(stream(watcher, handle), stream(submitter, handle).subList(from, COUNT + 1), "what follows it");
  }

  @Scenario
  static void subscribe_to_an_own_job_doubles_nothing(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", SLOW);
    Events own = Session.events(handle);
    session.wire.waitTicks(handle.jobId().value(), 3);
    session.watch(handle.jobId(), SubscribeOptions.live()).all();
    equal(own.ticks(), ALL, "ticks of the handle");
    equalJson(Session.resultOf(handle), "{'ticks': 25}", "result");
    equal(session.wire.ticks(handle.jobId().value()), ALL, "ticks on the wire");
  }

  @Scenario("ws")
  static void several_watchers_see_the_same(World world) throws Exception {
    Session submitter = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    List<Session> watchers = new ArrayList<>();
    List<Events> streams = new ArrayList<>();
    for (int ticks : List.of(1, 4, 9)) {
      submitter.wire.waitTicks(handle.jobId().value(), ticks);
      watchers.add(world.open());
      streams.add(watchers.get(watchers.size() - 1).watch(handle.jobId()));
    }
    Session.resultOf(handle);
    for (int i = 0; i < watchers.size(); i++) {
      equal(streams.get(i).ticks(), ALL, "a watcher's ticks");
      equal(stream(watchers.get(i), handle), stream(submitter, handle), "a watcher's stream");
    }
  }

  @Scenario("ws")
  static void a_watcher_may_watch_and_work(World world) throws Exception {
    JobHandle handle = world.open().submit("ticker", SLOW);
    Session watcher = world.open();
    Events watched = watcher.watch(handle.jobId());
    JobHandle own = watcher.submit("ticker", "{'count': 30, 'interval_ms': 7}");
    equal(Session.events(own).ticks(), upTo(30), "ticks of the own job");
    equal(watched.ticks(), ALL, "ticks of the subscription");
  }

  @Scenario("ws")
  static void unsubscribe_stops_the_events(World world) throws Exception {
    Session submitter = world.open();
    Session watcher = world.open();
    JobHandle handle = submitter.submit("ticker", SLOW);
    Events watched = watcher.watch(handle.jobId());
    watcher.wire.waitTicks(handle.jobId().value(), 3);
    watcher.client.unsubscribe(handle.jobId());
    Session.await("the end of the publisher", watched.end());
    watcher.settle();
    watcher.settle(); // A frame that was on its way during the first round trip has arrived now.
    int seen = watcher.wire.ofJob(handle.jobId().value()).size();
    equal(Session.events(handle).ticks(), ALL, "the submitter's ticks");
    watcher.settle();
    equal(watcher.wire.ofJob(handle.jobId().value()).size(), seen, "the job's frames at the watcher");
  }

  @Scenario("ws")
  static void subscribe_again_after_unsubscribe(World world) throws Exception {
    JobHandle handle = world.open().submit("ticker", SLOW);
    Session watcher = world.open();
    watcher.watch(handle.jobId(), SubscribeOptions.live());
    watcher.wire.waitTicks(handle.jobId().value(), 2);
    watcher.client.unsubscribe(handle.jobId());
    watcher.settle();
    equal(watcher.watch(handle.jobId()).ticks(), ALL, "ticks of the second subscription");
  }

  @Scenario("ws")
  static void foreign_job_cannot_be_watched(World world) throws Exception {
    Session alice = world.open();
    Session bob = world.open("bob");
    JobHandle handle = alice.submit("ticker", SLOW);
    JobHandle his = bob.submit("ticker", SLOW);
    failed(bob.watch(handle.jobId()), ErrorCode.JOB_NOT_FOUND, ErrorCode.PERMISSION_DENIED);
    equalJson(Session.resultOf(handle), "{'ticks': 25}", "alice's result");
    equalJson(Session.resultOf(his), "{'ticks': 25}", "bob's result");
    equal(bob.wire.received(f -> Wire.isOf(f, handle.jobId().value()) && Wire.isProgress(f)), List.of(), "leaked events");
  }

  @Scenario
  static void unknown_job_cannot_be_watched(World world) throws Exception {
    Session session = world.open();
    JobHandle running = session.submit("ticker", SLOW);
    Events watched = session.watch(UNKNOWN);
    equalJson(session.run("echo", "'beside it'"), "'beside it'", "a submit beside it");
    failed(watched, ErrorCode.JOB_NOT_FOUND);
    equalJson(Session.resultOf(running), "{'ticks': 25}", "result of the running job");
  }
}
