//! The client's subscriptions by filter: whatever happens in the jobs of its principal, each event in an envelope.
//!
//! They are told of jobs: of their acceptance, start, events and end. One follow of the daemon's serves all of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::frame::{Frame, copy};
use super::words::Word;
use crate::wire::envelope::Head;

/// Which events; a list that is empty asks for nothing in particular.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    session_id: Vec<String>,
    #[serde(default)]
    trace_id: Vec<String>,
    #[serde(default)]
    job_id: Vec<String>,
    #[serde(default)]
    stream_id: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    min_priority: Priority,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Priority {
    #[default]
    Low,
    Normal,
    High,
    Critical,
}

/// Names in one list of a filter, and characters in one of them: a filter is compared with every event.
const FILTER_NAMES: usize = 64;
const FILTER_CHARS: usize = 128;

impl Filter {
    /// Whether it is as small as a filter has to be.
    pub(super) fn check(&self) -> Result<(), String> {
        let Filter { session_id, trace_id, job_id, stream_id, types, min_priority: _ } = self;
        for (name, list) in [
            ("session_id", session_id),
            ("trace_id", trace_id),
            ("job_id", job_id),
            ("stream_id", stream_id),
            ("types", types),
        ] {
            if list.len() > FILTER_NAMES || list.iter().any(|text| text.chars().count() > FILTER_CHARS) {
                let got = list.len();
                return Err(format!(
                    "payload.filter.{name}: expected at most {FILTER_NAMES} texts of {FILTER_CHARS} characters, got {got}"
                ));
            }
        }
        Ok(())
    }

    /// The sessions that it names.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &str> {
        self.session_id.iter().map(String::as_str)
    }

    /// Whether an event is asked for; `own` says whether the connection's session began its job.
    fn admits(&self, head: &Head, word: Word, own: bool) -> bool {
        let named = |list: &[String], name: Option<String>| {
            list.is_empty() || name.is_some_and(|name| list.contains(&name))
        };
        named(&self.session_id, own.then(|| head.session_id.to_string()))
            && named(&self.trace_id, head.trace_id.map(|trace| trace.to_string()))
            && named(&self.job_id, head.job_id.map(|job| job.to_string()))
            && named(&self.types, Some(word.as_str().into()))
            // There are no streams, and everything is of the priority that goes without saying.
            && self.stream_id.is_empty()
            && self.min_priority <= Priority::Normal
    }
}

#[derive(Debug)]
struct Subscription {
    id: String,
    filter: Filter,
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    live: Vec<Subscription>,
    /// The request with which the daemon began to follow the principal for them.
    follow: Option<String>,
}

impl Subscriptions {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether they depend on the follow of this request.
    pub(super) fn depend_on(&self, request: &str) -> bool {
        self.follow.as_deref() == Some(request)
    }

    /// Nothing is followed for them any more.
    pub(super) fn unfollow(&mut self) {
        self.follow = None;
    }

    /// A request's subscription is accepted; returns its id, which is made of the answer's.
    pub(super) fn begin(&mut self, head: &Head, filter: Filter, request: &str) -> String {
        self.follow.get_or_insert_with(|| request.into());
        let id = format!("sub_{}", head.id.0);
        self.live.push(Subscription { id: id.clone(), filter });
        id
    }

    /// A subscription is given up. Says whether there was one of this id.
    pub(super) fn end(&mut self, id: &str) -> bool {
        let before = self.live.len();
        self.live.retain(|subscription| subscription.id != id);
        self.live.len() < before
    }

    /// All of them end, and this is why.
    pub(super) fn close(&mut self, head: &Head, code: Code, reason: &str) -> Vec<Bytes> {
        #[derive(Serialize)]
        struct Closed<'a> {
            subscription_id: &'a str,
            code: Code,
            reason: &'a str,
        }
        self.follow = None;
        let closed = self.live.drain(..).enumerate().map(|(n, Subscription { id, .. })| {
            let payload = Closed { subscription_id: &id, code, reason };
            Frame::new(Word::SubscribeClosed, &copy(head, n), payload).of(&id).bytes()
        });
        closed.collect()
    }

    /// Tells whoever asked for it of something that happened in a job; `own` is the request that began it here.
    pub(super) fn tell<P: Serialize>(
        &self,
        head: &Head,
        word: Word,
        payload: &P,
        own: Option<&str>,
        frames: &mut Vec<Bytes>,
    ) {
        #[derive(Serialize)]
        struct Event<'a, P: Serialize> {
            event: &'a Frame<'a, &'a P>,
        }
        let event = Frame::new(word, head, payload).answering(own);
        // The session of somebody else's job is not known here.
        let event = if own.is_some() { event } else { event.outside() };
        let asked = self.live.iter().filter(|known| known.filter.admits(head, word, own.is_some()));
        for Subscription { id, .. } in asked {
            let outer = copy(head, frames.len() + 1);
            let outer =
                Frame::new(Word::SubscribeEvent, &Head { job_id: None, ..outer }, Event { event: &event });
            frames.push(outer.of(id).bytes());
        }
    }
}
