package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.that;
import static interop.Check.upTo;

import com.fasterxml.jackson.databind.JsonNode;
import dev.arcp.client.JobHandle;
import dev.arcp.core.capabilities.AgentDescriptor;
import dev.arcp.core.capabilities.Feature;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.wire.Envelope;
import interop.Main.Scenario;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Sessions: opening, idling, acknowledging, ending. */
final class Sessions {
  static final int HEARTBEAT_SEC = Integer.parseInt(World.variable("ARCPD_HEARTBEAT_SEC"));
  /** What the daemon offers of the features that this client knows. */
  static final Set<Feature> OFFERED =
      EnumSet.complementOf(
          EnumSet.of(Feature.COST_BUDGET, Feature.MODEL_USE, Feature.PROVISIONED_CREDENTIALS));

  private Sessions() {}

  @Scenario
  static void handshake_welcome_is_complete(World world) throws Exception {
    Session session = world.open();
    Envelope first = session.wire.received().get(0);
    equal(first.type(), "session.welcome", "first frame");
    that(!session.id().isEmpty() && !session.resumeToken().isEmpty(), "empty field in the welcome");
    equal(session.client.session().heartbeatInterval(), Duration.ofSeconds(HEARTBEAT_SEC), "heartbeat interval");
    equal(first.payload().get("resume_window_sec").asText(), World.variable("ARCPD_RESUME_SEC"), "resume window");
    JsonNode runtime = first.payload().get("runtime");
    that(runtime.hasNonNull("name") && runtime.hasNonNull("version"), "the runtime does not name itself");
  }

  @Scenario
  static void handshake_negotiates_what_both_sides_can(World world) throws Exception {
    equal(world.open().client.session().negotiatedFeatures(), OFFERED, "negotiated features");
  }

  @Scenario
  static void handshake_features_are_the_intersection(World world) throws Exception {
    Set<Feature> asked = EnumSet.of(Feature.LIST_JOBS, Feature.SUBSCRIBE, Feature.MODEL_USE);
    Session session = world.open("alice", b -> b.features(asked));
    Set<Feature> due = EnumSet.of(Feature.LIST_JOBS, Feature.SUBSCRIBE);
    equal(session.client.session().negotiatedFeatures(), due, "negotiated features");
    equalJson(session.run("echo", "'still works'"), "'still works'", "echo");
  }

  @Scenario
  static void handshake_lists_the_agents(World world) throws Exception {
    List<AgentDescriptor> agents = world.open().client.session().availableAgents();
    List<String> names = agents.stream().map(AgentDescriptor::name).sorted().toList();
    equal(names, List.of("chunker", "echo", "failer", "sleeper", "spender", "ticker"), "agents");
    AgentDescriptor echo = agents.stream().filter(a -> a.name().equals("echo")).findFirst().orElseThrow();
    equal(echo.versions().stream().sorted().toList(), List.of("1.0.0", "2.0.0"), "versions of echo");
    equal(echo.defaultVersion(), "2.0.0", "default version of echo");
  }

  @Scenario
  static void bad_token_is_refused_and_the_connection_closed(World world) throws Exception {
    Check.failsWith("connect", () -> world.open("alice", b -> b.bearer("nope")), ErrorCode.UNAUTHENTICATED);
    Wire wire = world.newest().wire;
    wire.waitEnd();
    equal(wire.received().stream().map(Envelope::type).toList(), List.of("job.error"), "frames of a refused handshake");
  }

  @Scenario("ws")
  static void sessions_of_one_principal_are_separate(World world) throws Exception {
    Session first = world.open();
    Session second = world.open();
    that(!first.id().equals(second.id()), "two sessions with one id");
    that(!first.resumeToken().equals(second.resumeToken()), "two sessions with one token");
    JobHandle handle = first.submit("ticker", "{'count': 3, 'interval_ms': 5}");
    equalJson(second.run("echo", "2"), "2", "echo in the second session");
    Session.resultOf(handle);
    second.settle();
    equal(second.wire.ofJob(handle.jobId().value()), List.of(), "frames of another session's job");
  }

  @Scenario
  static void idle_session_is_pinged_and_stays_alive(World world) throws Exception {
    Session session = world.open();
    List<Envelope> pings =
        session.wire.waitFor("pings", f -> Wire.is(f, "session.ping"), 3, HEARTBEAT_SEC * 5000L);
    equal(pings.stream().map(f -> f.payload().get("nonce")).distinct().count(), 3L, "distinct nonces");
    equalJson(session.run("echo", "'alive'"), "'alive'", "echo after three idle intervals");
    List<String> pongs =
        session.wire.sent().stream()
            .filter(f -> Wire.is(f, "session.pong"))
            .map(f -> f.payload().get("ping_nonce").asText())
            .toList();
    equal(pongs.subList(0, 3), pings.stream().map(f -> f.payload().get("nonce").asText()).toList(), "answered pings");
  }

  @Scenario("ws")
  static void session_without_heartbeat_is_left_alone(World world) throws Exception {
    Set<Feature> features = EnumSet.copyOf(OFFERED);
    features.remove(Feature.HEARTBEAT);
    Session quiet = world.open("alice", b -> b.features(features));
    Session clock = world.open();
    clock.wire.waitFor("pings", f -> Wire.is(f, "session.ping"), 3, HEARTBEAT_SEC * 5000L);
    equal(quiet.wire.ofType("session.ping"), List.of(), "pings");
    equalJson(quiet.run("echo", "'alive'"), "'alive'", "echo after three idle intervals");
  }

  @Scenario
  static void a_long_job_outlives_several_heartbeats(World world) throws Exception {
    int ms = HEARTBEAT_SEC * 2000 + 300;
    equalJson(world.open().run("sleeper", "{'ms': " + ms + "}"), "{'slept_ms': " + ms + "}", "result");
  }

  @Scenario
  static void ack_changes_nothing_in_the_stream(World world) throws Exception {
    Session session = world.open("alice", b -> b.autoAck(false));
    JobHandle handle = session.submit("ticker", "{'count': 15, 'interval_ms': 5}");
    for (int count : upTo(10)) {
      session.wire.waitTicks(handle.jobId().value(), count);
      session.client.ack(session.lastSeq());
    }
    session.client.ack(1);
    equal(Session.events(handle).ticks(), upTo(15), "ticks");
    equal(session.wire.ofType("job.error"), List.of(), "errors");
  }

  @Scenario("stdio")
  static void process_ends_with_its_session(World world) throws Exception {
    Session session = world.open();
    equalJson(session.run("echo", "1"), "1", "echo");
    session.client.close();
    Process process = ((World.StdioLink) session.link).process();
    that(process.waitFor(Wire.WAIT_MS, TimeUnit.MILLISECONDS), "the process did not end");
    equal(process.exitValue(), 0, "exit status");
  }

  @Scenario("stdio")
  static void refused_process_ends(World world) throws Exception {
    Check.failsWith("connect", () -> world.open("alice", b -> b.bearer("nope")), ErrorCode.UNAUTHENTICATED);
    Process process = ((World.StdioLink) world.newest().link).process();
    that(process.waitFor(Wire.WAIT_MS, TimeUnit.MILLISECONDS), "the process did not end");
  }

  @Scenario("ws")
  static void many_sessions_at_once(World world) throws Exception {
    try (var executor = Executors.newVirtualThreadPerTaskExecutor()) {
      List<Future<?>> all = new ArrayList<>();
      for (int i : upTo(30)) {
        all.add(executor.submit(() -> {
          Session session = world.open(i % 2 == 1 ? "alice" : "bob");
          equalJson(session.run("echo", "" + i), "" + i, "echo");
          equal(Session.events(session.submit("ticker", "{'count': 10, 'interval_ms': 2}")).ticks(), upTo(10), "ticks");
          return null;
        }));
      }
      for (Future<?> one : all) {
        one.get();
      }
    }
  }
}
