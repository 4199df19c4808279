//! The dialect edge: the one place that knows that published clients differ.
//!
//! A dialect is chosen per connection from its first frame. What clients *send* is accepted in every form from
//! everybody (see [`super::decode`]); a dialect changes only what is *written*, and only where a client could
//! not live with the canonical superset. Nothing behind the edge knows that dialects exist.

mod python;
mod spec;

use std::time::Duration;

use bytes::Bytes;

use super::encode;
use super::envelope::Head;
use super::message::{ClientMessage, Request, ServerMessage, StreamKind};

/// What one message becomes on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The frames, in order; none where the client is better off without an answer.
    pub frames: Vec<Bytes>,
    /// How long the writer has to wait before it sends anything else.
    pub pause: Duration,
}

impl From<Bytes> for Encoded {
    fn from(frame: Bytes) -> Self {
        Encoded { frames: vec![frame], pause: Duration::ZERO }
    }
}

/// How messages are written for one sort of client.
pub trait Dialect: Send + Sync {
    /// Its name, for logs and listings.
    fn name(&self) -> &'static str;

    /// Writes a message outside the numbered stream.
    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        encode::server_frame(head, message).into()
    }

    /// Writes a message of the numbered stream; `payload` is its canonical JSON.
    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes) -> Bytes {
        encode::stream_frame(kind, head, payload)
    }
}

/// The specification's own encoding.
pub fn canonical() -> &'static dyn Dialect {
    &spec::Spec
}

/// The dialect of this name, for whoever knows better than its first frame tells.
pub fn named(name: &str) -> Option<&'static dyn Dialect> {
    let all: [&'static dyn Dialect; 2] = [&spec::Spec, &python::Python];
    all.into_iter().find(|dialect| dialect.name() == name)
}

/// The dialect of the client that sent this first frame.
pub fn detect(first: &Request, frame: &[u8]) -> &'static dyn Dialect {
    match &first.message {
        ClientMessage::Hello(hello) if hello.client.is_some() && python::wrote(&first.id, frame) => {
            &python::Python
        }
        ClientMessage::Hello(_)
        | ClientMessage::Resume(_)
        | ClientMessage::Ping(_)
        | ClientMessage::Pong(_)
        | ClientMessage::Ack(_)
        | ClientMessage::ListJobs(_)
        | ClientMessage::Close(_)
        | ClientMessage::Submit(_)
        | ClientMessage::Cancel(_)
        | ClientMessage::Subscribe(_)
        | ClientMessage::Unsubscribe(_) => canonical(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::client_frame;
    use super::super::limits::Limits;
    use super::*;

    #[test]
    fn a_client_is_known_by_its_first_frame() {
        let hello = |id: &str, capabilities: &str| {
            format!(
                r#"{{"arcp":"1.1","id":"{id}","type":"session.hello","payload":{{"client":{{"name":"c","version":"1"}},"auth":{{"scheme":"bearer","token":"t"}},"capabilities":{capabilities}}}}}"#
            )
        };
        let agents = r#"{"encodings":["json"],"features":["ack"],"agents":[]}"#;
        let plain = r#"{"features":["ack"],"encodings":["json"]}"#;
        for (frame, name) in [
            (hello("01M7VVR1KPQ7K5P5YWZHSTZGRY", agents), "python"),
            (hello("msg_01M7VVTYVRCRVGC5YVXFXX5CXT", plain), "spec"),
            (hello("msg_01M7VVTYVRCRVGC5YVXFXX5CXT", agents), "spec"),
            (hello("01M7VVR1KPQ7K5P5YWZHSTZGRY", plain), "spec"),
            (
                r#"{"arcp":"1.1","id":"x","type":"session.resume","payload":{"resume_token":"t"}}"#.into(),
                "spec",
            ),
        ] {
            let request = client_frame(frame.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(detect(&request, frame.as_bytes()).name(), name, "{frame}");
        }
    }
}
