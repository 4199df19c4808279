package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.json;
import static interop.Check.that;
import static interop.Check.upTo;

import dev.arcp.client.JobHandle;
import dev.arcp.core.agents.AgentRef;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.ids.TraceId;
import dev.arcp.core.lease.Lease;
import dev.arcp.core.lease.LeaseConstraints;
import dev.arcp.core.messages.JobSubmit;
import interop.Main.Scenario;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Submitting jobs that run to a good end, and what they may do. */
final class Jobs {
  private static final TraceId TRACE = TraceId.of("4bf92f3577b34da6a3ce929d0e0e4736");
  private static final Lease PATTERNS =
      Lease.builder()
          .allow("tool.call", "zeta", "alpha", "search.*")
          .allow("fs.read", "/project/**", "/data/*")
          .allow("net.fetch", "https://example.test/*")
          .allow("x-vendor.interop.custom", "anything")
          .build();
  private static final List<String> VALUES =
      List.of(
          "'wörld 日本語 🎉 \\u2028 \\u0000 \\\\'", "''", "null", "false", "true", "0", "-1", "9007199254740993",
          "-9223372036854775808", "1.5", "[]", "{}", "[null]",
          "{'n': null, '': {'deep': [[[{'ключ': [1, 2.25, 'x', false]}]]]}}");

  private Jobs() {}

  private static JobSubmit leased(String agent, String input, Lease lease, Instant expiresAt) {
    LeaseConstraints constraints = expiresAt == null ? null : LeaseConstraints.of(expiresAt);
    return new JobSubmit(AgentRef.parse(agent), json(input), lease, constraints, null, null);
  }

  @Scenario
  static void echo_returns_every_kind_of_value(World world) throws Exception {
    Session session = world.open();
    for (String value : VALUES) {
      equalJson(session.run("echo", value), value, "echo");
    }
  }

  @Scenario
  static void bare_agent_name_takes_the_default_version(World world) throws Exception {
    JobHandle handle = world.open().submit("echo", "1");
    equal(handle.resolvedAgent(), "echo@2.0.0", "resolved agent");
    equalJson(Session.resultOf(handle), "1", "result");
  }

  @Scenario
  static void pinned_agent_version_is_honoured(World world) throws Exception {
    Session session = world.open();
    for (String version : List.of("1.0.0", "2.0.0")) {
      JobHandle handle = session.submit("echo@" + version, "1");
      equal(handle.resolvedAgent(), "echo@" + version, "resolved agent");
      equalJson(Session.resultOf(handle), "1", "result");
    }
  }

  @Scenario
  static void trace_id_is_echoed(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.client.submit(Session.job("ticker", json("{'count': 2}")), TRACE);
    Session.resultOf(handle);
    var traces = session.wire.ofJob(handle.jobId().value()).stream().map(f -> f.traceId()).toList();
    that(traces.contains(TRACE) && traces.stream().allMatch(t -> t == null || t.equals(TRACE)), "traces: " + traces);
    equal(session.row(handle.jobId()).traceId(), TRACE, "trace id in the listing");
  }

  @Scenario
  static void ticker_events_arrive_in_order(World world) throws Exception {
    JobHandle handle = world.open().submit("ticker", "{'count': 25, 'interval_ms': 5}");
    equal(Session.events(handle).ticks(), upTo(25), "ticks");
    equalJson(Session.resultOf(handle), "{'ticks': 25}", "result");
  }

  @Scenario
  static void ticker_defaults(World world) throws Exception {
    JobHandle handle = world.open().submit("ticker", "null");
    equal(Session.events(handle).ticks(), upTo(3), "ticks");
    equalJson(Session.resultOf(handle), "{'ticks': 3}", "result");
  }

  @Scenario
  static void twenty_concurrent_submits(World world) throws Exception {
    Session session = world.open();
    List<CompletableFuture<JobHandle>> handles =
        upTo(20).stream().map(i -> session.client.submitAsync(Session.job("echo", json("" + i)))).toList();
    for (int i : upTo(20)) {
      equalJson(Session.resultOf(Session.await("submit", handles.get(i - 1))), "" + i, "result");
    }
  }

  @Scenario
  static void concurrent_streams_do_not_mix(World world) throws Exception {
    Session session = world.open();
    List<Events> streams =
        upTo(10).stream()
            .map(i -> Session.events(session.submit("ticker", "{'count': %d, 'interval_ms': 3}".formatted(10 + i))))
            .toList();
    for (int i : upTo(10)) {
      equal(streams.get(i - 1).ticks(), upTo(10 + i), "ticks");
    }
  }

  @Scenario
  static void fast_ticker_of_2000_events(World world) throws Exception {
    JobHandle handle = world.open().submit("ticker", "{'count': 2000, 'interval_ms': 0, 'size': 100}");
    equal(Session.events(handle).ticks(), upTo(2000), "ticks");
    equalJson(Session.resultOf(handle), "{'ticks': 2000}", "result");
  }

  @Scenario
  static void lease_is_echoed_verbatim(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit(leased("echo", "1", PATTERNS, null));
    equal(handle.accepted().lease(), PATTERNS, "lease of job.accepted");
    Session.resultOf(handle);
    equal(session.row(handle.jobId()).lease(), PATTERNS, "lease in the listing");
  }

  @Scenario
  static void no_lease_is_an_empty_lease(World world) throws Exception {
    JobHandle handle = world.open().submit("echo", "1");
    equal(handle.accepted().lease(), Lease.empty(), "lease");
    equalJson(Session.resultOf(handle), "1", "result");
  }

  @Scenario
  static void expiry_in_the_future_is_accepted(World world) throws Exception {
    Instant wanted = Instant.now().plusSeconds(300).truncatedTo(ChronoUnit.MILLIS);
    JobHandle handle = world.open().submit(leased("echo", "1", null, wanted));
    equal(handle.accepted().leaseConstraints().expiresAt(), wanted, "expires_at");
    equalJson(Session.resultOf(handle), "1", "result");
  }

  @Scenario
  static void expiry_in_the_past_is_refused(World world) throws Exception {
    Session session = world.open();
    session.refused(ErrorCode.INVALID_REQUEST, leased("echo", "1", null, Instant.parse("2020-01-01T00:00:00Z")));
    equalJson(session.run("echo", "'after'"), "'after'", "echo after a refusal");
  }

  @Scenario
  static void lease_that_expires_ends_the_job(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit(leased("sleeper", "{'ms': 20000}", null, Instant.now().plusSeconds(1)));
    that(!Session.failsWith(handle, ErrorCode.LEASE_EXPIRED).retryable(), "retryable");
    equal(session.row(handle.jobId()).status(), "error", "status in the listing");
  }
}
