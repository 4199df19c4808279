package interop;

import dev.arcp.core.events.EventBody;
import dev.arcp.core.events.ProgressEvent;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.RejectedExecutionException;

/** What a publisher of the client yields to its user. */
final class Events implements Flow.Subscriber<EventBody> {
  private final List<EventBody> seen = new ArrayList<>();
  private final CompletableFuture<Void> end = new CompletableFuture<>();

  static Events of(Flow.Publisher<EventBody> publisher) {
    Events events = new Events();
    try {
      publisher.subscribe(events);
    } catch (RejectedExecutionException e) {
      // The client shuts a publisher down with its job; whoever subscribes later is told nothing.
      events.end.completeExceptionally(e);
    }
    return events;
  }

  @Override
  public void onSubscribe(Flow.Subscription subscription) {
    subscription.request(Long.MAX_VALUE);
  }

  @Override
  public synchronized void onNext(EventBody event) {
    seen.add(event);
  }

  @Override
  public void onError(Throwable error) {
    end.completeExceptionally(error);
  }

  @Override
  public void onComplete() {
    end.complete(null);
  }

  /** Completes with the publisher, or fails with its error. */
  CompletableFuture<Void> end() {
    return end;
  }

  /** Everything up to the publisher's end. */
  List<EventBody> all() throws Exception {
    Session.await("the events", end);
    synchronized (this) {
      return List.copyOf(seen);
    }
  }

  /** The progress values up to the publisher's end. */
  List<Integer> ticks() throws Exception {
    return all().stream().filter(ProgressEvent.class::isInstance).map(e -> (int) ((ProgressEvent) e).current()).toList();
  }
}
