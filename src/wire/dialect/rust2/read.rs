//! What the client says, in the specification's terms.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::State;
use super::asked::Question;
use super::capabilities::Capabilities;
use super::lease;
use super::status::statuses;
use super::subscriptions::Filter;
use super::words::{Word, is_message_id};
use crate::wire::agent_ref::AgentRef;
use crate::wire::decode::{self, Beginning, Undecodable};
use crate::wire::envelope::Envelope;
use crate::wire::error::ErrorBody;
use crate::wire::extension::{Follow, Unfollow};
use crate::wire::feature::Feature;
use crate::wire::job::{Cancel, Submit, Subscribe, Unsubscribe};
use crate::wire::limits::Limits;
use crate::wire::message::{ClientMessage, Request, RequestKind};
use crate::wire::session::{
    Auth, ClientCapabilities, Close, Hello, JobFilter, ListJobs, Ping, Software, StatusFilter, Token,
};
use crate::wire::time::Timestamp;

/// How long a client is asked to wait when it has too many subscriptions.
const RETRY_AFTER_MS: u64 = 1_000;

/// Why something cannot be read, and as what it is refused.
struct Refusal(RequestKind, ErrorBody);

/// For `map_err`: refused as a request of this kind.
fn as_a(kind: RequestKind) -> impl Fn(String) -> Refusal {
    move |message| Refusal(kind, ErrorBody::invalid(message))
}

/// Reads one frame.
pub(super) fn request(
    state: &mut State,
    frame: &[u8],
    limits: &Limits,
) -> Result<Option<Request>, Box<Undecodable>> {
    let envelope = decode::envelope(frame, limits).map_err(|message| {
        let Beginning { id, kind } = decode::beginning(frame);
        Undecodable::at(kind_of(&kind), id, &message)
    })?;
    let id = decode::text("id", envelope.id.as_deref())
        .and_then(|id| if is_message_id(id) { Ok(id) } else { Err("id: expected one like msg_01J…".into()) })
        .map_err(|message| Undecodable::at(RequestKind::Unknown, None, &message))?
        .to_owned();
    let read = decode::check_head(&envelope)
        .map_err(as_a(RequestKind::Unknown))
        .and_then(|()| message(state, &id, &envelope, frame, limits));
    match read {
        // Whatever cannot be read as a trace says nothing to anybody but its writer.
        Ok(Some(message)) => Ok(Some(Request {
            trace_id: envelope.trace_id.as_deref().and_then(|text| text.parse().ok()),
            session_id: envelope.session_id.map(Cow::into_owned),
            id,
            message,
        })),
        Ok(None) => Ok(None),
        Err(Refusal(kind, error)) => {
            let bad = Undecodable::at(kind, Some(id), &error.message);
            Err(Box::new(Undecodable { error: ErrorBody { message: bad.error.message, ..error }, ..*bad }))
        }
    }
}

fn message(
    state: &mut State,
    id: &str,
    envelope: &Envelope<'_>,
    frame: &[u8],
    limits: &Limits,
) -> Result<Option<ClientMessage>, Refusal> {
    let payload = envelope.payload.map_or("{}", RawValue::get);
    let kind = envelope.kind.as_deref().unwrap_or_default();
    let Some(word) = Word::parse(kind) else {
        let kind: String = kind.chars().take(64).collect();
        state.asked.note(id, Question::Unimplemented);
        return Err(as_a(RequestKind::Unknown)(format!("type: this runtime knows no message {kind:?}")));
    };
    Ok(Some(match asks(word) {
        Asks::Open => ClientMessage::Hello(open(state, id, payload)?),
        Asks::Close => {
            let Close { reason } = decode::typed(payload).map_err(as_a(RequestKind::Close))?;
            ClientMessage::Close(Close { reason: reason.map(decode::shortened) })
        }
        Asks::Ping { answer } => ClientMessage::Ping(ping(state, id, answer, payload)?),
        Asks::Ack => ClientMessage::Ack(decode::typed(payload).map_err(as_a(RequestKind::Ack))?),
        Asks::List => ClientMessage::ListJobs(list(payload).map_err(as_a(RequestKind::ListJobs))?),
        Asks::Invoke => ClientMessage::Submit(invoke(frame, payload).map_err(as_a(RequestKind::Submit))?),
        Asks::Cancel => ClientMessage::Cancel(cancel(state, id, payload)?),
        Asks::Observe => {
            let subscribe = observe(payload).map_err(as_a(RequestKind::Subscribe))?;
            state.asked.note(id, Question::Observe);
            ClientMessage::Subscribe(subscribe)
        }
        Asks::Unobserve => {
            let unsubscribe: Unsubscribe = decode::typed(payload).map_err(as_a(RequestKind::Unsubscribe))?;
            if let Some(job) = unsubscribe.job_id.as_deref().and_then(|job| job.parse().ok()) {
                state.jobs.unobserved(job);
            }
            if state.subscriptions.len() > 0 {
                // The subscriptions by filter still look at it.
                return Ok(None);
            }
            ClientMessage::Unsubscribe(unsubscribe)
        }
        Asks::Subscribe => ClientMessage::Follow(subscribe(state, id, payload, limits)?),
        Asks::Unsubscribe => match unsubscribe(state, payload)? {
            Some(unfollow) => ClientMessage::Unfollow(unfollow),
            None => return Ok(None),
        },
        Asks::Nothing => return Ok(None),
        Asks::TooMuch => {
            state.asked.note(id, Question::Unimplemented);
            let message = format!("type: this runtime does nothing on {}", word.as_str());
            return Err(as_a(RequestKind::Unknown)(message));
        }
    }))
}

/// The kind of request that a word stands for.
pub(super) fn kind_of(word: &str) -> RequestKind {
    match Word::parse(word).map(asks) {
        Some(Asks::Open) => RequestKind::Hello,
        Some(Asks::Close) => RequestKind::Close,
        Some(Asks::Ping { .. }) => RequestKind::Ping,
        Some(Asks::Ack) => RequestKind::Ack,
        Some(Asks::List) => RequestKind::ListJobs,
        Some(Asks::Invoke) => RequestKind::Submit,
        Some(Asks::Cancel) => RequestKind::Cancel,
        Some(Asks::Observe) => RequestKind::Subscribe,
        Some(Asks::Unobserve) => RequestKind::Unsubscribe,
        Some(Asks::Subscribe) => RequestKind::Follow,
        Some(Asks::Unsubscribe) => RequestKind::Unfollow,
        Some(Asks::Nothing | Asks::TooMuch) | None => RequestKind::Unknown,
    }
}

/// What a word asks of the daemon.
enum Asks {
    Open,
    Close,
    Ping {
        answer: Word,
    },
    Ack,
    List,
    Invoke,
    Cancel,
    Observe,
    Unobserve,
    Subscribe,
    Unsubscribe,
    /// It is said of something that the daemon does not ask about.
    Nothing,
    /// The daemon does not do it, or it is not the client's to say.
    TooMuch,
}

fn asks(word: Word) -> Asks {
    match word {
        Word::SessionOpen => Asks::Open,
        Word::SessionClose => Asks::Close,
        Word::SessionPing => Asks::Ping { answer: Word::SessionPong },
        Word::Ping => Asks::Ping { answer: Word::Pong },
        Word::SessionAck => Asks::Ack,
        Word::SessionListJobs => Asks::List,
        Word::ToolInvoke => Asks::Invoke,
        Word::Cancel => Asks::Cancel,
        Word::JobSubscribe => Asks::Observe,
        Word::JobUnsubscribe => Asks::Unobserve,
        Word::Subscribe => Asks::Subscribe,
        Word::Unsubscribe => Asks::Unsubscribe,
        Word::SessionPong | Word::Pong | Word::Ack | Word::Nack => Asks::Nothing,
        Word::SessionChallenge
        | Word::SessionAuthenticate
        | Word::SessionAccepted
        | Word::SessionUnauthenticated
        | Word::SessionRejected
        | Word::SessionRefresh
        | Word::SessionEvicted
        | Word::SessionJobs
        | Word::CancelAccepted
        | Word::CancelRefused
        | Word::Interrupt
        | Word::Resume
        | Word::Backpressure
        | Word::ToolResult
        | Word::ToolError
        | Word::JobAccepted
        | Word::JobStarted
        | Word::JobProgress
        | Word::JobHeartbeat
        | Word::JobCompleted
        | Word::JobFailed
        | Word::JobCancelled
        | Word::JobResultChunk
        | Word::StreamOpen
        | Word::StreamChunk
        | Word::StreamClose
        | Word::StreamError
        | Word::PermissionRequest
        | Word::PermissionGrant
        | Word::PermissionDeny
        | Word::LeaseGranted
        | Word::LeaseExtended
        | Word::LeaseRevoked
        | Word::LeaseRefresh
        | Word::SubscribeAccepted
        | Word::SubscribeEvent
        | Word::SubscribeClosed
        | Word::JobSubscribed
        | Word::ArtifactPut
        | Word::ArtifactFetch
        | Word::ArtifactRef
        | Word::ArtifactRelease
        | Word::EventEmit
        | Word::Log
        | Word::Metric
        | Word::TraceSpan => Asks::TooMuch,
    }
}

/// One follow serves all subscriptions of a connection; each is asked for anew, so that each is answered.
fn subscribe(state: &mut State, id: &str, payload: &str, limits: &Limits) -> Result<Follow, Refusal> {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(default)]
        filter: Filter,
        since: Option<IgnoredAny>,
    }
    let refused = as_a(RequestKind::Follow);
    let Asked { filter, since } = decode::typed(payload).map_err(&refused)?;
    let own = state.session.map(|session| session.to_string());
    if since.is_some() {
        state.asked.note(id, Question::Unimplemented);
        return Err(refused(
            "payload.since: nothing of before is told; subscribe to a job with history".into(),
        ));
    }
    filter.check().map_err(&refused)?;
    if filter.sessions().any(|named| Some(named) != own.as_deref()) {
        state.asked.note(id, Question::Unimplemented);
        return Err(refused(
            "payload.filter.session_id: other sessions are told apart by their jobs only".into(),
        ));
    }
    let max = limits.generic_subscriptions;
    if state.subscriptions.len() + state.asked.subscriptions() >= max {
        let error = ErrorBody::limit("generic_subscriptions", max as u64, RETRY_AFTER_MS);
        return Err(Refusal(RequestKind::Follow, error));
    }
    state.asked.note(id, Question::Subscribe(filter));
    Ok(Follow {})
}

/// The last subscription takes the follow with it.
fn unsubscribe(state: &mut State, payload: &str) -> Result<Option<Unfollow>, Refusal> {
    #[derive(Deserialize)]
    struct Asked {
        subscription_id: String,
    }
    let refused = as_a(RequestKind::Unfollow);
    let Asked { subscription_id } = decode::typed(payload).map_err(&refused)?;
    if !state.subscriptions.end(&subscription_id) {
        return Err(refused("payload.subscription_id: this connection has no such subscription".into()));
    }
    if state.subscriptions.len() + state.asked.subscriptions() > 0 {
        return Ok(None);
    }
    state.subscriptions.unfollow();
    Ok(Some(Unfollow {}))
}

fn observe(payload: &str) -> Result<Subscribe, String> {
    let subscribe: Subscribe = decode::typed(payload)?;
    decode::text("payload.job_id", subscribe.job_id.as_deref())?;
    Ok(subscribe)
}

fn open(state: &mut State, id: &str, payload: &str) -> Result<Hello, Refusal> {
    #[derive(Deserialize)]
    struct Open {
        auth: Credentials,
        client: Client,
        #[serde(default)]
        capabilities: Capabilities,
    }
    #[derive(Deserialize)]
    struct Credentials {
        scheme: String,
        token: Option<Token>,
    }
    #[derive(Deserialize)]
    struct Client {
        kind: String,
        version: String,
    }
    let Open { auth, client, capabilities } =
        decode::typed(payload).map_err(|message| as_a(RequestKind::Hello)(decode::unquoted(message)))?;
    if state.opened_by.is_none() {
        state.opened_by = Some(id.into());
        state.offered = capabilities;
    }
    let chunks = state.offered.reads_chunks();
    let features = Feature::ALL.iter().filter(|feature| match feature {
        // It has no answer to a ping.
        Feature::Heartbeat => false,
        Feature::ResultChunk => chunks,
        Feature::Ack
        | Feature::ListJobs
        | Feature::Subscribe
        | Feature::LeaseExpiresAt
        | Feature::CostBudget
        | Feature::ModelUse
        | Feature::ProvisionedCredentials
        | Feature::Progress
        | Feature::AgentVersions
        | Feature::Follow => true,
    });
    Ok(Hello {
        client: Some(Software { name: client.kind, version: client.version }),
        auth: Some(Auth { scheme: auth.scheme, token: auth.token }),
        capabilities: ClientCapabilities {
            encodings: vec!["json".into()],
            features: features.map(|feature| feature.as_str().to_owned()).collect(),
        },
        resume: None,
        resume_token: None,
        last_event_seq: None,
        session_id: None,
    })
}

fn ping(state: &mut State, id: &str, answer: Word, payload: &str) -> Result<Ping, Refusal> {
    #[derive(Deserialize)]
    struct Asked {
        nonce: Option<String>,
    }
    let refused = as_a(RequestKind::Ping);
    let Asked { nonce } = decode::typed(payload).map_err(&refused)?;
    if answer == Word::SessionPong {
        decode::text("payload.nonce", nonce.as_deref()).map_err(&refused)?;
    }
    state.asked.note(id, Question::Ping(answer));
    Ok(Ping { nonce: nonce.unwrap_or_default(), sent_at: None })
}

fn list(payload: &str) -> Result<ListJobs, String> {
    #[derive(Deserialize)]
    struct List {
        filter: Option<Filter>,
        limit: Option<u64>,
        cursor: Option<String>,
    }
    #[derive(Deserialize)]
    struct Filter {
        #[serde(default)]
        status: Vec<String>,
        agent: Option<AgentRef>,
        created_after: Option<Timestamp>,
        created_before: Option<Timestamp>,
    }
    let List { filter, limit, cursor } = decode::typed(payload)?;
    let filter = filter.map(|Filter { status, agent, created_after, created_before }| {
        let words = status.iter().map(|word| statuses(word));
        let wanted = words.collect::<Result<Vec<_>, String>>()?.concat();
        let status = (!status.is_empty()).then_some(StatusFilter(wanted));
        Ok::<_, String>(JobFilter { status, agent, created_after, created_before })
    });
    Ok(ListJobs { filter: filter.transpose()?, limit, cursor })
}

fn invoke(frame: &[u8], payload: &str) -> Result<Submit, String> {
    #[derive(Deserialize)]
    struct Invoke {
        tool: AgentRef,
        arguments: Option<Box<RawValue>>,
        cost_budget: Option<Vec<String>>,
        lease_request: Option<lease::Asked>,
    }
    // This client has the key beside the payload.
    #[derive(Deserialize)]
    struct Keyed {
        idempotency_key: Option<String>,
    }
    let Invoke { tool, arguments, cost_budget, lease_request } = decode::typed(payload)?;
    let Keyed { idempotency_key } =
        serde_json::from_slice(frame).map_err(|_| "idempotency_key: expected a string")?;
    // Where both are given, the second counts.
    let asked = lease_request.or(cost_budget.map(lease::Asked::of_budget));
    Ok(Submit {
        agent: tool,
        input: arguments,
        lease_request: asked.map(lease::Asked::canonical).transpose()?,
        lease_constraints: None,
        idempotency_key,
        max_runtime_sec: None,
    })
}

fn cancel(state: &mut State, id: &str, payload: &str) -> Result<Cancel, Refusal> {
    #[derive(Deserialize)]
    struct Asked {
        target: Target,
        target_id: String,
        reason: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Target {
        Job,
        Stream,
        Session,
    }
    let refused = as_a(RequestKind::Cancel);
    let Asked { target, target_id, reason } = decode::typed(payload).map_err(&refused)?;
    decode::text("payload.target_id", Some(&target_id)).map_err(&refused)?;
    state.asked.note(id, Question::Cancel(target_id.clone()));
    match target {
        Target::Job => Ok(Cancel { job_id: Some(target_id), reason: reason.map(decode::shortened) }),
        Target::Stream => Err(refused("there are no streams to cancel; cancel the job".into())),
        Target::Session => Err(refused("a session is not cancelled; cancel its jobs, or close it".into())),
    }
}
