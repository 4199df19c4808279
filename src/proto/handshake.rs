//! The first frame of a connection (§6.1–6.3): what it asks for.

use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::feature::FeatureSet;
use crate::wire::message::{ClientMessage, Request};
use crate::wire::session::{Auth, Hello, Resume, ResumeRequest, Software};

/// What a first frame asks for.
#[derive(Debug, Clone)]
pub enum Opening {
    /// A new session.
    New {
        /// The proof of identity, where there is one.
        auth: Option<Auth>,
        /// Who the client says it is.
        client: Option<Software>,
        /// The effective features: theirs and ours.
        features: FeatureSet,
    },
    /// An old session.
    Resume {
        /// Where it is to go on.
        resume: Resume,
        /// The proof of identity; not needed beside the resume token, but checked where given.
        auth: Option<Auth>,
    },
}

/// Reads the first frame.
///
/// # Errors
/// `INVALID_REQUEST` when it is neither a hello nor a resume.
pub fn open(first: Request) -> Result<Opening, ErrorBody> {
    match first.message {
        ClientMessage::Hello(Hello { resume: Some(resume), auth, .. }) => {
            Ok(Opening::Resume { resume, auth })
        }
        ClientMessage::Hello(Hello { auth, client, capabilities, resume: None, .. }) => {
            let features = FeatureSet::from_flags(&capabilities.features).intersect(FeatureSet::OFFERED);
            Ok(Opening::New { auth, client, features })
        }
        ClientMessage::Resume(ResumeRequest { resume_token, last_event_seq, session_id, auth }) => {
            Ok(Opening::Resume { resume: Resume { resume_token, last_event_seq, session_id }, auth })
        }
        ClientMessage::Ping(_)
        | ClientMessage::Pong(_)
        | ClientMessage::Ack(_)
        | ClientMessage::ListJobs(_)
        | ClientMessage::Close(_)
        | ClientMessage::Submit(_)
        | ClientMessage::Cancel(_)
        | ClientMessage::Subscribe(_)
        | ClientMessage::Unsubscribe(_)
        | ClientMessage::Follow(_)
        | ClientMessage::Unfollow(_) => Err(not_an_opening()),
    }
}

/// The answer to a connection that begins with something else.
pub fn not_an_opening() -> ErrorBody {
    ErrorBody::invalid(
        "type: a connection begins with session.hello or session.resume; nothing else is read before",
    )
}

/// The one answer to every token that cannot be resumed with: unknown, superseded, foreign or too old.
pub fn cannot_resume() -> ErrorBody {
    ErrorBody::new(
        ErrorCode::ResumeWindowExpired,
        "this session can no longer be resumed; open a new one, list your jobs and subscribe to them with history",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode::client_frame;
    use crate::wire::feature::Feature;
    use crate::wire::limits::Limits;

    fn opening(kind: &str, payload: &str) -> Result<Opening, ErrorBody> {
        let frame = format!(r#"{{"arcp":"1.1","id":"a","type":"{kind}","payload":{payload}}}"#);
        open(client_frame(frame.as_bytes(), &Limits::default()).unwrap())
    }

    #[test]
    fn a_first_frame_is_a_hello_or_a_resume() {
        let auth = r#""auth":{"scheme":"bearer","token":"t"}"#;
        let hello = format!(r#"{{{auth},"capabilities":{{"features":["ack","cost.budget","nonsense"]}}}}"#);
        let Ok(Opening::New { features, .. }) = opening("session.hello", &hello) else { panic!() };
        assert_eq!(features, FeatureSet::EMPTY.and(Feature::Ack), "only what both sides can do");
        assert!(matches!(opening("session.hello", "{}"), Ok(Opening::New { auth: None, .. })));
        let resume = format!(r#"{{{auth},"resume":{{"resume_token":"r","last_event_seq":4}}}}"#);
        assert!(matches!(opening("session.hello", &resume), Ok(Opening::Resume { auth: Some(_), .. })));
        assert!(matches!(
            opening("session.resume", r#"{"resume_token":"r"}"#),
            Ok(Opening::Resume { auth: None, .. })
        ));
        assert_eq!(opening("job.submit", r#"{"agent":"echo"}"#).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
