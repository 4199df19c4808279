//! What can be wrong with sessions: who is let in, what they are welcomed with, how they are resumed, kept and closed.

use serde_json::{Value, json};

use super::super::bent::Bend::{Any, Asked, Lost, Told};
use super::super::bent::{Frame, Wire, World, kind, text};
use super::{Mutant, misnumbered, mutant};
use arcpd::wire::feature::Feature;

pub(super) const TABLE: &[Mutant] = &[
    mutant(
        "a token that is nobody's is somebody's",
        &["ARCP-6.1-1"],
        Asked("session.hello", |hello| hello["payload"]["auth"]["token"] = json!("tok-a")),
    ),
    mutant(
        "a wrong token is told as a malformed request",
        &["ARCP-6.1-1"],
        Told("session.error", |error| {
            if error["payload"]["code"] == "UNAUTHENTICATED" {
                error["payload"]["code"] = json!("INVALID_REQUEST");
            }
        }),
    ),
    mutant("a wrong token is refused without a word", &["ARCP-6.1-1"], Lost("session.error")),
    mutant(
        "a welcome has no resume token",
        &["ARCP-6.2-2"],
        Told("session.welcome", |welcome| without(welcome, "resume_token")),
    ),
    mutant(
        "a welcome has no resume window",
        &["ARCP-6.2-2"],
        Told("session.welcome", |welcome| without(welcome, "resume_window_sec")),
    ),
    mutant(
        "a welcome does not say which runtime it is",
        &["ARCP-6.2-2"],
        Told("session.welcome", |welcome| without(welcome, "runtime")),
    ),
    mutant(
        "a welcome lists no agents",
        &["ARCP-6.2-4"],
        Told("session.welcome", |welcome| welcome["payload"]["capabilities"]["agents"] = json!([])),
    ),
    mutant(
        "agents are listed without their versions",
        &["ARCP-6.2-4"],
        Told("session.welcome", |welcome| {
            let agents = welcome["payload"]["capabilities"]["agents"].as_array_mut();
            agents.into_iter().flatten().for_each(|agent| agent["versions"] = json!([]));
        }),
    ),
    mutant(
        "a welcome names features that nobody offered",
        &["ARCP-6.2-3"],
        Told("session.welcome", |welcome| welcome["payload"]["capabilities"]["features"] = every_feature()),
    ),
    mutant("kinds of events come that were not negotiated", &["ARCP-6.2-3"], Any(unnegotiated)),
    mutant("the resume token never changes", &["ARCP-6.3-1"], Any(same_token)),
    mutant("a session is resumed with any token", &["ARCP-7.7-1", "ARCP-6.3-1"], Any(any_token)),
    mutant("a resume that cannot be served is welcomed all the same", &["ARCP-6.3-3"], Any(gap)),
    mutant("a client that has seen everything is not resumed", &["ARCP-6.3-2"], Any(caught_up_refused)),
    misnumbered(
        "a resume brings the event at last_event_seq again",
        &["ARCP-6.3-2", "ARCP-8.3-1"],
        Asked("session.resume", |resume| {
            let seq = resume["payload"]["last_event_seq"].as_u64().unwrap_or(0);
            resume["payload"]["last_event_seq"] = json!(seq.saturating_sub(1));
        }),
    ),
    misnumbered(
        "an acknowledgement decides where a replay begins",
        &["ARCP-6.5-5", "ARCP-8.3-1"],
        Any(from_the_ack),
    ),
    mutant("a resumed session brings nothing again", &["ARCP-6.3-2"], Any(no_replay)),
    mutant("a resumed session does not bring how its jobs end", &["ARCP-6.3-2"], Any(no_end_after_resume)),
    mutant("a resumed session has another id", &["ARCP-6.3-2", "ARCP-7.7-1"], Any(other_session)),
    mutant("a resumed session may not cancel", &["ARCP-7.7-1"], Any(no_authority_after_resume)),
    mutant(
        "a connection that breaks takes its jobs along",
        &["ARCP-6.4-4", "ARCP-6.3-2"],
        Any(resumed_to_the_dead),
    ),
    mutant(
        "a pong has a nonce of its own",
        &["ARCP-6.4-2"],
        Told("session.pong", |pong| pong["payload"]["ping_nonce"] = json!("another")),
    ),
    mutant("a ping is not answered", &["ARCP-6.4-2"], Lost("session.pong")),
    mutant(
        "heartbeats are numbered",
        &["ARCP-6.4-5"],
        Told("session.pong", |pong| pong["event_seq"] = json!(1)),
    ),
    mutant("a runtime with nothing to say says nothing", &["ARCP-6.4-1"], Lost("session.ping")),
    mutant("a close is not answered", &["ARCP-6.7-1"], Lost("session.closed")),
    mutant("a close ends the jobs of its session", &["ARCP-6.7-2"], Any(close_cancels)),
    mutant("a frame that is no JSON ends the session", &["ARCP-12-8"], Any(ends_at_garbage)),
    mutant("a frame that is no JSON is passed over in silence", &["ARCP-12-8"], Any(deaf_to_garbage)),
    mutant("a type that is not known is passed over in silence", &["ARCP-12-8"], Any(deaf_to_unknown)),
    mutant("a field at the top that is not known is refused", &["ARCP-5-2"], Any(strict_envelope)),
];

fn without(frame: &mut Value, field: &str) {
    if let Some(payload) = frame["payload"].as_object_mut() {
        payload.remove(field);
    }
}

fn every_feature() -> Value {
    Feature::ALL.iter().map(|feature| feature.as_str()).collect()
}

/// A refusal of the request, as the daemon would write it.
pub(super) fn refusal(request: &Value, code: &str) -> Frame {
    let id = &request["id"];
    let payload =
        json!({ "code": code, "message": "refused", "retryable": false, "request_id": id, "reply_to": id });
    let session = &request["session_id"];
    Frame::Told(
        json!({ "arcp": "1.1", "id": "msg_refused", "type": "session.error", "session_id": session, "payload": payload }),
    )
}

/// The hello offers everything, and the welcome does not say so.
fn unnegotiated(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Asked(mut hello) if kind(&hello) == "session.hello" => {
            let offered = hello["payload"]["capabilities"]["features"].take();
            hello["payload"]["capabilities"]["features"] = every_feature();
            wire.memo.insert("offered".into(), offered);
            vec![Frame::Asked(hello)]
        }
        Frame::Told(mut welcome) if kind(&welcome) == "session.welcome" => {
            let offered = wire.memo.get("offered").and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(features) = welcome["payload"]["capabilities"]["features"].as_array_mut() {
                features.retain(|feature| offered.contains(feature));
            }
            vec![Frame::Told(welcome)]
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

/// The client sees the first token of a session again and again; the daemon is shown the newest.
fn same_token(_: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(mut welcome) if kind(&welcome) == "session.welcome" => {
            let session = text(&welcome, "session_id").to_owned();
            let newest = welcome["payload"]["resume_token"].take();
            let first = world.memo.entry(format!("{session} first")).or_insert_with(|| newest.clone());
            welcome["payload"]["resume_token"] = first.clone();
            world.memo.insert(session, newest);
            vec![Frame::Told(welcome)]
        }
        Frame::Asked(mut resume) if kind(&resume) == "session.resume" => {
            if let Some(newest) = world.memo.get(text(&resume, "session_id")) {
                resume["payload"]["resume_token"] = newest.clone();
            }
            vec![Frame::Asked(resume)]
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn any_token(_: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Told(welcome) if kind(welcome) == "session.welcome" => {
            let token = welcome["payload"]["resume_token"].clone();
            world.memo.insert(text(welcome, "session_id").into(), token);
        }
        Frame::Told(_) | Frame::Asked(_) => {}
    }
    match frame {
        Frame::Asked(mut resume) if kind(&resume) == "session.resume" => {
            if let Some(newest) = world.memo.get(text(&resume, "session_id")) {
                resume["payload"]["resume_token"] = newest.clone();
            }
            vec![Frame::Asked(resume)]
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

/// The welcome of the connection is kept, and told again where the daemon refuses.
fn gap(wire: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(welcome) if kind(&welcome) == "session.welcome" => {
            world.memo.insert("welcome".into(), welcome.clone());
            vec![Frame::Told(welcome)]
        }
        Frame::Told(error) if wire.resumed && error["payload"]["code"] == "RESUME_WINDOW_EXPIRED" => {
            wire.stays = true;
            world.memo.get("welcome").cloned().map(Frame::Told).into_iter().collect()
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn caught_up_refused(wire: &mut Wire, world: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Asked(resume) if kind(resume) == "session.resume" => {
            let newest = world.newest(text(resume, "session_id"));
            if resume["payload"]["last_event_seq"] == newest {
                wire.over = true;
                return vec![refusal(resume, "RESUME_WINDOW_EXPIRED")];
            }
        }
        Frame::Told(_) | Frame::Asked(_) => {}
    }
    vec![frame]
}

fn from_the_ack(wire: &mut Wire, world: &mut World, mut frame: Frame) -> Vec<Frame> {
    if let Frame::Asked(asked) = &mut frame {
        match kind(asked) {
            "session.ack" => {
                let acked = asked["payload"]["last_processed_seq"].clone();
                world.memo.insert(wire.session.clone(), acked);
            }
            "session.resume" => {
                if let Some(acked) = world.memo.get(text(asked, "session_id")) {
                    asked["payload"]["last_event_seq"] = acked.clone();
                }
            }
            _ => {}
        }
    }
    vec![frame]
}

fn no_replay(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(told) if wire.resumed && told["event_seq"].is_u64() => Vec::new(),
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn no_end_after_resume(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(told) if wire.resumed && matches!(kind(&told), "job.result" | "job.error") => Vec::new(),
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn other_session(wire: &mut Wire, _: &mut World, mut frame: Frame) -> Vec<Frame> {
    if wire.resumed && !wire.session.is_empty() {
        match &mut frame {
            Frame::Told(told) => told["session_id"] = json!("sess_01M7VVR1MSW45PAYMV9W1729G1"),
            Frame::Asked(asked) => asked["session_id"] = json!(wire.session),
        }
    }
    vec![frame]
}

fn no_authority_after_resume(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Asked(cancel) if wire.resumed && kind(&cancel) == "job.cancel" => {
            vec![refusal(&cancel, "PERMISSION_DENIED")]
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

/// Whoever resumes finds the jobs cancelled.
fn resumed_to_the_dead(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(mut told) if wire.resumed && kind(&told) == "job.result" => {
            told["type"] = json!("job.error");
            told["payload"]["code"] = json!("CANCELLED");
            told["payload"]["message"] = json!("heartbeat lost");
            told["payload"]["retryable"] = json!(false);
            told["payload"]["final_status"] = json!("cancelled");
            without(&mut told, "result");
            vec![Frame::Told(told)]
        }
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn close_cancels(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::Told(accepted) if kind(&accepted) == "job.accepted" => {
            let job = accepted["payload"]["job_id"].clone();
            wire.held.push(json!({
                "arcp": "1.1", "id": "req_bent", "type": "job.cancel", "session_id": wire.session,
                "payload": { "job_id": job }
            }));
            vec![Frame::Told(accepted)]
        }
        Frame::Asked(close) if kind(&close) == "session.close" => {
            let cancels = std::mem::take(&mut wire.held).into_iter();
            cancels.chain([close]).map(Frame::Asked).collect()
        }
        Frame::Told(answer) if answer["payload"]["request_id"] == "req_bent" => Vec::new(),
        other @ (Frame::Told(_) | Frame::Asked(_)) => vec![other],
    }
}

fn ends_at_garbage(wire: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    wire.over = matches!(&frame, Frame::Asked(Value::String(_)));
    vec![frame]
}

fn deaf_to_garbage(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    if matches!(&frame, Frame::Asked(Value::String(_))) { Vec::new() } else { vec![frame] }
}

fn deaf_to_unknown(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    match &frame {
        Frame::Asked(asked) if !kind(asked).starts_with("session.") && !kind(asked).starts_with("job.") => {
            Vec::new()
        }
        Frame::Asked(_) | Frame::Told(_) => vec![frame],
    }
}

fn strict_envelope(_: &mut Wire, _: &mut World, frame: Frame) -> Vec<Frame> {
    const KNOWN: [&str; 8] =
        ["arcp", "id", "type", "session_id", "trace_id", "job_id", "event_seq", "payload"];
    match &frame {
        Frame::Asked(Value::Object(fields))
            if fields.keys().any(|field| !KNOWN.contains(&field.as_str())) =>
        {
            let Frame::Asked(asked) = &frame else { return Vec::new() };
            vec![refusal(asked, "INVALID_REQUEST")]
        }
        Frame::Asked(_) | Frame::Told(_) => vec![frame],
    }
}
