package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.json;
import static interop.Check.that;
import static interop.Check.upTo;

import dev.arcp.client.JobHandle;
import dev.arcp.client.Page;
import dev.arcp.core.agents.AgentRef;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.ids.JobId;
import dev.arcp.core.lease.Lease;
import dev.arcp.core.messages.JobFilter;
import dev.arcp.core.messages.JobSubmit;
import dev.arcp.core.messages.JobSummary;
import interop.Main.Scenario;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Listing jobs. */
final class Listing {
  private static final int MAX_PAGES = 200;

  private Listing() {}

  private static JobFilter status(String... status) {
    return new JobFilter(List.of(status), null, null);
  }

  private static JobFilter agent(String agent) {
    return new JobFilter(null, agent, null);
  }

  /** All pages of a listing. */
  private static List<JobSummary> rows(Session session, JobFilter filter) throws Exception {
    List<JobSummary> rows = new ArrayList<>();
    String cursor = null;
    for (int i = 0; i < MAX_PAGES; i++) {
      Page<JobSummary> page = session.client.listJobs(filter, 50, cursor);
      that(page.items().size() <= 50, "a page of " + page.items().size() + " rows where 50 were asked for");
      rows.addAll(page.items());
      cursor = page.nextCursor();
      if (cursor == null) {
        return rows;
      }
    }
    throw new AssertionError("the listing did not end within " + MAX_PAGES + " pages");
  }

  private static List<JobId> ids(Session session, JobFilter filter) throws Exception {
    return rows(session, filter).stream().map(JobSummary::jobId).toList();
  }

  /** Those of the listed jobs that the scenario knows. */
  private static Set<JobId> known(List<JobId> listed, List<JobId> own) {
    Set<JobId> known = new HashSet<>(listed);
    known.retainAll(own);
    return known;
  }

  /** A time of the daemon's clock, later than every earlier job and earlier than every later one. */
  private static Instant moment(Session session) throws Exception {
    JobHandle handle = session.submit("ticker", "{'count': 3, 'interval_ms': 4}");
    Session.resultOf(handle);
    var ticks = session.wire.received(f -> Wire.isOf(f, handle.jobId().value()) && Wire.isProgress(f));
    return Instant.parse(ticks.get(1).payload().get("ts").asText());
  }

  @Scenario
  static void list_rows_are_complete(World world) throws Exception {
    Session session = world.open();
    Lease lease = Lease.builder().allow("tool.call", "a").build();
    String input = "{'count': 3, 'interval_ms': 1}";
    JobHandle handle = session.submit(new JobSubmit(AgentRef.parse("ticker"), json(input), lease, null, null, null));
    Session.resultOf(handle);
    JobSummary row = session.row(handle.jobId());
    equal(List.of(row.agent(), row.status(), row.lease()), List.of("ticker@1.0.0", "success", lease), "row");
    Duration off = Duration.between(handle.accepted().acceptedAt(), row.createdAt()).abs();
    that(off.toMillis() < 1000, "created_at");
    long position = session.wire.stream(handle.jobId().value()).size();
    equal(row.lastEventSeq(), position, "last_event_seq, the job's own position");
  }

  @Scenario("ws")
  static void list_shows_only_own_jobs(World world) throws Exception {
    Session alice = world.open();
    Session bob = world.open("bob");
    JobHandle hers = alice.submit("echo", "1");
    JobHandle his = bob.submit("echo", "1");
    Session.resultOf(hers);
    Session.resultOf(his);
    for (JobFilter filter : List.of(JobFilter.all(), agent("echo"), status("success", "running"))) {
      List<JobId> listed = ids(bob, filter);
      that(listed.contains(his.jobId()), "bob's own job is missing");
      that(!listed.contains(hers.jobId()), "bob sees alice's jobs");
    }
    that(ids(alice, null).contains(hers.jobId()), "alice misses a job of her own");
  }

  @Scenario("ws")
  static void list_shows_jobs_of_all_own_sessions(World world) throws Exception {
    JobHandle handle = world.open().submit("echo", "1");
    Session.resultOf(handle);
    that(ids(world.open(), null).contains(handle.jobId()), "the job of the other session is missing");
  }

  @Scenario
  static void list_filters_by_status(World world) throws Exception {
    Session session = world.open();
    JobHandle running = session.submit("ticker", "{'count': 2000, 'interval_ms': 10}");
    JobHandle success = session.submit("echo", "1");
    Session.resultOf(success);
    JobHandle failed = session.submit("failer", "{}");
    Session.failsWith(failed, ErrorCode.INTERNAL_ERROR);
    JobHandle cancelled = session.submit("sleeper", "{'ms': 20000}");
    cancelled.cancel();
    Session.failsWith(cancelled, ErrorCode.CANCELLED);
    Map<String, JobHandle> byStatus =
        Map.of("running", running, "success", success, "error", failed, "cancelled", cancelled);
    List<JobId> own = byStatus.values().stream().map(JobHandle::jobId).toList();
    for (var entry : byStatus.entrySet()) {
      List<JobSummary> rows = rows(session, status(entry.getKey()));
      that(rows.stream().allMatch(r -> r.status().equals(entry.getKey())), "other statuses under " + entry.getKey());
      Set<JobId> listed = known(rows.stream().map(JobSummary::jobId).toList(), own);
      equal(listed, Set.of(entry.getValue().jobId()), "jobs under " + entry.getKey());
    }
    Set<JobId> both = known(ids(session, status("success", "error")), own);
    equal(both, Set.of(success.jobId(), failed.jobId()), "jobs under a filter of two statuses");
    running.cancel();
  }

  @Scenario
  static void list_filters_by_agent(World world) throws Exception {
    Session session = world.open();
    List<String> refs = List.of("echo@1.0.0", "echo@2.0.0", "ticker@1.0.0");
    List<JobId> own = new ArrayList<>();
    for (String ref : refs) {
      JobHandle handle = session.submit(ref, "null");
      Session.resultOf(handle);
      own.add(handle.jobId());
    }
    equal(known(ids(session, agent("echo")), own), Set.copyOf(own.subList(0, 2)), "jobs of the agent echo");
    for (int i = 0; i < refs.size(); i++) {
      String ref = refs.get(i);
      that(rows(session, agent(ref)).stream().allMatch(r -> r.agent().equals(ref)), "other agents under " + ref);
      equal(known(ids(session, agent(ref)), own), Set.of(own.get(i)), "jobs of " + ref);
    }
    equal(ids(session, agent("echo@9.9.9")), List.of(), "jobs of a version that never ran");
  }

  @Scenario
  static void list_filters_by_creation_time(World world) throws Exception {
    Session session = world.open();
    session.run("echo", "'earlier'");
    Instant between = moment(session);
    JobHandle later = session.submit("echo", "'later'");
    Session.resultOf(later);
    equal(ids(session, new JobFilter(null, null, between)), List.of(later.jobId()), "jobs after the moment");
    JobFilter combined = new JobFilter(List.of("success"), "ticker", between);
    equal(ids(session, combined), List.of(), "tickers after that moment");
  }

  @Scenario
  static void list_pages_show_each_job_once(World world) throws Exception {
    Session session = world.open();
    JobFilter filter = new JobFilter(null, null, moment(session));
    List<JobId> wanted = new ArrayList<>();
    for (int i : upTo(7)) {
      JobHandle handle = session.submit("echo", "" + i);
      Session.resultOf(handle);
      wanted.add(handle.jobId());
    }
    List<JobId> seen = new ArrayList<>();
    String cursor = null;
    int pages = 0;
    do {
      Page<JobSummary> page = session.client.listJobs(filter, 2, cursor);
      that(page.items().size() <= 2, "a page longer than its limit");
      page.items().forEach(row -> seen.add(row.jobId()));
      cursor = page.nextCursor();
      if (pages < 5) {
        session.run("echo", "'inserted'");
      }
      pages++;
    } while (cursor != null && pages < MAX_PAGES);
    equal(cursor, null, "cursor after the last page");
    equal(seen.size(), Set.copyOf(seen).size(), "rows, each once");
    that(seen.containsAll(wanted), "jobs that no page showed");
  }

  @Scenario
  static void list_refuses_a_tampered_cursor(World world) throws Exception {
    Session session = world.open();
    JobHandle running = session.submit("ticker", "{'count': 20, 'interval_ms': 20}");
    session.run("echo", "1");
    String cursor = session.client.listJobs(null, 1, null).nextCursor();
    that(cursor != null, "no cursor although there are more jobs");
    for (String wrong : List.of("not-a-cursor", cursor.substring(0, cursor.length() - 3))) {
      Check.failsWith("list_jobs", () -> session.client.listJobs(null, 1, wrong), ErrorCode.INVALID_REQUEST);
    }
    equal(session.client.listJobs(null, 1, cursor).items().size(), 1, "rows behind the true cursor");
    equalJson(Session.resultOf(running), "{'ticks': 20}", "result of the running job");
  }

  @Scenario
  static void list_does_not_subscribe(World world) throws Exception {
    Session session = world.open();
    JobHandle handle = session.submit("ticker", "{'count': 10, 'interval_ms': 15}");
    for (int i = 0; i < 5; i++) {
      session.client.listJobs(null);
    }
    Session.resultOf(handle);
    equal(session.wire.ticks(handle.jobId().value()), upTo(10), "ticks on the wire");
  }
}
