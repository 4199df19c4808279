//! A job's life by transcript: what the agent and the daemon say, and what observers see.

use super::*;
use crate::proto::submit::Order;
use crate::wire::agent_port::AgentMessage;
use crate::wire::id::JobId;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000_000_000 + seconds * 1_000_000)
}

fn job(submit: &str) -> Job {
    let order = Order::new(serde_json::from_str(submit).unwrap(), None, &Limits::default()).unwrap();
    let agent = "echo@1.0.0".parse().unwrap();
    let spec =
        Spec { id: JobId::new(1, 1), principal: "alice".parse().unwrap(), agent, order, created_at: at(0) };
    Job::new(Arc::new(spec), ResultId::new(1, 1))
}

fn running(submit: &str) -> Job {
    let mut job = job(submit);
    assert_eq!(job.start(at(0)), Some(1));
    job
}

fn say(job: &mut Job, line: &str) -> Result<Step, (Step, Rejected)> {
    let limits = Limits::default();
    let message = AgentMessage::parse(line.as_bytes(), &limits).unwrap();
    job.agent(message, &limits, at(1))
}

fn seen(step: &Step) -> Vec<serde_json::Value> {
    step.records.iter().map(|record| serde_json::from_slice(&record.payload).unwrap()).collect()
}

const ECHO: &str = r#"{"agent":"echo"}"#;

#[test]
fn events_and_the_result_are_numbered_from_one_and_nothing_follows_the_end() {
    let mut job = running(ECHO);
    let event =
        r#"{"type":"job.event","payload":{"kind":"log","body":{"level":"info","message":"hi","extra":1}}}"#;
    let step = say(&mut job, event).unwrap();
    assert_eq!(step.records[0].pos, 1);
    assert_eq!(seen(&step)[0]["body"], serde_json::json!({"level":"info","message":"hi","extra":1}));
    let end = say(&mut job, r#"{"type":"job.result","payload":{"result":null}}"#).unwrap();
    assert_eq!((end.records[0].pos, end.records[0].kind), (2, StreamKind::Result));
    assert!(seen(&end)[0].as_object().unwrap().contains_key("result"), "a null result is inline");
    assert_eq!(job.status(), JobStatus::Success);
    assert_eq!(say(&mut job, event), Err((Step::default(), Rejected::Ended)));
    assert_eq!(job.lost("gone", at(2)), Step::default());
    assert_eq!(job.cancel(None, &Limits::default(), at(2)), CancelAnswer::TooLate(JobStatus::Success));
}

#[test]
fn a_cancelled_job_stops_its_agent_and_ends_when_that_has_stopped() {
    let mut job = running(ECHO);
    let CancelAnswer::Cancelling(step) = job.cancel(Some("why".into()), &Limits::default(), at(1)) else {
        panic!()
    };
    assert_eq!(step.stop.unwrap().reason, "why");
    assert_eq!(job.status(), JobStatus::Running);
    let again = job.cancel(None, &Limits::default(), at(1));
    assert_eq!(again, CancelAnswer::Cancelling(Step::default()), "a second cancel is answered again");
    let late = say(&mut job, r#"{"type":"job.result","payload":{"result":1}}"#).unwrap();
    assert_eq!(seen(&late)[0]["code"], "CANCELLED", "a result that comes too late does not count");
    assert_eq!(seen(&late)[0]["final_status"], "cancelled");
    assert_eq!(job.stopped(at(3)), Step::default(), "terminal exactly once");
}

#[test]
fn a_job_that_is_cancelled_before_it_starts_never_starts() {
    let mut job = job(ECHO);
    let CancelAnswer::Cancelling(step) = job.cancel(None, &Limits::default(), at(1)) else { panic!() };
    assert_eq!((step.stop, step.records.len()), (None, 1));
    assert_eq!(job.start(at(2)), None);
}

#[test]
fn deadlines_end_a_job_as_timed_out_or_with_its_lease() {
    let limits = Limits::default();
    let mut timed = running(r#"{"agent":"echo","max_runtime_sec":5}"#);
    assert_eq!(timed.deadline(), Some(at(5)));
    assert_eq!(timed.deadline_passed(&limits, at(4)), Step::default());
    assert!(timed.deadline_passed(&limits, at(5)).stop.is_some());
    assert_eq!(timed.deadline(), None, "a deadline that has passed must not be waited for again");
    assert_eq!(timed.cancel(None, &limits, at(5)), CancelAnswer::TooLate(JobStatus::Running));
    let end = timed.stopped(at(6));
    assert_eq!(seen(&end)[0]["code"], "TIMEOUT");
    assert_eq!(seen(&end)[0]["final_status"], "timed_out");
    assert_eq!(seen(&end)[0]["retryable"], false);

    let lease = format!(
        r#"{{"agent":"echo","lease_constraints":{{"expires_at":"{}"}},"max_runtime_sec":60}}"#,
        at(3)
    );
    let mut leased = running(&lease);
    assert_eq!(leased.deadline(), Some(at(3)));
    assert!(leased.deadline_passed(&limits, at(3)).stop.is_some());
    let end = leased.lost("killed", at(4));
    assert_eq!(seen(&end)[0]["code"], "LEASE_EXPIRED");
    assert_eq!(seen(&end)[0]["final_status"], "error");
}

#[test]
fn an_agent_that_breaks_the_contract_ends_its_job_with_what_it_broke() {
    for (line, names) in [
        (r#"{"type":"job.event","payload":{"kind":"banana","body":{}}}"#, "banana"),
        (r#"{"type":"job.event","payload":{"kind":"progress","body":{"current":-1}}}"#, "non-negative"),
        (
            r#"{"type":"job.event","payload":{"kind":"delegate","body":{"delegate_id":"d","agent":"a"}}}"#,
            "delegation",
        ),
        (
            r#"{"type":"job.event","payload":{"kind":"result_chunk","body":{"data":"YQ","encoding":"base64"}}}"#,
            "base64",
        ),
    ] {
        let mut job = running(ECHO);
        let (step, rejected) = say(&mut job, line).unwrap_err();
        assert!(matches!(rejected, Rejected::Broken(_)));
        let end = &seen(&step)[0];
        assert_eq!(end["code"], "INTERNAL_ERROR");
        assert!(end["message"].as_str().unwrap().contains(names), "{end}");
    }
}

#[test]
fn a_result_is_inline_or_in_chunks_and_never_both() {
    let chunk =
        r#"{"type":"job.event","payload":{"kind":"result_chunk","body":{"data":"ab","encoding":"utf8"}}}"#;
    let mut job = running(ECHO);
    say(&mut job, chunk).unwrap();
    let step = say(&mut job, r#"{"type":"job.result","payload":{"summary":"done"}}"#).unwrap();
    let seen = seen(&step);
    assert_eq!(seen[0]["body"]["more"], false, "the daemon says that no more follows");
    assert_eq!(seen[1]["result_size"], 2);
    assert!(seen[1].get("result").is_none());

    let mut both = running(ECHO);
    say(&mut both, chunk).unwrap();
    let (step, _) = say(&mut both, r#"{"type":"job.result","payload":{"result":1}}"#).unwrap_err();
    assert_eq!(step.records.last().unwrap().kind, StreamKind::Error);
}

#[test]
fn a_result_too_large_for_a_frame_is_streamed() {
    let mut job = running(ECHO);
    let text = "\\\"".repeat(500_000);
    let step = say(&mut job, &format!(r#"{{"type":"job.result","payload":{{"result":"{text}"}}}}"#)).unwrap();
    let seen = seen(&step);
    let assembled: String = seen.iter().filter_map(|v| v["body"]["data"].as_str()).collect();
    assert_eq!(assembled, format!("\"{text}\""));
    assert!(step.records.iter().all(|r| r.payload.len() < Limits::default().frame_bytes));
    assert_eq!(seen.last().unwrap()["result_size"], assembled.len());
}

#[test]
fn an_agents_error_keeps_its_code_and_the_specification_its_say() {
    for (payload, code, status, retryable) in [
        (r#"{"message":"m"}"#, "INTERNAL_ERROR", "error", true),
        (r#"{"message":"m","code":"INTERNAL_ERROR","retryable":false}"#, "INTERNAL_ERROR", "error", true),
        (r#"{"message":"m","code":"BUDGET_EXHAUSTED","retryable":true}"#, "BUDGET_EXHAUSTED", "error", false),
        (r#"{"message":"","code":"INVALID_REQUEST","retryable":true}"#, "INVALID_REQUEST", "error", true),
        (r#"{"message":"m","code":"CANCELLED"}"#, "CANCELLED", "cancelled", false),
        (r#"{"message":"m","code":"TIMEOUT"}"#, "TIMEOUT", "timed_out", false),
    ] {
        let mut job = running(ECHO);
        let step = say(&mut job, &format!(r#"{{"type":"job.error","payload":{payload}}}"#)).unwrap();
        let end = &seen(&step)[0];
        assert_eq!(
            (&end["code"], &end["final_status"], &end["retryable"]),
            (&code.into(), &status.into(), &retryable.into())
        );
        assert_ne!(end["message"], "");
    }
}

#[test]
fn an_event_too_large_for_a_frame_ends_the_job() {
    let mut job = running(ECHO);
    let line = format!(
        r#"{{"type":"job.event","payload":{{"kind":"log","body":{{"level":"info","message":"{}"}}}}}}"#,
        "x".repeat(1_047_000)
    );
    let (step, _) = say(&mut job, &line).unwrap_err();
    assert!(seen(&step)[0]["message"].as_str().unwrap().contains("a frame holds"));
}

fn past(attempts: u32, cancellation: Option<Cancellation>) -> Job {
    let spec = job(ECHO).spec;
    let started_at = (attempts > 0).then(|| at(1));
    Job::restored(
        spec,
        ResultId::new(1, 2),
        Past { attempts, started_at, cancellation, tail: Tail::default() },
    )
}

/// The code and the message that a job ended with.
fn end(step: &Step) -> (String, String) {
    let end = seen(step).pop().unwrap();
    (end["code"].as_str().unwrap().into(), end["message"].as_str().unwrap().into())
}

#[test]
fn after_a_restart_a_job_begins_ends_or_begins_again() {
    let limits = Limits { job_attempts: 3, ..Limits::default() };
    let mut queued = past(0, None);
    assert_eq!((queued.status(), queued.start(at(5))), (JobStatus::Pending, None), "not before its turn");
    assert_eq!(queued.go_on(Ok(false), &limits, at(5)), Step::default());
    assert_eq!(queued.start(at(5)), Some(1));

    let mut lost = past(1, None);
    assert_eq!(lost.status(), JobStatus::Running);
    let (code, message) = end(&lost.go_on(Ok(false), &limits, at(5)));
    assert_eq!((&*code, lost.status()), ("INTERNAL_ERROR", JobStatus::Error));
    assert!(message.contains("died with the daemon"), "{message}");

    let mut again = past(2, None);
    let step = again.go_on(Ok(true), &limits, at(5));
    assert_eq!(seen(&step)[0]["kind"], "status");
    assert_eq!(seen(&step)[0]["body"]["phase"], "restarted");
    assert_eq!((again.start(at(6)), again.start(at(7))), (Some(3), None));

    let mut worn_out = past(3, None);
    let (_, message) = end(&worn_out.go_on(Ok(true), &limits, at(5)));
    assert!(message.contains("each of 3 attempts, and 3 are allowed"), "{message}");

    let mut gone = past(0, None);
    assert_eq!(end(&gone.go_on(Err("no such agent"), &limits, at(5))).1, "no such agent");

    let why = Cancellation { reason: Some("why".into()) };
    let mut cancelled = past(1, Some(why));
    let (code, message) = end(&cancelled.go_on(Ok(true), &limits, at(5)));
    assert_eq!(
        (&*code, &*message, cancelled.status()),
        ("CANCELLED", "cancelled: why", JobStatus::Cancelled)
    );
}

#[test]
fn the_time_of_a_job_runs_on_through_its_attempts() {
    let spec = job(r#"{"agent":"echo","max_runtime_sec":10}"#).spec;
    let past = Past { attempts: 1, started_at: Some(at(1)), ..Past::default() };
    let mut job = Job::restored(spec, ResultId::new(1, 2), past);
    job.go_on(Ok(true), &Limits::default(), at(5));
    assert_eq!(job.deadline(), Some(at(11)));
    job.start(at(5));
    assert_eq!(job.deadline(), Some(at(11)));
}

#[test]
fn a_daemon_that_stops_suspends_what_can_go_on_and_ends_the_rest() {
    let limits = Limits::default();
    let stopped = |mut job: Job, afterlife| {
        let step = job.shut_down(afterlife, &limits, at(3));
        (job, step)
    };
    for (afterlife, status) in [(Afterlife::Known, JobStatus::Pending), (Afterlife::None, JobStatus::Error)] {
        let (job, step) = stopped(job(ECHO), afterlife);
        assert_eq!((job.status(), job.suspended()), (status, step.records.is_empty()));
    }
    for afterlife in [Afterlife::Known, Afterlife::None] {
        let (mut job, step) = stopped(running(ECHO), afterlife);
        assert!(step.stop.is_some() && step.records.is_empty());
        assert!(end(&job.stopped(at(4))).1.contains("submit it again"));
    }
    let (mut job, step) = stopped(running(ECHO), Afterlife::Restartable);
    assert!(step.stop.is_some() && job.deadline().is_none());
    let event = r#"{"type":"job.event","payload":{"kind":"log","body":{"level":"info","message":"hi"}}}"#;
    assert_eq!(say(&mut job, event).unwrap().records.len(), 1, "its last words count");
    let (mut done, mut cancelled) = (job.clone(), job.clone());
    assert_eq!(say(&mut job, r#"{"type":"job.error","payload":{"message":"stopped"}}"#), Ok(Step::default()));
    assert!(job.suspended());
    assert_eq!((job.status(), job.lost("gone", at(4))), (JobStatus::Running, Step::default()));
    assert_eq!(say(&mut job, event), Err((Step::default(), Rejected::Ended)), "the attempt is over");
    say(&mut done, r#"{"type":"job.result","payload":{"result":1}}"#).unwrap();
    assert_eq!(done.status(), JobStatus::Success, "it was quick enough");
    let CancelAnswer::Cancelling(step) = cancelled.cancel(None, &limits, at(4)) else { panic!() };
    assert_eq!(step.cancelling, Some(Cancellation::default()));
    assert_eq!(end(&cancelled.stopped(at(4))).0, "CANCELLED");
    let CancelAnswer::Cancelling(step) = job.cancel(None, &limits, at(4)) else { panic!() };
    assert_eq!(step.cancelling, Some(Cancellation::default()), "the next life is told");
}
