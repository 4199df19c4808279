//! WebSocket over pipes and sockets: frames, faults, pings, closes.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, join};

use super::*;

type Peer = WebSocketStream<TokioAdapter<DuplexStream>>;
type Halves<S> = (WebSocketReader<S>, WebSocketWriter<S>);

fn limits() -> Limits {
    Limits { frame_bytes: 1_024, ..Limits::default() }
}

/// The server's halves, and the client's end as raw bytes.
async fn raw() -> (DuplexStream, Halves<DuplexStream>) {
    let (client, server) = duplex(1 << 20);
    (client, WebSocketTransport::server(server, &limits()).await.split())
}

/// The server's halves, and a client that shows every message.
async fn peer() -> (Peer, Halves<DuplexStream>) {
    let (client, halves) = raw().await;
    (WebSocketStream::from_raw_socket(TokioAdapter::new(client), Role::Client, None).await, halves)
}

/// A client's frame under the mask 0, in raw bytes.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut bytes = vec![head];
    match u8::try_from(length) {
        Ok(short) if short < 126 => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn text(t: &'static str) -> Received {
    Received::Text(Bytes::from_static(t.as_bytes()))
}

#[tokio::test]
async fn text_goes_both_ways_and_a_binary_frame_costs_only_itself() {
    let (mut client, (mut reader, mut writer)) = peer().await;
    client.send(Message::text("{}")).await.unwrap();
    client.send(Message::binary(vec![1, 2])).await.unwrap();
    client.send(Message::text("[]")).await.unwrap();
    assert_eq!(reader.receive().await.unwrap(), text("{}"));
    assert_eq!(reader.receive().await.unwrap(), Received::Rejected(FrameFault::Binary));
    assert_eq!(reader.receive().await.unwrap(), text("[]"));
    writer.feed("{\"ok\":true}".into()).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("{\"ok\":true}"));
    let long = writer.feed("x".repeat(1_025).into()).await.unwrap_err();
    assert_eq!(long.to_string(), "expected to send a frame of at most 1024 bytes, got 1025");
    let binary = writer.feed(Bytes::from_static(b"\xff")).await.unwrap_err();
    assert_eq!(binary.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_ping_gets_its_pong_though_nobody_writes() {
    let (mut client, (mut reader, _writer)) = peer().await;
    let idle = tokio::spawn(async move { reader.receive().await.map(drop) });
    for ping in [&b"one"[..], b"two"] {
        client.send(Message::Ping(ping.into())).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(ping.into()));
    }
    assert!(!idle.is_finished());
    drop(client);
    assert!(matches!(idle.await.unwrap(), Err(Ended::Closed)));
}

#[tokio::test]
async fn the_limit_holds_for_frames_and_for_messages_in_fragments() {
    let (mut client, (mut reader, _writer)) = raw().await;
    client.write_all(&frame(0x81, &[b'x'; 1_024])).await.unwrap();
    client.write_all(&frame(0x01, &[b'x'; 1_000])).await.unwrap();
    client.write_all(&frame(0x80, &[b'x'; 24])).await.unwrap();
    for _ in 0..2 {
        assert_eq!(reader.receive().await.unwrap(), Received::Text(vec![b'x'; 1_024].into()));
    }
    for over in
        [frame(0x81, &[b'x'; 1_025]), [frame(0x01, &[b'x'; 1_000]), frame(0x80, &[b'x'; 25])].concat()]
    {
        let (mut client, (mut reader, _writer)) = raw().await;
        client.write_all(&over).await.unwrap();
        let ended = reader.receive().await.unwrap_err();
        assert!(matches!(ended, Ended::Fault(FrameFault::TooLong { max: 1_024, .. })), "{ended}");
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_stream_and_can_still_be_told() {
    let unmasked = vec![0x81, 0x01, b'x'];
    for bad in [frame(0x81, b"\xff"), frame(0xc1, b"{}"), frame(0x83, b""), frame(0x80, b"x"), unmasked] {
        let (mut client, (mut reader, mut writer)) = raw().await;
        client.write_all(&bad).await.unwrap();
        let ended = reader.receive().await.unwrap_err();
        let fault = match &ended {
            Ended::Fault(FrameFault::NotUtf8(_)) => bad[0] == 0x81,
            Ended::Fault(FrameFault::Protocol(_)) => true,
            Ended::Closed | Ended::Fault(_) | Ended::Broken(_) => false,
        };
        assert!(fault, "{bad:?}: {ended}");
        assert!(matches!(reader.receive().await, Err(Ended::Closed)), "it stays ended");
        let told = async {
            let mut told = Vec::new();
            client.read_to_end(&mut told).await.unwrap();
            drop(client);
            told
        };
        let (told, ()) = tokio::join!(told, writer.close(CloseReason::Policy));
        assert_eq!(told, b"\x88\x09\x03\xf0refused", "close code 1008");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_peer_that_closed() {
    let (mut client, (mut reader, mut writer)) = raw().await;
    client.write_all(&frame(0x81, b"{}")[..4]).await.unwrap();
    drop(client);
    assert!(matches!(reader.receive().await, Err(Ended::Closed)));
    assert_eq!(reader.close_notice(), None);
    writer.feed("x".into()).await.unwrap_err();
    writer.close(CloseReason::Done).await;
}

#[tokio::test]
async fn a_receive_dropped_between_pieces_loses_nothing() {
    let (mut client, (mut reader, _writer)) = raw().await;
    let bytes =
        [frame(0x01, b"{\"n\""), frame(0x89, b"ping"), frame(0x80, b":1}"), frame(0x81, b"[]")].concat();
    let (last, pieces) = bytes.split_last().unwrap();
    let mut got = Vec::new();
    for piece in pieces.chunks(1) {
        client.write_all(piece).await.unwrap();
        tokio::select! {
            biased;
            frame = reader.receive() => got.push(frame.unwrap()),
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(got, [text("{\"n\":1}")]);
    client.write_all(&[*last]).await.unwrap();
    assert_eq!(reader.receive().await.unwrap(), text("[]"));
}

#[tokio::test]
async fn every_close_reason_arrives_with_its_code_and_both_sides_end() {
    for &reason in CloseReason::ALL {
        let (client, (mut reader, mut writer)) = peer().await;
        let (mut client, _writer) = WebSocketTransport::new(client, &limits()).split();
        let waiting = tokio::spawn(async move { reader.receive().await.map(drop) });
        writer.feed("last words".into()).await.unwrap();
        let closing = tokio::spawn(async move { writer.close(reason).await });
        assert_eq!(client.receive().await.unwrap(), text("last words"));
        assert!(matches!(client.receive().await, Err(Ended::Closed)));
        assert_eq!(client.close_notice(), Some(reason.into()));
        closing.await.unwrap();
        assert!(matches!(waiting.await.unwrap(), Err(Ended::Closed)));
    }
}

#[tokio::test]
async fn a_peer_that_closes_gets_its_answer_without_a_writer() {
    let (mut client, (mut reader, mut writer)) = peer().await;
    let frame = CloseFrame { code: 4_321.into(), reason: "enough".into() };
    client.send(Message::Close(Some(frame.clone()))).await.unwrap();
    assert!(matches!(reader.receive().await, Err(Ended::Closed)));
    assert_eq!(reader.close_notice(), Some(CloseNotice { code: 4_321, text: "enough".to_owned() }));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(Some(frame)));
    writer.feed("too late".into()).await.unwrap_err();
    writer.close(CloseReason::Done).await;
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_thousand_frames_fed_and_flushed_once_arrive_in_order() {
    let (mut client, (_reader, mut writer)) = peer().await;
    for n in 0..1_000 {
        writer.feed(n.to_string().into()).await.unwrap();
    }
    writer.flush().await.unwrap();
    for n in 0..1_000 {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text(n.to_string()));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_makes_the_writer_wait_and_does_not_stop_the_reader() {
    // A pipe for each direction: the one to the client is narrow.
    let (mut to_server, from_client) = duplex(1 << 20);
    let (mut from_server, to_client) = duplex(64);
    let server = WebSocketTransport::server(join(from_client, to_client), &limits()).await;
    let (mut reader, mut writer) = server.split();
    // More pongs than there is room for, and nobody reads them.
    for _ in 0..1_000 {
        to_server.write_all(&frame(0x89, &[b'p'; 125])).await.unwrap();
    }
    to_server.write_all(&frame(0x81, b"{}")).await.unwrap();
    assert_eq!(reader.receive().await.unwrap(), text("{}"));
    tokio::select! {
        biased;
        _ = writer.feed(vec![b'x'; 1_024].into()) => panic!("the write buffer is not bounded"),
        () = std::future::ready(()) => {}
    }
    let mut seen = Vec::new();
    let fed = async {
        writer.feed(vec![b'y'; 1_024].into()).await.unwrap();
        writer.flush().await.unwrap();
        drop((reader, writer));
    };
    let (_, read) = tokio::join!(fed, from_server.read_to_end(&mut seen));
    read.unwrap();
    assert!(seen.ends_with(&[b'y'; 1_024]), "what was fed comes after the pongs");
    assert!(!seen.contains(&b'x'), "what was given up is not sent");
    let room = WRITE_BUFFER_BYTES + 2 * CONTROL_BUFFER_BYTES;
    assert!(seen.len() < room, "{} bytes were gathered for a peer that does not read", seen.len());
}

#[tokio::test]
async fn a_hostile_peer_cannot_hold_a_close_up() {
    let (client, (_reader, mut writer)) = raw().await;
    let (mut from_server, mut to_server) = tokio::io::split(client);
    let flood = tokio::spawn(async move {
        let bytes = frame(0x81, &[b'x'; 1_000]).repeat(100);
        while to_server.write_all(&bytes).await.is_ok() {}
    });
    writer.close(CloseReason::Policy).await;
    drop((writer, _reader));
    flood.await.unwrap();
    let mut told = Vec::new();
    from_server.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, b"\x88\x09\x03\xf0refused");
}
