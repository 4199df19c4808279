//! The Go client, module version 1.1.0 and the commits after it.
//!
//! Why each deviation is needed:
//! - it reads the result of a job from `output`, and nothing else. A small result stands there under both names, for a
//!   client of somebody's own that happens to number its frames like this one; a large one, doubled, would pass the
//!   frame's limit.
//! - it decodes progress into whole numbers.
//! - after `job.accepted` and `job.subscribed`: where the end of the job is there as soon as the answer, it chooses
//!   between the two by chance, and hands out no job.
//! - a repeated submit: where its session has a handle of that job already, it takes the acceptance for that one, and
//!   the submit waits for ever, with every other submit behind it. An error behind the acceptance, for the same
//!   request, ends the waiting; where the acceptance was taken, nobody looks for the error.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::first::{First, is_uuid_v7};
use super::{Dialect, Encoded};
use crate::wire::encode::{self, json};
use crate::wire::envelope::Head;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::job::{Accepted, JobResult};
use crate::wire::message::{ServerMessage, StreamKind};
use crate::wire::session::SessionError;

/// Inline results up to this size stand under both names.
const BOTH_NAMES_BYTES: usize = 256 * 1024;

/// How the canonical payload of progress begins.
const PROGRESS: &[u8] = br#"{"kind":"progress""#;

/// Measured need: of a thousand submits 61 got lost without a pause, one with 50 us, none with 200 us.
const PAUSE_BEFORE_A_JOB: Duration = Duration::from_millis(5);

/// Writes for the Go client.
pub(super) struct Go;

/// Whether this hello is the Go client's: its id is a UUID of version 7.
pub(super) fn wrote(first: &First) -> bool {
    first.is("session.hello") && first.payload("client").is_object() && is_uuid_v7(first.id())
}

impl Dialect for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn message(&self, head: &Head, message: &ServerMessage) -> Encoded {
        let mut encoded = Encoded::from(encode::server_frame(head, message));
        match message {
            ServerMessage::Accepted(accepted) => {
                if accepted.repeated {
                    encoded.later.push(known_already(head, accepted));
                }
                encoded.pause = PAUSE_BEFORE_A_JOB;
            }
            ServerMessage::Subscribed(_) => encoded.pause = PAUSE_BEFORE_A_JOB,
            ServerMessage::Welcome(_)
            | ServerMessage::Error(_)
            | ServerMessage::Refused(_)
            | ServerMessage::Ping(_)
            | ServerMessage::Pong(_)
            | ServerMessage::Jobs(_)
            | ServerMessage::Closed(_)
            | ServerMessage::Cancelled(_)
            | ServerMessage::Following(_)
            | ServerMessage::Event(_)
            | ServerMessage::Result(_)
            | ServerMessage::JobError(_) => {}
        }
        encoded
    }

    fn stream(&self, kind: StreamKind, head: &Head, payload: &Bytes, frames: &mut Vec<Bytes>) {
        frames.push(match kind {
            StreamKind::Result => encode::stream_frame(kind, head, &with_output(payload)),
            StreamKind::Event if payload.starts_with(PROGRESS) => {
                encode::stream_frame(kind, head, &in_whole_numbers(payload))
            }
            StreamKind::Event | StreamKind::Error => encode::stream_frame(kind, head, payload),
        });
    }
}

fn known_already(head: &Head, accepted: &Accepted) -> Bytes {
    let message = format!("{} has this key already in this session; go on with its handle", accepted.job_id);
    let error = ErrorBody::new(ErrorCode::DuplicateKey, message);
    let error = SessionError::new(error, Some(accepted.request_id.clone()));
    encode::server_frame(&Head { job_id: None, ..*head }, &ServerMessage::Error(error))
}

/// A canonical `job.result` whose inline result has the other name, too.
#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    rest: JobResult,
    output: Box<RawValue>,
}

fn with_output(payload: &Bytes) -> Bytes {
    let Ok(mut rest) = serde_json::from_slice::<JobResult>(payload) else { return payload.clone() };
    let Some(output) = rest.result.take() else { return payload.clone() };
    if output.get().len() <= BOTH_NAMES_BYTES {
        rest.result = Some(output.clone());
    }
    json(&Output { rest, output }).into()
}

/// Progress in whole numbers: what is done rounded down, what there is to do rounded up.
fn in_whole_numbers(payload: &Bytes) -> Bytes {
    let Ok(Value::Object(mut event)) = serde_json::from_slice(payload) else { return payload.clone() };
    let Some(Value::Object(body)) = event.get_mut("body") else { return payload.clone() };
    for (field, rounded) in [("current", f64::floor as fn(f64) -> f64), ("total", f64::ceil)] {
        if let Some(number) = body.get_mut(field).filter(|number| number.is_f64())
            && let Ok(whole) = format!("{}", rounded(number.as_f64().unwrap_or_default())).parse::<u64>()
        {
            *number = whole.into();
        }
    }
    json(&event).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_result_is_called_output_and_keeps_its_digits_and_a_large_one_is_not_doubled() {
        for (size, both) in [(0, true), (BOTH_NAMES_BYTES, false)] {
            let result = format!(r#"{{"n":1.10,"s":"{}"}}"#, "x".repeat(size));
            let canonical = Bytes::from(format!(
                r#"{{"job_id":"job_01M7VVR1MSW45PAYMV9W1729G1","final_status":"success","result":{result},"completed_at":"2026-11-20T06:54:19.220936Z"}}"#
            ));
            let written = String::from_utf8(with_output(&canonical).to_vec()).unwrap();
            assert!(written.contains(&format!(r#""output":{result}"#)));
            assert_eq!(written.contains(&format!(r#""result":{result}"#)), both);
        }
        let streamed = Bytes::from_static(
            br#"{"job_id":"job_01M7VVR1MSW45PAYMV9W1729G1","final_status":"success","result_id":"res_01M7VVR1MSW45PAYMV9W1729G1","result_size":3,"completed_at":"2026-11-20T06:54:19.220936Z"}"#,
        );
        assert_eq!(with_output(&streamed), streamed);
    }

    #[test]
    fn progress_is_told_in_whole_numbers() {
        let written = |body: &str| {
            let payload = Bytes::from(format!(r#"{{"kind":"progress","body":{body}}}"#));
            serde_json::from_slice::<Value>(&in_whole_numbers(&payload)).unwrap()["body"].to_string()
        };
        assert_eq!(written(r#"{"current":1.5,"total":2.5}"#), r#"{"current":1,"total":3}"#);
        assert_eq!(written(r#"{"current":50.0}"#), r#"{"current":50}"#);
        assert_eq!(written(r#"{"current":3,"total":4}"#), r#"{"current":3,"total":4}"#);
    }
}
