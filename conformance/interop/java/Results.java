package interop;

import static interop.Check.equal;
import static interop.Check.equalJson;
import static interop.Check.that;
import static interop.Check.upTo;

import dev.arcp.client.JobHandle;
import dev.arcp.client.ResultStream;
import dev.arcp.core.events.EventBody;
import dev.arcp.core.events.ResultChunkEvent;
import dev.arcp.core.messages.JobResult;
import interop.Main.Scenario;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Large results: streamed in chunks, and inline. */
final class Results {
  private static final int CHUNK_BYTES = 512 * 1024;
  private static final int TOTAL = 10 * CHUNK_BYTES;

  private Results() {}

  /** The bytes that the chunker promises. */
  private static byte[] promised(String encoding, int length) {
    byte[] bytes = new byte[length];
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) (encoding.equals("utf8") ? 'a' + i % 26 : i % 251);
    }
    return bytes;
  }

  /** The assembled chunks are the promised bytes. */
  private static void checkChunks(Events events, JobHandle handle, byte[] expected) throws Exception {
    JobResult result = Session.await("the result", handle.result());
    ResultStream stream = ResultStream.toMemory(result.resultId());
    for (EventBody event : events.all()) {
      if (event instanceof ResultChunkEvent chunk) {
        stream.accept(chunk);
      }
    }
    that(stream.isComplete(), "the last chunk is missing");
    equal(stream.bytes().length, expected.length, "bytes received");
    that(Arrays.equals(stream.bytes(), expected), "the bytes differ from the promised ones");
    equal(result.resultSize(), (long) expected.length, "result_size");
    equal(result.result(), null, "inline result of a chunked one");
  }

  private static void chunked(World world, String input, byte[] expected) throws Exception {
    JobHandle handle = world.open().submit("chunker", input);
    checkChunks(Session.events(handle), handle, expected);
  }

  @Scenario
  static void chunked_result_base64_5_mb(World world) throws Exception {
    chunked(world, "{'chunks': 10, 'chunk_bytes': " + CHUNK_BYTES + "}", promised("base64", TOTAL));
  }

  @Scenario
  static void chunked_result_utf8_5_mb(World world) throws Exception {
    String input = "{'chunks': 10, 'encoding': 'utf8', 'chunk_bytes': " + CHUNK_BYTES + "}";
    chunked(world, input, promised("utf8", TOTAL));
  }

  @Scenario
  static void chunked_result_defaults(World world) throws Exception {
    chunked(world, "null", promised("base64", 192));
  }

  @Scenario
  static void chunked_results_side_by_side(World world) throws Exception {
    Session session = world.open();
    List<JobHandle> handles = new ArrayList<>();
    for (int size : List.of(1000, 2000, 3000)) {
      handles.add(session.submit("chunker", "{'chunks': 20, 'chunk_bytes': " + size + "}"));
    }
    for (int i = 0; i < 3; i++) {
      JobHandle handle = handles.get(i);
      checkChunks(Session.events(handle), handle, promised("base64", 20 * 1000 * (i + 1)));
    }
  }

  @Scenario("ws")
  static void chunked_result_of_a_finished_job(World world) throws Exception {
    JobHandle handle = world.open().submit("chunker", "{'chunks': 30, 'chunk_bytes': 700}");
    Session.await("the result", handle.result());
    checkChunks(world.open().watch(handle.jobId()), handle, promised("base64", 30 * 700));
  }

  @Scenario("ws")
  static void chunked_result_over_a_broken_connection(World world) throws Exception {
    Session session = world.open();
    String job = session.submit("chunker", "{'chunks': 40, 'chunk_bytes': 65536}").jobId().value();
    session.wire.waitFor("chunks", f -> Wire.is(f, "job.event"), 3, Wire.WAIT_MS);
    world.drop(session);
    Session resumed = world.resume(session);
    resumed.wire.waitJobEnd(job);
    List<Integer> seqs = new ArrayList<>();
    for (Session one : List.of(session, resumed)) {
      one.wire.stream(job).stream()
          .filter(f -> f.payload().path("kind").asText().equals("result_chunk"))
          .forEach(f -> seqs.add(Wire.body(f).get("chunk_seq").asInt() + 1));
    }
    equal(seqs, upTo(seqs.size()), "chunks over both connections");
    that(seqs.size() >= 40, "chunks are missing");
  }

  @Scenario
  static void inline_result_of_700_kb(World world) throws Exception {
    String value = "{'text': '" + "0123456789abcdef".repeat(700_000 / 16) + "'}";
    equalJson(world.open().run("echo", value), value, "result");
  }

  @Scenario
  static void many_inline_results_of_100_kb(World world) throws Exception {
    Session session = world.open();
    List<JobHandle> handles = new ArrayList<>();
    for (int i : upTo(8)) {
      handles.add(session.submit("echo", "'" + String.valueOf(i).repeat(100_000) + "'"));
    }
    for (int i : upTo(8)) {
      equalJson(Session.resultOf(handles.get(i - 1)), "'" + String.valueOf(i).repeat(100_000) + "'", "result");
    }
  }
}
