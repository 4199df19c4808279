//! One session (§6): its identity, features, tokens, and the stream that belongs to it.
//!
//! A session outlives its connections. Each connection is a generation; whatever an older one still says or hears
//! no longer counts.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::stream::Stream;
use crate::wire::error::ErrorBody;
use crate::wire::feature::FeatureSet;
use crate::wire::id::SessionId;
use crate::wire::job::JobStatus;
use crate::wire::limits::Limits;
use crate::wire::message::{Request, RequestKind};
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// A SHA-256 of a token: all that is kept of one.
pub type TokenHash = [u8; 32];

/// Tokens of welcomes that may not have arrived, at most. More of them than connections that a client begins at a time.
const OLDER_TOKENS: usize = 4;

/// Counts the connections that a session has had.
pub type Generation = u64;

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whom it belongs to.
    pub principal: Principal,
    /// The effective features, fixed at the first welcome (§6.2).
    pub features: FeatureSet,
    /// Its numbered stream.
    pub stream: Stream,
    /// Whether it was told of its lag since it last caught up.
    pub signalled: bool,
    current: TokenHash,
    /// Those that are good beside the current one until it is heard of, the likeliest first.
    older: Vec<TokenHash>,
    generation: Generation,
    detached_at: Option<Timestamp>,
    closed: bool,
    over: bool,
    recent: VecDeque<u64>,
}

impl Session {
    /// A session whose first connection, generation 1, has been welcomed with the token of this hash.
    pub fn new(id: SessionId, principal: Principal, features: FeatureSet, token: TokenHash) -> Self {
        Session {
            id,
            principal,
            features,
            stream: Stream::default(),
            signalled: false,
            current: token,
            older: Vec::new(),
            generation: 1,
            detached_at: None,
            closed: false,
            over: false,
            recent: VecDeque::new(),
        }
    }

    /// This session as one of before the daemon was started again, which waits for its client from now on: `older` are
    /// the tokens before the newest that still resume it, and `closed` says whether its client has said goodbye.
    pub fn restored(self, older: &[TokenHash], stream: Stream, closed: bool, now: Timestamp) -> Self {
        Session { stream, older: older.to_vec(), closed, detached_at: Some(now), ..self }
    }

    /// The connection that counts.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The tokens that resume this session: the newest, and those before until the newest is known to have arrived.
    pub fn tokens(&self) -> impl Iterator<Item = TokenHash> {
        std::iter::once(self.current).chain(self.older.iter().copied())
    }

    /// Resumes the session with one of its [`tokens`](Self::tokens). The newest is replaced, and stays good like the one
    /// presented until the first frame arrives on the new connection (our decision 1): of two connections that a client
    /// began, the one that it gave up may be the last to be served. Returns which connection it is and the tokens that
    /// are void now. None when the token is not, or no longer, one of them, or the session is over; then nothing has
    /// changed.
    pub fn resume(&mut self, presented: TokenHash, next: TokenHash) -> Option<(Generation, Vec<TokenHash>)> {
        if self.over || !self.tokens().any(|token| token == presented) {
            return None;
        }
        let others: Vec<TokenHash> = self.tokens().filter(|token| *token != presented).collect();
        self.older = std::iter::once(presented).chain(others).collect();
        let void = self.older.split_off(self.older.len().min(OLDER_TOKENS));
        self.current = next;
        self.detached_at = None;
        self.closed = false;
        self.recent.clear();
        self.generation += 1;
        Some((self.generation, void))
    }

    /// A frame arrived on the newest connection: its welcome has arrived, so the older tokens are void. Returns them.
    pub fn heard(&mut self) -> Vec<TokenHash> {
        std::mem::take(&mut self.older)
    }

    /// A connection is gone. An older one changes nothing.
    pub fn detach(&mut self, generation: Generation, now: Timestamp) {
        if generation == self.generation {
            self.detached_at = Some(now);
        }
    }

    /// Ends the session if it has been without a connection for its whole window. Says whether it is over: from then
    /// on it cannot be resumed.
    pub fn expire(&mut self, window: Duration, now: Timestamp) -> bool {
        self.over |= self.detached_at.is_some_and(|at| now.since(at) >= window);
        self.over
    }

    /// Its client has said goodbye. It can be resumed all the same (§6.7).
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether its client has said goodbye and not come back.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Whether it has a connection.
    pub fn connected(&self) -> bool {
        self.detached_at.is_none()
    }

    /// When its connection was lost, where it has none.
    pub fn detached_at(&self) -> Option<Timestamp> {
        self.detached_at
    }

    /// Checks what every request must fulfil before it is looked at (§6.2, §5).
    ///
    /// # Errors
    /// `INVALID_REQUEST` for another session's id, a second hello, a feature that was not negotiated, an id that
    /// was used before.
    pub fn admit(&mut self, request: &Request, limits: &Limits) -> Result<(), ErrorBody> {
        if let Some(named) = &request.session_id
            && *named != self.id.to_string()
        {
            return Err(ErrorBody::invalid(format!(
                "session_id: this connection is {}, got {named}",
                self.id
            )));
        }
        let kind = request.message.kind();
        if matches!(kind, RequestKind::Hello | RequestKind::Resume) {
            return Err(ErrorBody::invalid(
                "type: the session is open; a second hello or resume needs its own connection",
            ));
        }
        if let Some(feature) = kind.feature()
            && !self.features.has(feature)
        {
            let kind = kind.as_str();
            let message = format!("type: {kind} needs the feature {feature}, which was not negotiated");
            return Err(ErrorBody::invalid(message).with("feature", feature.as_str()));
        }
        if matches!(kind, RequestKind::Ping | RequestKind::Pong | RequestKind::Ack) {
            return Ok(());
        }
        let mut hash = DefaultHasher::new();
        request.id.hash(&mut hash);
        let hash = hash.finish();
        if self.recent.contains(&hash) {
            return Err(ErrorBody::invalid(format!(
                "id: {:?} was used before; every message needs its own",
                request.id
            )));
        }
        if self.recent.len() >= limits.duplicate_window {
            self.recent.pop_front();
        }
        self.recent.push_back(hash);
        Ok(())
    }
}

/// Where a repeated submit leads its session (our decision 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reattach {
    /// The session is new to the job: its history from the beginning.
    FromStart,
    /// It follows the job already: nothing but the authority changes.
    Follows,
    /// It has seen the job's end: that end once more, under a new number.
    RepeatEnd,
}

/// Decides where a repeated submit leads its session.
pub fn reattach(attachment: Option<super::stream::Attachment>, status: JobStatus) -> Reattach {
    match attachment {
        None => Reattach::FromStart,
        Some(attachment) if attachment.done && status.is_terminal() => Reattach::RepeatEnd,
        Some(_) => Reattach::Follows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode::client_frame;
    use crate::wire::feature::Feature;

    fn session() -> Session {
        let features = FeatureSet::EMPTY.and(Feature::Ack);
        Session::new(SessionId::new(1, 1), "alice".parse().unwrap(), features, [1; 32])
    }

    fn token(n: u8) -> TokenHash {
        [n; 32]
    }

    #[test]
    fn older_tokens_are_good_until_the_new_connection_speaks() {
        let mut session = session();
        assert_eq!(session.resume(token(1), token(2)), Some((2, vec![])));
        assert_eq!(session.tokens().collect::<Vec<_>>(), [token(2), token(1)]);
        assert_eq!(
            session.resume(token(1), token(3)),
            Some((3, vec![])),
            "the welcome with token 2 was lost"
        );
        assert_eq!(
            session.resume(token(2), token(4)),
            Some((4, vec![])),
            "or was not, and its client goes on"
        );
        assert_eq!(session.tokens().collect::<Vec<_>>(), [token(4), token(2), token(3), token(1)]);
        assert_eq!(session.heard(), [token(2), token(3), token(1)]);
        assert_eq!(session.tokens().collect::<Vec<_>>(), [token(4)]);
        assert_eq!(session.resume(token(2), token(5)), None, "a token that was superseded");
        assert_eq!(session.heard(), Vec::<TokenHash>::new());
    }

    #[test]
    fn no_more_than_a_few_older_tokens_are_good_and_the_one_that_is_used_stays() {
        let mut session = session();
        let mut void = Vec::new();
        for n in 0..7 {
            void.extend(session.resume(token(1), token(2 + n)).unwrap().1);
        }
        assert_eq!(void, [token(2), token(3), token(4)], "the oldest of those that were not used");
        assert!(session.tokens().any(|kept| kept == token(1)));
        assert_eq!(session.tokens().count(), OLDER_TOKENS + 1);
    }

    #[test]
    fn a_connection_that_was_taken_over_cannot_detach_the_session() {
        let mut session = session();
        session.resume(token(1), token(2));
        let window = Duration::from_secs(1);
        session.detach(1, Timestamp::default());
        assert!(session.connected());
        session.detach(2, Timestamp::default());
        assert!(!session.expire(window, Timestamp::from_micros(999_999)));
        assert!(session.expire(window, Timestamp::from_micros(1_000_000)));
        assert_eq!(
            session.resume(token(2), token(3)),
            None,
            "who is over is not resumed by whoever comes at that moment"
        );
    }

    #[test]
    fn requests_are_admitted_once_and_only_within_what_was_negotiated() {
        let mut session = session();
        let mut admit = |id: &str, kind: &str, payload: &str, session_id: &str| {
            let frame = format!(
                r#"{{"arcp":"1.1","id":"{id}","type":"{kind}","session_id":"{session_id}","payload":{payload}}}"#
            );
            let request = client_frame(frame.as_bytes(), &Limits::default()).unwrap();
            session.admit(&request, &Limits::default()).map_err(|e| e.message)
        };
        let own = SessionId::new(1, 1).to_string();
        assert_eq!(admit("a", "job.submit", r#"{"agent":"echo"}"#, &own), Ok(()));
        assert!(admit("a", "job.submit", r#"{"agent":"echo"}"#, &own).unwrap_err().contains("used before"));
        assert_eq!(admit("b", "session.ack", r#"{"last_processed_seq":0}"#, &own), Ok(()));
        assert!(admit("c", "session.list_jobs", "{}", &own).unwrap_err().contains("list_jobs"));
        assert!(admit("d", "session.hello", "{}", &own).unwrap_err().contains("second hello"));
        assert!(
            admit("e", "job.submit", r#"{"agent":"echo"}"#, "sess_x").unwrap_err().contains("session_id")
        );
    }
}
