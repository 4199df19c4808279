//! Whatever a dialect writes is one JSON object with the envelope fields that everybody needs.
//!
//! Data: a few choices; then a text that serves as first frame, as message of a runtime and as payload.

use arcpd::wire::agent_ref::AgentRef;
use arcpd::wire::decode::server_frame;
use arcpd::wire::dialect::{Choice, Dialect, detect};
use arcpd::wire::envelope::Head;
use arcpd::wire::error::{ErrorBody, ErrorCode};
use arcpd::wire::extension::Following;
use arcpd::wire::id::{JobId, MessageId, SessionId};
use arcpd::wire::job::Accepted;
use arcpd::wire::lease::Lease;
use arcpd::wire::limits::Limits;
use arcpd::wire::message::{Refused, RequestKind, ServerMessage, StreamKind};
use arcpd::wire::time::Timestamp;
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::input::Input;

const KINDS: [RequestKind; 14] = [
    RequestKind::Hello,
    RequestKind::Resume,
    RequestKind::Ping,
    RequestKind::Pong,
    RequestKind::Ack,
    RequestKind::ListJobs,
    RequestKind::Close,
    RequestKind::Submit,
    RequestKind::Cancel,
    RequestKind::Subscribe,
    RequestKind::Unsubscribe,
    RequestKind::Follow,
    RequestKind::Unfollow,
    RequestKind::Unknown,
];

pub fn check(data: &[u8]) {
    let limits = Limits::default();
    let mut input = Input(data);
    let head = head(&mut input);
    let kind = KINDS[input.below(KINDS.len())];
    let code = ErrorCode::ALL[input.below(ErrorCode::ALL.len())];
    let text = input.rest();
    let found = detect(text);
    assert_eq!(found.name(), detect(text).name());
    let chosen = Choice::all().map(|choice| choice.open(text));
    let shown = String::from_utf8_lossy(text).into_owned();
    let refused = ServerMessage::Refused(Refused {
        kind,
        request_id: (!shown.is_empty()).then(|| shown.clone()),
        error: ErrorBody::new(code, shown.clone()).with("fact", shown.clone()),
        job_id: (!shown.is_empty()).then(|| shown.clone()),
        agent: std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
        trace_id: head.trace_id,
        at: Timestamp::from_micros(i64::try_from(head.event_seq.unwrap_or(0)).unwrap_or(i64::MIN)),
    });
    let reply = server_frame(text, &limits).ok().and_then(|reply| reply.message);
    for dialect in chosen.chain([found]) {
        let dialect = &*dialect;
        if let Ok(Some(request)) = dialect.read(text, &limits) {
            // Some write of other sessions' jobs only what was subscribed to.
            let request_id = request.id;
            let following = Following { reply_to: request_id.clone(), request_id };
            for frame in &dialect.message(&head, &ServerMessage::Following(following)).frames {
                envelope(dialect, frame, &head, None);
            }
        }
        if let Some(job) = head.job_id {
            // Some write of a job only what happens in it once it is theirs.
            let accepted = ServerMessage::Accepted(accepted(job, &head));
            for frame in &dialect.message(&head, &accepted).frames {
                envelope(dialect, frame, &head, None);
            }
        }
        for message in [Some(&refused), reply.as_ref()].into_iter().flatten() {
            let encoded = dialect.message(&head, message);
            for frame in encoded.frames.iter().chain(&encoded.later) {
                envelope(dialect, frame, &head, None);
            }
        }
        stream(dialect, &head, text);
    }
}

fn accepted(job_id: JobId, head: &Head) -> Accepted {
    Accepted {
        job_id,
        request_id: head.id.to_string(),
        reply_to: head.id.to_string(),
        agent: AgentRef { name: "echo".into(), version: None },
        lease: Lease::default(),
        lease_constraints: None,
        accepted_at: head.at,
        trace_id: head.trace_id,
        repeated: false,
    }
}

fn head(input: &mut Input<'_>) -> Head {
    let choice = input.byte();
    Head {
        id: MessageId::new(input.number(), u128::from(input.number())),
        session_id: SessionId::new(1, u128::from(choice)),
        job_id: (choice & 1 == 1).then(|| JobId::new(input.number(), 7)),
        trace_id: (choice & 2 == 2).then(|| format!("{:032x}", 1 + u128::from(choice)).parse().unwrap()),
        event_seq: (choice & 4 == 4).then(|| input.number()),
        at: Timestamp::from_micros(0),
    }
}

fn stream(dialect: &dyn Dialect, head: &Head, text: &[u8]) {
    if serde_json::from_slice::<&RawValue>(text).is_err() {
        return;
    }
    let payload = Bytes::copy_from_slice(text);
    for kind in [StreamKind::Event, StreamKind::Result, StreamKind::Error] {
        let mut frames = Vec::new();
        dialect.stream(kind, head, &payload, &mut frames);
        for frame in &frames {
            envelope(dialect, frame, head, head.event_seq);
        }
    }
}

fn envelope(dialect: &dyn Dialect, frame: &[u8], head: &Head, event_seq: Option<u64>) {
    // Numbers that no f64 holds pass through; a plain parse would refuse them.
    let fields: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_slice(frame).unwrap_or_else(|e| {
            panic!("{} wrote no JSON object: {e}: {}", dialect.name(), String::from_utf8_lossy(frame))
        });
    let field = |name: &str| fields.get(name).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    assert_eq!(field("arcp"), Some("1.1".into()));
    // One client is told of a refused handshake without a session, since there is none.
    let rejected = field("type") == Some("session.rejected".into());
    assert_eq!(field("session_id"), (!rejected).then(|| head.session_id.to_string().into()));
    assert!(field("id").is_some_and(|id| id.as_str().is_some_and(|id| !id.is_empty())));
    assert!(field("type").is_some_and(|kind| kind.as_str().is_some_and(|kind| !kind.is_empty())));
    assert!(fields.contains_key("payload"));
    if let Some(event_seq) = event_seq {
        assert_eq!(field("event_seq"), Some(event_seq.into()));
    }
}
