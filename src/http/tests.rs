//! The listener over real sockets: upgrades, health, refusals, caps.

use std::net::Ipv6Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::*;
use crate::transport::tls;
use crate::transport::websocket::{ClientStream, WebSocketReader, WebSocketWriter, connect};
use crate::transport::{CloseReason, Ended, FrameReader, FrameWriter, Received, Transport};
use crate::wire::api::CancelRecorded;

type Client = (WebSocketReader<ClientStream>, WebSocketWriter<ClientStream>);

/// Operations that are as they are told to be: the token `op` is an operator's, `me` is somebody's.
#[derive(Default)]
struct Always {
    ready: Option<String>,
    /// Told when an answer is asked for, which comes once this is told.
    asked: Option<(mpsc::UnboundedSender<Ask>, Arc<tokio::sync::Notify>)>,
}

impl Health for Always {
    fn ready(&self) -> Result<(), String> {
        self.ready.clone().map_or(Ok(()), Err)
    }
}

impl Operations for Always {
    fn caller(&self, scheme: &str, token: &Token) -> Result<Caller, Unauthenticated> {
        let roles = match (scheme, token.expose()) {
            ("Bearer", "op") => [Role::Operator].into(),
            ("Bearer", "scraper") => [Role::Metrics].into(),
            ("Bearer", "me") => [].into(),
            _ => return Err(Unauthenticated),
        };
        Ok(Caller { principal: Principal::local(), roles, dialect: None })
    }

    fn operate(&self, by: Principal, ask: Ask) -> BoxFuture<'_, Result<Answer, Refusal>> {
        Box::pin(async move {
            assert_eq!(by, Principal::local());
            if let Some((tell, answer)) = &self.asked {
                tell.send(ask.clone()).unwrap();
                answer.notified().await;
            }
            if let Ask::Cancel { job, .. } = ask {
                return Ok(Answer::Cancelled(CancelRecorded { job_id: job }));
            }
            Err(Refusal::unavailable("the store is on fire"))
        })
    }

    fn measure(&self, page: &mut Page) {
        page.gauge("answer", "The answer", 42);
    }
}

/// A listener whose conversations send every frame back.
struct Running {
    address: SocketAddr,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// What was told of each connection.
    infos: mpsc::UnboundedReceiver<ConnectionInfo>,
    serving: tokio::task::JoinHandle<()>,
}

async fn start_at(address: &str, config: ListenerConfig, operations: Always) -> Running {
    let listener = Listener::bind(address.parse().unwrap(), config).await.unwrap();
    let address = listener.local_addr();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let (tell, infos) = mpsc::unbounded_channel();
    let accept = move |transport, info| {
        let _ = tell.send(info);
        echo(transport)
    };
    let serving = listener.serve(accept, Arc::new(operations), tracker.clone(), stop.clone());
    Running { address, tracker, stop, infos, serving: tokio::spawn(serving) }
}

async fn start(limits: Limits) -> Running {
    start_at("127.0.0.1:0", ListenerConfig { limits, ..ListenerConfig::default() }, Always::default()).await
}

async fn echo(transport: ServerTransport) {
    let (mut reader, mut writer) = transport.split();
    loop {
        match reader.receive().await {
            Ok(Received::Text(frame)) => writer.feed(frame).await.unwrap(),
            Ok(Received::Rejected(fault)) => writer.feed(fault.to_string().into()).await.unwrap(),
            Err(Ended::Fault(_)) => return writer.close(CloseReason::TooBig).await,
            Err(_) => return writer.close(CloseReason::Done).await,
        }
        writer.flush().await.unwrap();
    }
}

impl Running {
    fn url(&self) -> String {
        format!("ws://{}/arcp", self.address)
    }

    async fn client(&self) -> Client {
        connect(&self.url(), None, &Limits::default()).await.unwrap().split()
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request's head and reads until the daemon closes.
    async fn ask(&self, head: &str) -> String {
        let mut socket = self.socket().await;
        socket.write_all(head.as_bytes()).await.unwrap();
        read_to_end(&mut socket).await
    }
}

/// Whatever comes until the peer closes, in whichever way it does.
async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

async fn assert_echo((reader, writer): &mut Client, frame: &'static str) {
    writer.feed(frame.into()).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(reader.receive().await.unwrap(), Received::Text(frame.into()));
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn offer(more: &str) -> String {
    format!(
        "GET /arcp HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn a_client_speaks_over_either_ip_and_the_connection_is_described() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut running = start_at(address, ListenerConfig::default(), Always::default()).await;
        let url = format!("{}?dialect=python", running.url());
        let mut client = connect(&url, None, &Limits::default()).await.unwrap().split();
        assert_echo(&mut client, "{}").await;
        let info = running.infos.recv().await.unwrap();
        assert_eq!(info.peer.ip(), running.address.ip());
        assert_eq!((info.path.as_str(), info.dialect.as_deref(), info.tls), ("/arcp", Some("python"), false));
        client.1.close(CloseReason::Done).await;
        running.tracker.close();
        running.tracker.wait().await;
    }
}

#[tokio::test]
async fn an_ipv4_client_of_a_socket_for_both_is_shown_as_one() {
    let mut running = start_at("[::]:0", ListenerConfig::default(), Always::default()).await;
    assert_eq!(running.address.ip(), Ipv6Addr::UNSPECIFIED);
    let url = format!("ws://127.0.0.1:{}/", running.address.port());
    let mut client = connect(&url, None, &Limits::default()).await.unwrap().split();
    assert_echo(&mut client, "{}").await;
    assert!(running.infos.recv().await.unwrap().peer.is_ipv4());
}

#[tokio::test]
async fn a_frame_of_the_limit_passes_and_one_byte_more_is_told_and_ends_the_connection() {
    let running = start(Limits::default()).await;
    let max = Limits::default().frame_bytes;
    let generous = Limits { frame_bytes: max + 1, ..Limits::default() };
    let (mut reader, mut writer) = connect(&running.url(), None, &generous).await.unwrap().split();
    let sent = async {
        writer.feed(vec![b'x'; max].into()).await.unwrap();
        writer.feed(vec![b'x'; max + 1].into()).await.unwrap();
        // The daemon may have turned its back before the last byte.
        let _ = writer.flush().await;
    };
    let received = async {
        assert_eq!(reader.receive().await.unwrap(), Received::Text(vec![b'x'; max].into()));
        let ended = reader.receive().await.unwrap_err();
        assert!(matches!(ended, Ended::Closed), "{ended}");
        assert_eq!(reader.close_notice(), Some(CloseReason::TooBig.into()));
    };
    tokio::join!(sent, received);
}

#[tokio::test]
async fn plain_requests_get_plain_answers() {
    let running = start(Limits::default()).await;
    for (head, status, body) in [
        (get("/"), "200 OK", "connect by WebSocket to /arcp\n"),
        (get("/healthz"), "200 OK", "\r\n\r\nok\n"),
        (get("/readyz"), "200 OK", "\r\n\r\nok\n"),
        (get("/arcp"), "426 Upgrade Required", "expected a WebSocket upgrade\n"),
        (get("/secret"), "404 Not Found", "\n"),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".into(), "405 Method Not Allowed", "\n"),
        (get(&format!("/{}", "x".repeat(HTTP_HEAD_BYTES))), "431 Request Header Fields Too Large", ""),
        ("what is this\r\n\r\n".into(), "400 Bad Request", ""),
    ] {
        let answer = running.ask(&head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}{answer}");
        assert!(answer.ends_with(body), "{head}{answer}");
    }
    let answer = running.ask(&get("/arcp")).await;
    assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
    let ready = Always { ready: Some("the store is read-only".into()), ..Always::default() };
    let running = start_at("127.0.0.1:0", ListenerConfig::default(), ready).await;
    let answer = running.ask(&get("/readyz")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("the store is read-only\n"), "{answer}");
}

fn asks(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
}

#[tokio::test]
async fn nothing_of_the_api_is_there_without_the_role() {
    let running = start(Limits::default()).await;
    let mut answers = Vec::new();
    for (more, path) in [
        ("", "/api/status"),
        ("", "/api/nothing"),
        ("authorization: Bearer wrong\r\n", "/api/jobs"),
        ("authorization: Basic op\r\n", "/api/jobs"),
        ("authorization: op\r\n", "/api"),
        ("authorization: Bearer \u{e9}\r\n", "/api/store?x=1"),
    ] {
        answers.push(running.ask(&asks("GET", path, more)).await);
    }
    assert!(answers[0].starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{}", answers[0]);
    assert!(answers[0].contains("www-authenticate: Bearer\r\n"), "{}", answers[0]);
    assert!(answers[0].contains("\r\ncache-control: no-store\r\n"), "{}", answers[0]);
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let error: ErrorBody = serde_json::from_str(&body(&answers[0])).unwrap();
    assert_eq!((error.code.as_str(), error.retryable), ("UNAUTHENTICATED", false));
    assert!(answers.iter().all(|answer| body(answer) == body(&answers[0])), "{answers:#?}");

    for path in ["/api/status", "/api/nothing"] {
        let answer = running.ask(&asks("GET", path, "authorization: Bearer me\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        let error: ErrorBody = serde_json::from_str(&body(&answer)).unwrap();
        assert!(error.code.as_str() == "PERMISSION_DENIED" && error.message.contains("operator"), "{error}");
    }
    let answer = running.ask(&asks("GET", "/api/nothing", "authorization: Bearer op\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    let answer = running.ask(&asks("GET", "/api/status", "authorization: Bearer op\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"retryable\":true"), "{answer}");
    let answer = running.ask(&asks("DELETE", "/api/status", "authorization: Bearer op\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn the_numbers_are_shown_to_whoever_may_see_them() {
    let with = |metrics| ListenerConfig { metrics, ..ListenerConfig::default() };
    let operator = "authorization: Bearer op\r\n";
    let scraper = "authorization: Bearer scraper\r\n";
    for (access, asked) in [
        (MetricsAccess::Local, [("", 200), (operator, 200), ("x-forwarded-for: 10.0.0.1\r\n", 401)]),
        (MetricsAccess::Token, [("", 401), (scraper, 200), ("authorization: Bearer me\r\n", 403)]),
        (MetricsAccess::Open, [("", 200), ("authorization: Bearer wrong\r\n", 200), ("via: x\r\n", 200)]),
        (MetricsAccess::Off, [("", 404), (operator, 404), (scraper, 404)]),
    ] {
        let running = start_at("127.0.0.1:0", with(access), Always::default()).await;
        for (more, status) in asked {
            let answer = running.ask(&asks("GET", "/metrics", more)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{access} {more:?}: {answer}");
            assert_eq!(answer.contains("\nanswer 42\n"), status == 200, "{answer}");
            assert_eq!(answer.ends_with("# EOF\n"), status == 200, "{answer}");
            assert_eq!(answer.contains(CONTENT_TYPE), status == 200, "{answer}");
        }
        assert!(running.ask(&asks("POST", "/metrics", "")).await.starts_with("HTTP/1.1 405 "));
    }
}

#[tokio::test]
async fn the_listener_counts_requests_sockets_and_whom_it_refuses() {
    let running = start(Limits { connections: 1, ..Limits::default() }).await;
    let mut client = running.client().await;
    assert_echo(&mut client, "{}").await;
    connect(&running.url(), None, &Limits::default()).await.unwrap_err();
    running.ask(&get("/readyz")).await;
    running.ask(&get("/healthz")).await;
    running.ask(&asks("GET", "/api/status", "")).await;
    let page = running.ask(&get("/metrics")).await;
    for line in [
        "arcpd_http_requests_total{endpoint=\"arcp\"} 2",
        "arcpd_http_requests_total{endpoint=\"api\"} 1",
        "arcpd_http_requests_total{endpoint=\"readyz\"} 1",
        "arcpd_http_requests_total{endpoint=\"other\"} 1",
        "arcpd_http_requests_total{endpoint=\"metrics\"} 1",
        "arcpd_http_connections_refused_total 1",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let sockets = page.lines().find_map(|line| line.strip_prefix("arcpd_http_sockets ")).unwrap();
    // The client's and the one that asks; those before may not have been cleared away.
    assert!(sockets.parse::<usize>().unwrap() >= 2, "{page}");
}

#[tokio::test]
async fn a_body_of_the_limit_is_read_and_one_byte_more_is_refused() {
    let running = start(Limits::default()).await;
    let job = crate::wire::id::JobId::new(7, 7);
    for (bytes, status) in [(API_BODY_BYTES, "200 OK"), (API_BODY_BYTES + 1, "413 Payload Too Large")] {
        let reason = "x".repeat(bytes - r#"{"reason":""}"#.len());
        let more = format!("authorization: Bearer op\r\ncontent-length: {bytes}\r\n");
        let head = asks("POST", &format!("/api/jobs/{job}/cancel"), &more);
        let answer = running.ask(&format!("{head}{{\"reason\":\"{reason}\"}}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert_eq!(answer.ends_with(&format!("{{\"job_id\":\"{job}\"}}")), status == "200 OK", "{answer}");
    }
    let long = asks("GET", &format!("/api/{}", "x".repeat(HTTP_HEAD_BYTES)), "authorization: Bearer op\r\n");
    let answer = running.ask(&long).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn who_is_being_answered_when_the_daemon_stops_gets_the_answer() {
    let (tell, mut asked) = mpsc::unbounded_channel();
    let answer = Arc::new(tokio::sync::Notify::new());
    let operations = Always { asked: Some((tell, answer.clone())), ..Always::default() };
    let running = start_at("127.0.0.1:0", ListenerConfig::default(), operations).await;
    let mut socket = running.socket().await;
    socket.write_all(asks("GET", "/api/status", "authorization: Bearer op\r\n").as_bytes()).await.unwrap();
    assert_eq!(asked.recv().await, Some(Ask::Status));
    running.stop.cancel();
    running.serving.await.unwrap();
    running.tracker.close();
    assert_eq!(running.tracker.len(), 1, "it is still being answered");
    answer.notify_one();
    let answer = read_to_end(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("the store is on fire"), "{answer}");
    running.tracker.wait().await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_given_up() {
    let (tell, mut asked) = mpsc::unbounded_channel();
    let operations = Always { asked: Some((tell, Arc::default())), ..Always::default() };
    let limits = Limits { hello_timeout_ms: 500, ..Limits::default() };
    let config = ListenerConfig { limits, ..ListenerConfig::default() };
    let running = start_at("127.0.0.1:0", config, operations).await;
    assert_eq!(running.ask(&asks("GET", "/api/status", "authorization: Bearer op\r\n")).await, "");
    assert_eq!(asked.try_recv(), Ok(Ask::Status), "it was asked for");
}

#[tokio::test]
async fn origin_and_subprotocol_are_decided_on_the_wire() {
    let config =
        ListenerConfig { allowed_origins: vec!["https://ok.example".into()], ..ListenerConfig::default() };
    let running = start_at("127.0.0.1:0", config, Always::default()).await;
    let answer = running.ask(&offer("origin: https://evil.example\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

    let more = "origin: https://ok.example\r\nsec-websocket-protocol: x, arcp.v1\r\n\
                sec-websocket-extensions: permessage-deflate\r\n";
    let mut socket = running.socket().await;
    socket.write_all(offer(more).as_bytes()).await.unwrap();
    // An empty close frame follows at once, and is answered before the daemon closes.
    socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&[0x88, 0x00]), "{answer:?}");
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-protocol: arcp.v1\r\n"), "{head}");
    assert!(!head.contains("extensions"), "{head}");
}

#[tokio::test]
async fn garbage_and_half_requests_cost_only_their_sender() {
    let running = start(Limits { hello_timeout_ms: 100, ..Limits::default() }).await;
    let mut client = running.client().await;
    assert_echo(&mut client, "before").await;
    let answer = running.ask("\u{0}\u{1}\u{2}garbage\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    for head in ["", "GET /arcp HTTP/1.1\r\nhost: ", "POST / HTTP/1.1\r\ncontent-length: 100\r\n\r\nx"] {
        let answer = running.ask(head).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    assert_echo(&mut client, "after all their time has run out").await;
}

#[tokio::test]
async fn at_the_limit_of_connections_one_more_is_told_so_and_health_still_answers() {
    let running = start(Limits { connections: 1, ..Limits::default() }).await;
    let mut client = running.client().await;
    assert_echo(&mut client, "{}").await;
    let error = connect(&running.url(), None, &Limits::default()).await.unwrap_err().to_string();
    assert!(error.contains("HTTP 503") && error.contains("try again later"), "{error}");
    assert!(running.ask(&get("/healthz")).await.ends_with("ok\n"));

    client.1.close(CloseReason::Done).await;
    drop(client);
    running.tracker.close();
    running.tracker.wait().await;
    assert_echo(&mut running.client().await, "there is room again").await;
}

#[tokio::test]
async fn silent_sockets_beyond_the_spare_ones_are_closed_at_once() {
    let running = start(Limits { connections: 0, ..Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..SPARE_CONNECTIONS {
        silent.push(running.socket().await);
    }
    assert_eq!(read_to_end(&mut running.socket().await).await, "");
    for socket in &mut silent {
        socket.write_all(get("/healthz").as_bytes()).await.unwrap();
        assert!(read_to_end(socket).await.ends_with("ok\n"));
    }
}

#[tokio::test]
async fn stopping_ends_the_listener_and_leaves_conversations_to_their_owner() {
    let running = start(Limits { hello_timeout_ms: 3_600_000, ..Limits::default() }).await;
    let mut client = running.client().await;
    assert_echo(&mut client, "before").await;
    let mut silent = running.socket().await;
    // Whoever came after it has been answered, so it has been accepted.
    assert!(running.ask(&get("/healthz")).await.ends_with("ok\n"));
    running.stop.cancel();
    running.serving.await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    TcpStream::connect(running.address).await.unwrap_err();
    assert_echo(&mut client, "after").await;
    client.1.close(CloseReason::Done).await;
    running.tracker.close();
    running.tracker.wait().await;
}

#[tokio::test]
async fn tls_carries_the_same_and_a_stranger_is_told_what_is_missing() {
    let dir = tls::tests::self_signed();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let config = ListenerConfig {
        limits: Limits { hello_timeout_ms: 5_000, ..Limits::default() },
        tls: Some(tls::server_config(&cert, &key).unwrap()),
        ..ListenerConfig::default()
    };
    let mut running = start_at("127.0.0.1:0", config, Always::default()).await;
    let url = format!("wss://localhost:{}/arcp", running.address.port());
    let limits = Limits::default();
    let mut client = connect(&url, Some(&cert), &limits).await.unwrap().split();
    assert_echo(&mut client, "{}").await;
    assert!(running.infos.recv().await.unwrap().tls);

    let token = Token::new("op");
    let operator = client::Operator { url: &url, token: &token, ca: Some(&cert) };
    let answer: Result<CancelRecorded, _> =
        operator.post("/jobs/job_00000000000000000000000007/cancel", vec![]).await;
    assert_eq!(answer.unwrap().job_id, crate::wire::id::JobId::new(0, 7));
    let answer: Result<CancelRecorded, _> = client::Operator { ca: None, ..operator }.get("/status").await;
    assert!(matches!(answer.unwrap_err(), client::ApiError::Connect(_)), "its certificate is not trusted");

    let error = connect(&url, None, &limits).await.unwrap_err().to_string();
    let expected = "(a certificate of your own must be named as an extra CA file)";
    assert!(error.ends_with(expected) || error.starts_with("cannot load the trusted root"), "{error}");
    let plain = format!("ws://localhost:{}/arcp", running.address.port());
    let error = connect(&plain, None, &limits).await.unwrap_err().to_string();
    assert!(error.ends_with("(is it wss:// instead of ws://?)"), "{error}");

    client.1.close(CloseReason::Done).await;
    assert!(matches!(client.0.receive().await, Err(Ended::Closed)));
    running.tracker.close();
    running.tracker.wait().await;
}

#[tokio::test]
async fn a_tls_handshake_that_does_not_come_is_given_up() {
    let dir = tls::tests::self_signed();
    let config = ListenerConfig {
        limits: Limits { hello_timeout_ms: 50, ..Limits::default() },
        tls: Some(tls::server_config(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap()),
        ..ListenerConfig::default()
    };
    let running = start_at("127.0.0.1:0", config, Always::default()).await;
    assert_eq!(read_to_end(&mut running.socket().await).await, "");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = start(Limits::default()).await;
    let error = Listener::bind(running.address, ListenerConfig::default()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", running.address)), "{error}");
}

#[test]
fn only_errors_of_one_client_are_passed_over_without_a_pause() {
    assert!(concerns_one_client(&io::ErrorKind::ConnectionAborted.into()));
    // EMFILE and ENFILE: every further accept() fails until something is closed.
    assert!(!concerns_one_client(&io::Error::from_raw_os_error(24)));
    assert!(!concerns_one_client(&io::Error::from_raw_os_error(23)));
}
