package interop;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.arcp.client.ArcpClient;
import dev.arcp.client.WebSocketTransport;
import dev.arcp.core.transport.StdioTransport;
import dev.arcp.core.transport.Transport;
import java.lang.reflect.Field;
import java.net.URI;
import java.net.http.WebSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Opens sessions for one scenario, judges their frames and takes everything down again. */
final class World {
  private final String transport;
  private final List<Session> sessions = Collections.synchronizedList(new ArrayList<>());

  World(String transport) {
    this.transport = transport;
  }

  static String variable(String name) {
    String value = System.getenv(name);
    if (value == null) {
      throw new IllegalStateException(name + " is not set; start this through conformance/interop/with_daemon.py");
    }
    return value;
  }

  Session open() throws Exception {
    return open("alice");
  }

  Session open(String principal) throws Exception {
    return open(principal, builder -> {});
  }

  /** A new session of this principal; {@code more} may set up its client further. */
  Session open(String principal, Consumer<ArcpClient.Builder> more) throws Exception {
    return connect(principal, Rules.Carried.nothing(), more);
  }

  /** Takes a session up again on a new connection, by what the client itself says that it has seen. */
  Session resume(Session before) throws Exception {
    return resume(before, before.principal, before.resumeToken(), before.lastSeq());
  }

  Session resume(Session before, String principal, String token, long lastSeq) throws Exception {
    Rules.Carried carried = before.carried.after(before.wire.received(), lastSeq);
    return connect(principal, carried, b -> b.resumeToken(token).lastEventSeq(lastSeq));
  }

  /** Breaks the session's connection as a failing network would. */
  void drop(Session session) {
    session.link.drop();
    session.client.close();
  }

  /** The newest connection, also where its handshake was refused. */
  Session newest() {
    return sessions.get(sessions.size() - 1);
  }

  /** What was wrong on the wire, whatever the scenario looked at. */
  List<String> complaints() {
    return sessions.stream().flatMap(s -> Rules.violations(s.wire, s.carried).stream()).toList();
  }

  void close() throws InterruptedException {
    for (Session session : List.copyOf(sessions)) {
      session.client.close();
      session.link.dispose();
    }
  }

  private Session connect(String principal, Rules.Carried carried, Consumer<ArcpClient.Builder> more)
      throws Exception {
    Link link = transport.equals("ws") ? WebSocketLink.connect() : StdioLink.connect();
    Wire wire = new Wire(link.transport());
    ArcpClient.Builder builder =
        ArcpClient.builder(wire)
            .client("interop", "1")
            .bearer(variable("ARCPD_TOKEN_" + principal.toUpperCase()))
            .submitTimeout(Duration.ofMillis(Wire.WAIT_MS));
    more.accept(builder);
    Session session = new Session(builder.build(), wire, link, principal, carried);
    sessions.add(session);
    session.client.connect(Duration.ofMillis(Wire.WAIT_MS));
    return session;
  }

  /** The connection below a transport of the client. */
  interface Link {
    Transport transport();

    void drop();

    void dispose() throws InterruptedException;
  }

  private record WebSocketLink(WebSocketTransport transport) implements Link {
    static Link connect() throws InterruptedException {
      return new WebSocketLink(WebSocketTransport.connect(URI.create(variable("ARCPD_URL"))));
    }

    @Override
    public void drop() {
      try {
        // The client keeps its socket to itself; breaking it is the only way to play a failing network.
        Field socket = WebSocketTransport.class.getDeclaredField("socket");
        socket.setAccessible(true);
        ((WebSocket) socket.get(transport)).abort();
      } catch (ReflectiveOperationException e) {
        throw new IllegalStateException(e);
      }
    }

    @Override
    public void dispose() {}
  }

  record StdioLink(StdioTransport transport, Process process) implements Link {
    static Link connect() throws Exception {
      String[] command = new ObjectMapper().readValue(variable("ARCPD_STDIO"), String[].class);
      Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
      return new StdioLink(new StdioTransport(process.getInputStream(), process.getOutputStream()).start(), process);
    }

    @Override
    public void drop() {
      process.destroyForcibly();
    }

    @Override
    public void dispose() throws InterruptedException {
      if (!process.waitFor(3, TimeUnit.SECONDS)) {
        process.destroyForcibly();
      }
    }
  }
}
