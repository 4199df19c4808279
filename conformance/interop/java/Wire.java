package interop;

import com.fasterxml.jackson.databind.JsonNode;
import dev.arcp.core.events.Events;
import dev.arcp.core.transport.Transport;
import dev.arcp.core.messages.Messages;
import dev.arcp.core.wire.ArcpMapper;
import dev.arcp.core.wire.Envelope;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Flow;
import java.util.function.Predicate;

/** A transport of the client that remembers every frame; scenarios read them and wait for those they need. */
final class Wire implements Transport {
  static final long WAIT_MS = 8_000;

  private final Transport inner;
  private final List<Envelope> sent = new ArrayList<>();
  private final List<Envelope> received = new ArrayList<>();
  private final List<String> undecodable = new ArrayList<>();
  private boolean ended;

  Wire(Transport inner) {
    this.inner = inner;
  }

  @Override
  public void send(Envelope frame) {
    synchronized (this) {
      sent.add(frame);
    }
    inner.send(frame);
  }

  @Override
  public Flow.Publisher<Envelope> incoming() {
    return downstream -> inner.incoming().subscribe(new Flow.Subscriber<>() {
      @Override
      public void onSubscribe(Flow.Subscription subscription) {
        downstream.onSubscribe(subscription);
      }

      @Override
      public void onNext(Envelope frame) {
        record(frame);
        downstream.onNext(frame);
      }

      @Override
      public void onError(Throwable error) {
        end();
        downstream.onError(error);
      }

      @Override
      public void onComplete() {
        end();
        downstream.onComplete();
      }
    });
  }

  @Override
  public void close() {
    inner.close();
  }

  private synchronized void record(Envelope frame) {
    received.add(frame);
    try {
      Messages.decode(ArcpMapper.shared(), frame);
      if (is(frame, "job.event")) {
        JsonNode payload = frame.payload();
        Events.decode(ArcpMapper.shared(), payload.get("kind").asText(), payload.get("body"));
      }
    } catch (RuntimeException error) {
      undecodable.add("the client cannot decode a " + frame.type() + ": " + error.getMessage());
    }
    notifyAll();
  }

  private synchronized void end() {
    ended = true;
    notifyAll();
  }

  synchronized List<Envelope> sent() {
    return List.copyOf(sent);
  }

  synchronized List<Envelope> received() {
    return List.copyOf(received);
  }

  synchronized List<String> undecodable() {
    return List.copyOf(undecodable);
  }

  List<Envelope> received(Predicate<Envelope> matches) {
    return received().stream().filter(matches).toList();
  }

  /** The first {@code count} received frames that match, waiting for those still to come. */
  synchronized List<Envelope> waitFor(String what, Predicate<Envelope> matches, int count, long ms)
      throws InterruptedException {
    long deadline = System.nanoTime() + ms * 1_000_000;
    while (true) {
      List<Envelope> found = received(matches);
      if (found.size() >= count) {
        return found.subList(0, count);
      }
      String soFar = found.size() + " of " + count + " " + what;
      if (ended) {
        throw new AssertionError("connection ended after " + soFar);
      }
      long left = (deadline - System.nanoTime()) / 1_000_000;
      if (left <= 0) {
        throw new AssertionError(soFar + " within " + ms + " ms");
      }
      wait(left);
    }
  }

  /** Waits until the runtime has closed the connection. */
  synchronized void waitEnd() throws InterruptedException {
    long deadline = System.nanoTime() + WAIT_MS * 1_000_000;
    while (!ended) {
      long left = (deadline - System.nanoTime()) / 1_000_000;
      if (left <= 0) {
        throw new AssertionError("the connection was not closed");
      }
      wait(left);
    }
  }

  void waitTicks(String job, int count) throws InterruptedException {
    waitFor("progress events", f -> isOf(f, job) && isProgress(f), count, WAIT_MS);
  }

  /** The terminal frame of the job. */
  Envelope waitJobEnd(String job) throws InterruptedException {
    return waitFor("terminal frames", f -> isOf(f, job) && isTerminal(f), 1, WAIT_MS).get(0);
  }

  List<Envelope> ofJob(String job) {
    return received(f -> isOf(f, job));
  }

  List<Envelope> ofType(String type) {
    return received(f -> is(f, type));
  }

  /** The job's events and its terminal frame. */
  List<Envelope> stream(String job) {
    return received(f -> isOf(f, job) && (is(f, "job.event") || isTerminal(f)));
  }

  List<Integer> ticks(String job) {
    return ofJob(job).stream().filter(Wire::isProgress).map(f -> body(f).get("current").asInt()).toList();
  }

  /** The highest event_seq that has arrived; -1 if none has, as in this client. */
  long lastSeq() {
    return received().stream().mapToLong(f -> f.eventSeq() == null ? -1 : f.eventSeq()).max().orElse(-1);
  }

  static boolean is(Envelope frame, String type) {
    return frame.type().equals(type);
  }

  static boolean isOf(Envelope frame, String job) {
    return job.equals(jobOf(frame));
  }

  static boolean isTerminal(Envelope frame) {
    return is(frame, "job.result") || is(frame, "job.error");
  }

  static boolean isProgress(Envelope frame) {
    return is(frame, "job.event") && frame.payload().path("kind").asText().equals("progress");
  }

  static JsonNode body(Envelope frame) {
    return frame.payload().path("body");
  }

  /** The job that a frame is about; null if it is about none. */
  static String jobOf(Envelope frame) {
    if (!frame.type().startsWith("job.")) {
      return null;
    }
    return frame.jobId() != null ? frame.jobId().value() : frame.payload().path("job_id").textValue();
  }

  /** What two sessions that see the same job must agree on. */
  static String essence(Envelope frame) {
    JsonNode p = frame.payload();
    return is(frame, "job.event")
        ? p.get("kind") + " " + p.get("ts") + " " + p.get("body")
        : frame.type() + " " + p.get("final_status") + " " + p.get("code") + " " + p.get("result");
  }
}
