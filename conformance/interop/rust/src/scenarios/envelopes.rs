//! What the crate's client has no method for, said in the crate's own envelopes over its own transport.

use std::time::Duration;

use arcp::ErrorCode;
use arcp::ids::{JobId, MessageId};
use arcp::messages::{
    CancelPayload, CancelTargetKind, InterruptPayload, JobSubscribePayload, JobUnsubscribePayload,
    LeaseRequest, MessageType, PingPayload, ResultChunkAssembler, SessionAckPayload, SessionClosePayload,
    SessionListJobsFilter, SessionListJobsPayload, SessionPingPayload, ToolInvokePayload,
};
use serde_json::{Value, json};

use crate::ensure;
use crate::world::{Outcome, Talk, World, text};

fn tool(name: &str, arguments: Value) -> MessageType {
    MessageType::ToolInvoke(ToolInvokePayload::new(name, arguments))
}

/// The job that a request began.
async fn begun(talk: &mut Talk, request: &MessageId) -> Result<JobId, String> {
    let job = match talk.answer(request).await? {
        MessageType::JobAccepted(accepted) => accepted.job_id,
        other => return Err(format!("expected job.accepted, got {other:?}")),
    };
    match talk.answer(request).await? {
        MessageType::JobStarted(_) => Ok(job),
        other => Err(format!("expected job.started, got {other:?}")),
    }
}

/// Everything that answers a request up to its job's end.
async fn told(talk: &mut Talk, request: &MessageId) -> Result<Vec<MessageType>, String> {
    let mut all = Vec::new();
    loop {
        let message = talk.answer(request).await?;
        let over = matches!(
            message,
            MessageType::JobCompleted(_) | MessageType::JobFailed(_) | MessageType::JobCancelled(_)
        );
        all.push(message);
        if over {
            return Ok(all);
        }
    }
}

async fn completed(talk: &mut Talk, request: &MessageId) -> Result<Option<Value>, String> {
    match told(talk, request).await?.pop() {
        Some(MessageType::JobCompleted(end)) => Ok(end.value),
        other => Err(format!("expected job.completed, got {other:?}")),
    }
}

async fn ran(talk: &mut Talk, name: &str, arguments: Value) -> Result<(), String> {
    let request = talk.send(tool(name, arguments)).await?;
    begun(talk, &request).await?;
    told(talk, &request).await.map(drop)
}

pub async fn pings_are_answered_by_their_own_pongs(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    let sent_at = "2026-05-13T19:42:13Z".parse().map_err(|_| "no time")?;
    let first =
        talk.send(MessageType::SessionPing(SessionPingPayload { nonce: "p_1".into(), sent_at })).await?;
    let second = talk.send(MessageType::Ping(PingPayload { nonce: Some("n".into()) })).await?;
    match talk.answer(&first).await? {
        MessageType::SessionPong(pong) => ensure!(pong.ping_nonce == "p_1", "{pong:?}"),
        other => return Err(format!("expected session.pong, got {other:?}")),
    }
    match talk.answer(&second).await? {
        MessageType::Pong(_) => Ok(()),
        other => Err(format!("expected pong, got {other:?}")),
    }
}

pub async fn jobs_are_listed_with_pages_and_filters(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    for n in 0..3 {
        ran(&mut talk, "echo@1.0.0", json!(n)).await?;
    }
    ran(&mut talk, "failer", json!({})).await?;
    let request = talk.send(tool("sleeper", json!({ "ms": 20_000 }))).await?;
    let running = begun(&mut talk, &request).await?;
    let filtered = |agent: Option<&str>, status: &[&str]| SessionListJobsFilter {
        agent: agent.map(Into::into),
        status: status.iter().map(|word| (*word).to_owned()).collect(),
        ..SessionListJobsFilter::default()
    };
    for (filter, at_least) in [
        (filtered(Some("echo@1.0.0"), &["completed"]), 3),
        (filtered(Some("echo"), &["completed"]), 3),
        (filtered(Some("failer"), &["failed"]), 1),
        (filtered(Some("sleeper"), &["accepted", "queued", "running"]), 1),
    ] {
        let (mut cursor, mut seen) = (None, 0);
        loop {
            let list = SessionListJobsPayload { filter: Some(filter.clone()), limit: Some(2), cursor };
            let request = talk.send(MessageType::SessionListJobs(list)).await?;
            let MessageType::SessionJobs(page) = talk.answer(&request).await? else {
                return Err("expected session.jobs".into());
            };
            ensure!(page.jobs.len() <= 2 && page.request_id == request.to_string(), "{page:?}");
            let wrong = page.jobs.iter().find(|job| !filter.status.contains(&job.status));
            ensure!(wrong.is_none(), "{wrong:?}");
            seen += page.jobs.len();
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        ensure!(seen >= at_least, "{filter:?}: {seen} jobs");
    }
    let none = filtered(Some("echo"), &["running", "paused"]);
    let list = SessionListJobsPayload { filter: Some(none), ..SessionListJobsPayload::default() };
    let request = talk.send(MessageType::SessionListJobs(list)).await?;
    let MessageType::SessionJobs(page) = talk.answer(&request).await? else {
        return Err("expected session.jobs".into());
    };
    ensure!(page.jobs.is_empty(), "{page:?}");
    cancel(&mut talk, CancelTargetKind::Job, running.as_str()).await.map(drop)
}

async fn invoke_under(
    talk: &mut Talk,
    key: &str,
    message: MessageType,
) -> Result<(MessageId, JobId), String> {
    let request = talk.send_keyed(message, Some(key)).await?;
    let job = begun(talk, &request).await?;
    Ok((request, job))
}

/// A key that no other run has used.
fn key() -> String {
    format!("key-{}", MessageId::new())
}

pub async fn a_repeated_invocation_is_the_same_job(world: World) -> Outcome {
    let (mut talk, key) = (world.envelopes().await?, key());
    let (first, job) = invoke_under(&mut talk, &key, tool("echo", json!({ "a": 1 }))).await?;
    ensure!(completed(&mut talk, &first).await? == Some(json!({ "a": 1 })), "another value");
    for _ in 0..2 {
        let (again, same) = invoke_under(&mut talk, &key, tool("echo", json!({ "a": 1 }))).await?;
        ensure!(same == job, "{same} instead of {job}");
        ensure!(completed(&mut talk, &again).await? == Some(json!({ "a": 1 })), "another value");
    }
    Ok(())
}

pub async fn another_command_under_the_same_key_is_refused(world: World) -> Outcome {
    let (mut talk, key) = (world.envelopes().await?, key());
    let (first, _) = invoke_under(&mut talk, &key, tool("echo", json!({ "a": 1 }))).await?;
    completed(&mut talk, &first).await?;
    let conflict = talk.send_keyed(tool("echo", json!({ "a": 2 })), Some(&key)).await?;
    match talk.answer(&conflict).await? {
        MessageType::JobFailed(failed) => {
            ensure!(failed.code == ErrorCode::FailedPrecondition, "{failed:?}");
            Ok(())
        }
        other => Err(format!("expected job.failed, got {other:?}")),
    }
}

pub async fn a_repeated_invocation_joins_a_running_job(world: World) -> Outcome {
    let (mut talk, key) = (world.envelopes().await?, key());
    let sleep = || tool("sleeper", json!({ "ms": 400 }));
    let (first, job) = invoke_under(&mut talk, &key, sleep()).await?;
    let (second, same) = invoke_under(&mut talk, &key, sleep()).await?;
    ensure!(same == job, "{same} instead of {job}");
    for request in [first, second] {
        ensure!(completed(&mut talk, &request).await? == Some(json!({ "slept_ms": 400 })), "another value");
    }
    Ok(())
}

pub async fn a_lease_is_granted_as_it_was_asked_for(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    let asked: LeaseRequest = serde_json::from_value(json!({
        "cost_budget": ["USD:1.5"], "model_use": ["tier-fast/*"], "expires_at": "2099-01-01T00:00:00Z",
        "fs.read": ["/data/**"]
    }))
    .map_err(text)?;
    let mut payload = ToolInvokePayload::new("echo", json!({}));
    payload.lease_request = Some(asked.clone());
    let request = talk.send(MessageType::ToolInvoke(payload)).await?;
    match talk.answer(&request).await? {
        MessageType::JobAccepted(accepted) => ensure!(accepted.lease == Some(asked), "{accepted:?}"),
        other => return Err(format!("expected job.accepted, got {other:?}")),
    }
    completed(&mut talk, &request).await?;
    let mut past = ToolInvokePayload::new("echo", json!({}));
    past.lease_request =
        serde_json::from_value(json!({ "expires_at": "2001-01-01T00:00:00Z" })).map_err(text)?;
    let request = talk.send(MessageType::ToolInvoke(past)).await?;
    match talk.answer(&request).await? {
        MessageType::JobFailed(failed) => ensure!(failed.code == ErrorCode::InvalidArgument, "{failed:?}"),
        other => return Err(format!("expected job.failed, got {other:?}")),
    }
    Ok(())
}

async fn cancel(talk: &mut Talk, target: CancelTargetKind, target_id: &str) -> Result<MessageType, String> {
    let cancel = CancelPayload {
        target,
        target_id: target_id.into(),
        reason: Some("envelope".into()),
        deadline_ms: None,
    };
    let request = talk.send(MessageType::Cancel(cancel)).await?;
    talk.answer(&request).await
}

pub async fn a_cancel_is_accepted_or_refused(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    let request = talk.send(tool("sleeper", json!({ "ms": 20_000 }))).await?;
    let job = begun(&mut talk, &request).await?;
    match cancel(&mut talk, CancelTargetKind::Job, job.as_str()).await? {
        MessageType::CancelAccepted(accepted) => {
            ensure!(accepted.target_id.as_deref() == Some(job.as_str()), "{accepted:?}");
        }
        other => return Err(format!("expected cancel.accepted, got {other:?}")),
    }
    match told(&mut talk, &request).await?.pop() {
        Some(MessageType::JobCancelled(_)) => {}
        other => return Err(format!("expected job.cancelled, got {other:?}")),
    }
    for (target, id) in [
        (CancelTargetKind::Job, job.as_str()),
        (CancelTargetKind::Job, "job_01M7VY1W0AFFECZYK9R19TBRM6"),
        (CancelTargetKind::Stream, "str_1"),
        (CancelTargetKind::Session, "sess_1"),
    ] {
        match cancel(&mut talk, target, id).await? {
            MessageType::CancelRefused(refused) => ensure!(refused.target_id == id, "{refused:?}"),
            other => return Err(format!("expected cancel.refused, got {other:?}")),
        }
    }
    Ok(())
}

pub async fn what_agents_say_decodes(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    let request = talk.send(tool("spender", json!({ "calls": 2, "usd_per_call": 0.25 }))).await?;
    begun(&mut talk, &request).await?;
    let all = told(&mut talk, &request).await?;
    let spent: f64 = all
        .iter()
        .map(|message| match message {
            MessageType::Metric(metric) if metric.unit == "USD" && metric.name == "cost.tool" => metric.value,
            _ => 0.0,
        })
        .sum();
    ensure!((spent - 0.5).abs() < 1e-9, "spent {spent}: {all:?}");
    let emitted = |name: &str| {
        all.iter()
            .filter(|m| matches!(m, MessageType::EventEmit(e) if e.name == name && e.data.is_some()))
            .count()
    };
    ensure!((emitted("tool_call"), emitted("tool_result")) == (2, 2), "{all:?}");
    let request = talk.send(tool("ticker", json!({ "count": 4, "interval_ms": 0 }))).await?;
    begun(&mut talk, &request).await?;
    let percents: Vec<Option<f64>> = told(&mut talk, &request)
        .await?
        .iter()
        .filter_map(|m| if let MessageType::JobProgress(p) = m { Some(p.percent) } else { None })
        .collect();
    ensure!(percents == [25.0, 50.0, 75.0, 100.0].map(Some), "{percents:?}");
    let request = talk.send(tool("failer", json!({ "after_events": 3 }))).await?;
    begun(&mut talk, &request).await?;
    let logs = told(&mut talk, &request).await?.iter().filter(|m| matches!(m, MessageType::Log(_))).count();
    ensure!(logs == 3, "{logs} logs");
    Ok(())
}

pub async fn what_is_not_there_is_refused(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    let interrupt =
        InterruptPayload { target: CancelTargetKind::Job, target_id: "job_1".into(), prompt: "?".into() };
    for message in [MessageType::Interrupt(interrupt), MessageType::Resume(Default::default())] {
        let request = talk.send(message).await?;
        match talk.answer(&request).await? {
            MessageType::Nack(nack) => ensure!(nack.code == ErrorCode::Unimplemented, "{nack:?}"),
            other => return Err(format!("expected nack, got {other:?}")),
        }
    }
    ran(&mut talk, "echo", json!(1)).await
}

pub async fn events_are_numbered_and_acknowledged(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    let request = talk.send(tool("ticker", json!({ "count": 50, "interval_ms": 0 }))).await?;
    begun(&mut talk, &request).await?;
    for expected in 1..=51 {
        let event = talk.next().await?;
        ensure!(event.event_seq == Some(expected), "{expected}: {event:?}");
        if expected % 10 == 0 {
            let ack = SessionAckPayload { last_processed_seq: expected };
            talk.send(MessageType::SessionAck(ack)).await?;
        }
    }
    let request = talk.send(MessageType::SessionAck(SessionAckPayload { last_processed_seq: 1_000 })).await?;
    match talk.answer(&request).await? {
        MessageType::Nack(nack) => ensure!(nack.code == ErrorCode::InvalidArgument, "{nack:?}"),
        other => return Err(format!("expected nack, got {other:?}")),
    }
    Ok(())
}

const CHUNKS: usize = 10;
const CHUNK_BYTES: usize = 524_288;

async fn in_chunks(world: World, encoding: &str) -> Result<Vec<u8>, String> {
    let mut talk = world.envelopes().await?;
    let input = json!({ "chunks": CHUNKS, "chunk_bytes": CHUNK_BYTES, "encoding": encoding });
    let request = talk.send(tool("chunker", input)).await?;
    begun(&mut talk, &request).await?;
    let mut assembler = ResultChunkAssembler::new();
    loop {
        match talk.answer(&request).await? {
            MessageType::JobResultChunk(chunk) => assembler.push(&chunk).map_err(text)?,
            MessageType::JobCompleted(end) => {
                ensure!(end.value.is_none() && end.result_id.as_deref() == assembler.result_id(), "{end:?}");
                ensure!(end.result_size == Some((CHUNKS * CHUNK_BYTES) as u64), "{end:?}");
                return assembler.finish().map_err(text);
            }
            other => return Err(format!("expected a chunk, got {other:?}")),
        };
    }
}

pub async fn five_megabytes_of_text_in_chunks(world: World) -> Outcome {
    let bytes = in_chunks(world, "utf8").await?;
    let right = bytes.len() == CHUNKS * CHUNK_BYTES
        && bytes.iter().enumerate().all(|(j, byte)| usize::from(*byte) == usize::from(b'a') + j % 26);
    ensure!(right, "{} bytes, not the right ones", bytes.len());
    Ok(())
}

pub async fn five_megabytes_of_bytes_in_chunks(world: World) -> Outcome {
    let bytes = in_chunks(world, "base64").await?;
    let right = bytes.len() == CHUNKS * CHUNK_BYTES
        && bytes.iter().enumerate().all(|(j, byte)| usize::from(*byte) == j % 251);
    ensure!(right, "{} bytes, not the right ones", bytes.len());
    Ok(())
}

pub async fn a_close_ends_the_connection(world: World) -> Outcome {
    let mut talk = world.envelopes().await?;
    ran(&mut talk, "echo", json!(1)).await?;
    talk.send(MessageType::SessionClose(SessionClosePayload { reason: Some("done".into()) })).await?;
    tokio::time::timeout(Duration::from_secs(5), talk.ended()).await.map_err(|_| "it stayed open")?
}

pub async fn a_job_of_another_session_is_observed_with_its_history(world: World) -> Outcome {
    let (mut first, mut second) = (world.envelopes().await?, world.envelopes().await?);
    let request = first.send(tool("ticker", json!({ "count": 20, "interval_ms": 10 }))).await?;
    let job_id = begun(&mut first, &request).await?;
    let subscribe = JobSubscribePayload { job_id: job_id.clone(), from_event_seq: None, history: true };
    let subscribed = second.send(MessageType::JobSubscribe(subscribe)).await?;
    match second.answer(&subscribed).await? {
        MessageType::JobSubscribed(told) => {
            ensure!(told.job_id == job_id && told.agent == "ticker@1.0.0", "{told:?}")
        }
        other => return Err(format!("expected job.subscribed, got {other:?}")),
    }
    let mut progress = 0;
    loop {
        let event = second.next().await?;
        ensure!(event.job_id.as_ref() == Some(&job_id), "{event:?}");
        match event.payload {
            MessageType::JobProgress(_) => progress += 1,
            MessageType::JobCompleted(_) => break,
            other => return Err(format!("expected progress, got {other:?}")),
        }
    }
    ensure!(progress == 20, "{progress} of 20 events");
    completed(&mut first, &request).await?;
    second.send(MessageType::JobUnsubscribe(JobUnsubscribePayload { job_id })).await?;
    let unknown = JobSubscribePayload { job_id: JobId::new(), from_event_seq: None, history: true };
    let unknown = second.send(MessageType::JobSubscribe(unknown)).await?;
    match second.answer(&unknown).await? {
        MessageType::Nack(nack) => ensure!(nack.code == ErrorCode::NotFound, "{nack:?}"),
        other => return Err(format!("expected nack, got {other:?}")),
    }
    Ok(())
}

pub async fn another_principal_sees_nothing_of_a_job(world: World) -> Outcome {
    let (mut alice, mut bob) = (world.envelopes().await?, world.bobs_envelopes().await?);
    let request = alice.send(tool("sleeper", json!({ "ms": 20_000 }))).await?;
    let job_id = begun(&mut alice, &request).await?;
    let list = bob.send(MessageType::SessionListJobs(SessionListJobsPayload::default())).await?;
    match bob.answer(&list).await? {
        MessageType::SessionJobs(page) => {
            ensure!(page.jobs.iter().all(|job| job.job_id != job_id), "{page:?}");
        }
        other => return Err(format!("expected session.jobs, got {other:?}")),
    }
    let subscribe = JobSubscribePayload { job_id: job_id.clone(), from_event_seq: None, history: true };
    let subscribe = bob.send(MessageType::JobSubscribe(subscribe)).await?;
    match bob.answer(&subscribe).await? {
        MessageType::Nack(nack) => ensure!(nack.code == ErrorCode::NotFound, "{nack:?}"),
        other => return Err(format!("expected nack, got {other:?}")),
    }
    match cancel(&mut bob, CancelTargetKind::Job, job_id.as_str()).await? {
        MessageType::CancelRefused(_) => {}
        other => return Err(format!("expected cancel.refused, got {other:?}")),
    }
    cancel(&mut alice, CancelTargetKind::Job, job_id.as_str()).await.map(drop)
}
