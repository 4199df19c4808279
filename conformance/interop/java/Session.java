package interop;

import com.fasterxml.jackson.databind.JsonNode;
import dev.arcp.client.ArcpClient;
import dev.arcp.client.JobHandle;
import dev.arcp.client.SubscribeOptions;
import dev.arcp.core.agents.AgentRef;
import dev.arcp.core.error.ArcpException;
import dev.arcp.core.error.ErrorCode;
import dev.arcp.core.ids.JobId;
import dev.arcp.core.messages.JobResult;
import dev.arcp.core.messages.JobSubmit;
import dev.arcp.core.messages.JobSummary;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** One connection of the client, with what passed over it. */
final class Session {
  final ArcpClient client;
  final Wire wire;
  final World.Link link;
  final String principal;
  final Rules.Carried carried;

  Session(ArcpClient client, Wire wire, World.Link link, String principal, Rules.Carried carried) {
    this.client = client;
    this.wire = wire;
    this.link = link;
    this.principal = principal;
    this.carried = carried;
  }

  String id() {
    return client.session().sessionId().value();
  }

  String resumeToken() {
    return client.session().resumeToken();
  }

  /** What this client's user would resume from: -1 if nothing numbered has arrived. */
  long lastSeq() {
    return Math.max(wire.lastSeq(), carried.lastSeq());
  }

  static JobSubmit job(String agent, JsonNode input) {
    return ArcpClient.jobSubmit(agent, input);
  }

  static JobSubmit keyed(String agent, JsonNode input, String key) {
    return new JobSubmit(AgentRef.parse(agent), input, null, null, key, null);
  }

  JobHandle submit(String agent, String input) {
    return submit(job(agent, Check.json(input)));
  }

  JobHandle submit(JobSubmit submit) {
    return client.submit(submit);
  }

  /** Submits and returns the inline result. */
  JsonNode run(String agent, String input) throws Exception {
    return resultOf(submit(agent, input));
  }

  /** Submits what must be refused; this client's {@code submit()} itself fails. */
  ArcpException refused(ErrorCode code, JobSubmit submit) throws Exception {
    try {
      JobHandle handle = submit(submit);
      throw new AssertionError("submit " + submit.agent() + " was accepted as " + handle.jobId());
    } catch (CompletionException e) {
      return Check.isError("submit " + submit.agent(), e.getCause(), code);
    }
  }

  /** The inline result of a job that must succeed. */
  static JsonNode resultOf(JobHandle handle) throws Exception {
    JobResult result = await("job " + handle.resolvedAgent(), handle.result());
    Check.equal(result.finalStatus(), JobResult.SUCCESS, "final status");
    return result.result();
  }

  /** The job must end with this error. */
  static ArcpException failsWith(JobHandle handle, ErrorCode code) throws Exception {
    try {
      JobResult result = await("job " + handle.resolvedAgent(), handle.result());
      throw new AssertionError("job " + handle.resolvedAgent() + " ended with " + result.finalStatus());
    } catch (ExecutionException e) {
      return Check.isError("job " + handle.resolvedAgent(), e.getCause(), code);
    }
  }

  static <T> T await(String what, CompletableFuture<T> future) throws Exception {
    try {
      return future.get(Wire.WAIT_MS, TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      throw new AssertionError(what + " did not complete within " + Wire.WAIT_MS + " ms");
    }
  }

  /** All events that the handle's publisher yields. */
  static Events events(JobHandle handle) {
    return Events.of(handle.events());
  }

  /** Watches a job; what its publisher yields. */
  Events watch(JobId job, SubscribeOptions options) {
    return Events.of(client.subscribe(job, options));
  }

  /** Watches a job from its beginning. */
  Events watch(JobId job) {
    return watch(job, SubscribeOptions.withHistory(0));
  }

  /** The row of one job in the listing. */
  JobSummary row(JobId job) throws Exception {
    return client.listJobs(null, 1000, null).items().stream()
        .filter(row -> row.jobId().equals(job))
        .findFirst()
        .orElseThrow(() -> new AssertionError(job + " is not in the listing"));
  }

  /** A round trip: whatever was sent before has been handled when it returns. */
  void settle() throws Exception {
    client.listJobs(null, 1, null);
  }
}
