//! The dialect edge: the one place that knows that published clients differ.
//!
//! A dialect is chosen per connection from its first frame, unless the client's address or token names one. What
//! clients *send* is accepted in every form from everybody (see [`super::decode`]); a dialect changes only what is
//! *written*, and only where a client could not live with the canonical superset. One published client speaks other
//! words altogether, and is read by its dialect too. Nothing behind the edge knows that dialects exist.

mod first;
mod go;
mod java;
mod open;
mod python;
mod refusal;
mod ruby;
mod rust2;
mod spec;
mod typescript;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::first::First;
use super::decode::{self, Beginning, Undecodable};
use super::encode;
use super::envelope::Head;
use super::id::JobId;
use super::limits::Limits;
use super::message::{Request, RequestKind, ServerMessage, StreamKind};

/// What one message becomes on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The frames, in order; none where the client is better off without an answer.
    pub frames: Vec<Bytes>,
    /// How long the client needs before it gets what follows: events, and `later`. Other answers need not wait.
    pub pause: Duration,
    /// Frames that have to wait for the pause as well.
    pub later: Vec<Bytes>,
}

impl From<Bytes> for Encoded {
    fn from(frame: Bytes) -> Self {
        Encoded { frames: vec![frame], ..Encoded::default() }
    }
}

/// How one connection's client is read and written.
pub trait Dialect: Send + Sync {
    /// Its name, for logs and listings.
    fn name(&self) -> &'static str;

    /// Reads a frame; none where it asks nothing of the daemon.
    ///
    /// # Errors
    /// [`Undecodable`] with `INVALID_REQUEST`, and the request's id where it has one.
    fn read(&self, frame: &[u8], limits: &Limits) -> Result<Option<Request>, Box<Undecodable>> {
        decode::client_frame(frame, limits).map(Some)
    }

    /// The kind of request that a type stands for.
    fn kind(&self, word: &str) -> RequestKind {
        RequestKind::parse(word)
    }

    /// What can be said of a frame of which only the beginning is there, or makes sense: its kind and its id.
    fn beginning(&self, frame: &[u8]) -> (RequestKind, Option<String>) {
        let Beginning { id, kind } = decode::beginning(frame);
        (self.kind(&kind), id)
    }

    /// Writes a message outside the numbered stream.
    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        encode::server_frame(head, message).into()
    }

    /// Writes a message of the numbered stream behind the frames that are there; `payload` is its canonical JSON.
    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        frames.push(encode::stream_frame(kind, head, payload));
    }
}

/// The specification's own encoding.
pub fn canonical() -> Arc<dyn Dialect> {
    Arc::new(spec::Spec)
}

/// The dialect of the client that sent this first frame.
pub fn detect(frame: &[u8]) -> Arc<dyn Dialect> {
    let first = First::read(frame);
    let rows = ROWS.iter().find(|row| (row.wrote)(&first));
    rows.map_or_else(canonical, |row| (row.open)(&first))
}

/// One dialect: how its client is known, and what serves it.
struct Row {
    name: &'static str,
    wrote: fn(&First) -> bool,
    open: fn(&First) -> Arc<dyn Dialect>,
}

/// In the order in which a first frame is compared with them.
const ROWS: &[Row] = &[
    Row { name: "rust2", wrote: rust2::wrote, open: |_| Arc::<rust2::Rust2>::default() },
    Row { name: "ruby", wrote: ruby::wrote, open: |first| Arc::new(ruby::Ruby::of(first)) },
    Row { name: "python", wrote: python::wrote, open: |_| Arc::<python::Python>::default() },
    Row { name: "java", wrote: java::wrote, open: |_| Arc::new(java::Java) },
    Row { name: "go", wrote: go::wrote, open: |_| Arc::new(go::Go) },
    Row { name: "typescript", wrote: typescript::wrote, open: |_| Arc::<typescript::TypeScript>::default() },
    Row { name: "spec", wrote: |_| true, open: |_| canonical() },
];

/// A job that never was, for clients that cannot be told of a refused submit otherwise: its id is made of the
/// envelope's, so it is fresh.
fn unheard_of(head: &Head) -> JobId {
    JobId(head.id.0)
}

/// A dialect by name, for whoever knows better than the first frame tells.
#[derive(Clone, Copy)]
pub struct Choice(&'static Row);

impl Choice {
    /// Every dialect there is.
    pub fn all() -> impl Iterator<Item = Choice> {
        ROWS.iter().map(Choice)
    }

    /// The dialect for the client that sent this first frame.
    pub fn open(self, frame: &[u8]) -> Arc<dyn Dialect> {
        (self.0.open)(&First::read(frame))
    }
}

/// A name that no dialect has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {known}, got {got:?}")]
pub struct NotADialect {
    known: String,
    got: String,
}

impl FromStr for Choice {
    type Err = NotADialect;
    fn from_str(name: &str) -> Result<Self, NotADialect> {
        let row = ROWS.iter().find(|row| row.name == name);
        row.map(Choice).ok_or_else(|| NotADialect {
            known: ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", "),
            got: name.chars().take(64).collect(),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Choice").field(&self.0.name).finish()
    }
}

impl PartialEq for Choice {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Choice {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_first_frame() {
        let hello = |id: &str, payload: &str, features: &str, rest: &str| {
            format!(
                r#"{{"arcp":"1.1","id":"{id}","type":"session.hello","payload":{{{payload},"auth":{{"scheme":"bearer","token":"t"}},"capabilities":{{"features":[{features}]{rest}}}}}}}"#
            )
        };
        let (ulid, prefixed) = ("01M7VVR1KPQ7K5P5YWZHSTZGRY", "msg_01M7VVTYVRCRVGC5YVXFXX5CXT");
        let (uuid, uuid_4) = ("01a1f7e0-2644-76bf-b475-32151bf48e71", "01a1f7e0-2644-46bf-b475-32151bf48e71");
        let (client, flat) = (r#""client":{"name":"c","version":"1"}"#, r#""client_name":"c""#);
        let (own, sorted) = (r#""heartbeat","ack","list_jobs""#, r#""ack","heartbeat","list_jobs""#);
        let chunks = r#","encodings":["utf8","base64"]"#;
        for (frame, name) in [
            (hello(ulid, client, own, r#","agents":[]"#), "python"),
            (hello(ulid, client, sorted, r#","agents":[]"#), "python"),
            (hello(ulid, client, sorted, ""), "java"),
            (hello(ulid, client, r#""ack","heartbeat""#, ""), "spec"),
            (hello(ulid, client, own, ""), "spec"),
            (hello(uuid, client, own, ""), "go"),
            (hello(uuid_4, client, own, ""), "spec"),
            (hello(uuid, flat, own, chunks), "ruby"),
            (hello(prefixed, client, own, ""), "typescript"),
            (hello(prefixed, client, sorted, r#","agents":[]"#), "typescript"),
            (hello("req_01M7VVTYVRCRVGC5YVXFXX5CXT", client, sorted, ""), "spec"),
            (hello("1", client, "7", ""), "spec"),
            (
                r#"{"arcp":"1.1","id":"msg_01M7VVTYVRCRVGC5YVXFXX5CXT","timestamp":"2026-11-20T07:34:35Z","type":"session.open","payload":{}}"#
                    .into(),
                "rust2",
            ),
            (r#"{"arcp":"1.1","id":"x","type":"session.open","payload":{}}"#.into(), "spec"),
            (
                r#"{"arcp":"1.1","id":"x","type":"session.resume","payload":{"resume_token":"t"}}"#.into(),
                "spec",
            ),
            ("not json".into(), "spec"),
        ] {
            assert_eq!(detect(frame.as_bytes()).name(), name, "{frame}");
        }
    }

    #[test]
    fn a_dialect_is_chosen_by_a_name_that_there_is() {
        for choice in Choice::all() {
            assert_eq!(choice.to_string().parse(), Ok(choice));
            assert_eq!(choice.open(b"{}").name(), choice.to_string());
        }
        let wrong = "perl".parse::<Choice>().unwrap_err().to_string();
        assert!(wrong.contains("python") && wrong.contains("perl"), "{wrong}");
    }
}
