package interop;

import dev.arcp.core.wire.Envelope;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** What holds for every frame that a runtime sends, whatever the scenario. */
final class Rules {
  private Rules() {}

  /** What a resumed connection inherits from the connections before it. {@code lastSeq} is -1 if there was none. */
  record Carried(long lastSeq, Set<String> open, Set<String> ended) {
    static Carried nothing() {
      return new Carried(-1, Set.of(), Set.of());
    }

    /** The state of the session as a client knows it that has processed everything up to {@code seq}. */
    Carried after(List<Envelope> frames, long seq) {
      Set<String> open = new HashSet<>(this.open);
      Set<String> ended = new HashSet<>(this.ended);
      for (Envelope frame : frames) {
        String job = Wire.jobOf(frame);
        if (job == null) {
          continue;
        }
        if (opens(frame) || (!ended.contains(job) && !Wire.isTerminal(frame))) {
          open.add(job);
          ended.remove(job);
        } else if (Wire.isTerminal(frame) && frame.eventSeq() != null && frame.eventSeq() <= seq) {
          open.remove(job);
          ended.add(job);
        }
      }
      return new Carried(seq, open, ended);
    }
  }

  /** Everything in one connection's frames that breaks the protocol, in words. */
  static List<String> violations(Wire wire, Carried carried) {
    List<String> found = new ArrayList<>(wire.undecodable());
    envelopes(wire.received(), found);
    numbering(wire.received(), carried, found);
    jobs(wire.received(), carried, found);
    answers(wire, found);
    return found;
  }

  private static boolean opens(Envelope frame) {
    return Wire.is(frame, "job.accepted") || Wire.is(frame, "job.subscribed");
  }

  /** A refused request: a {@code job.error} outside the numbering. */
  private static boolean isRefusal(Envelope frame) {
    return Wire.is(frame, "job.error") && frame.eventSeq() == null;
  }

  private static void envelopes(List<Envelope> frames, List<String> found) {
    for (Envelope frame : frames) {
      if (!frame.arcp().equals("1.1")) {
        found.add(frame.type() + ": arcp is " + frame.arcp());
      }
      boolean refusal = isRefusal(frame) && frame.jobId() == null;
      if (!refusal && (frame.sessionId() == null || !frame.sessionId().equals(frames.get(0).sessionId()))) {
        found.add(frame.type() + ": session_id " + frame.sessionId());
      }
    }
  }

  private static void numbering(List<Envelope> frames, Carried carried, List<String> found) {
    long expected = Math.max(0, carried.lastSeq()) + 1;
    for (Envelope frame : frames) {
      boolean numbered = (Wire.is(frame, "job.event") || Wire.isTerminal(frame)) && !isRefusal(frame);
      if (!numbered && frame.eventSeq() != null) {
        found.add(frame.type() + ": carries an event_seq");
      }
      if (!numbered) {
        continue;
      }
      if (frame.eventSeq() == null || frame.eventSeq() != expected) {
        found.add(frame.type() + ": event_seq " + frame.eventSeq() + ", " + expected + " was due");
      }
      expected = (frame.eventSeq() == null ? expected : frame.eventSeq()) + 1;
    }
  }

  private static void jobs(List<Envelope> frames, Carried carried, List<String> found) {
    Set<String> open = new HashSet<>(carried.open());
    Set<String> ended = new HashSet<>(carried.ended());
    for (Envelope frame : frames) {
      String job = Wire.jobOf(frame);
      if (job == null || isRefusal(frame)) {
        if (job != null && (open.contains(job) || ended.contains(job))) {
          found.add("a refusal for the known job " + job);
        }
      } else if (opens(frame)) {
        open.add(job);
        ended.remove(job);
      } else {
        if (ended.contains(job)) {
          found.add(frame.type() + " of " + job + " after its terminal frame");
        } else if (!open.contains(job)) {
          found.add(frame.type() + " of " + job + " before its job.accepted");
        }
        if (Wire.isTerminal(frame)) {
          open.remove(job);
          ended.add(job);
        }
      }
    }
  }

  /** Never more answers than submits; a refusal without a job names the request that it refuses. */
  private static void answers(Wire wire, List<String> found) {
    List<Envelope> submits = wire.sent().stream().filter(f -> Wire.is(f, "job.submit")).toList();
    List<Envelope> refusals = wire.received(f -> isRefusal(f) && f.jobId() == null);
    long welcomed = wire.ofType("session.welcome").size();
    for (Envelope refusal : refusals) {
      if (welcomed > 0 && wire.sent().stream().noneMatch(f -> f.id().equals(refusal.id()))) {
        found.add("a refusal that names no request: " + refusal.id());
      }
    }
    long refused = submits.stream().filter(s -> refusals.stream().anyMatch(r -> r.id().equals(s.id()))).count();
    long answers = wire.ofType("job.accepted").size() + refused;
    if (answers > submits.size()) {
      found.add(answers + " answers to " + submits.size() + " submits");
    }
  }
}
