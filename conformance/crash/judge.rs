//! What the journal serves at the end, compared with what the agents noted and with what every client saw.

use std::collections::BTreeMap;

use arcpd::transport::websocket::connect;
use arcpd::wire::limits::Limits;
use serde_json::{Value, json};

use crate::client::{Client, digest};
use crate::common::peer::{FEATURES, Peer};
use crate::common::process::Process;
use crate::daemon::{Home, PRINCIPALS};

/// One accepted job: its submit, and whether its cancellation was confirmed.
struct Promise<'a> {
    payload: &'a Value,
    cancelled: bool,
}

/// Compares everything; says how many events the journal holds.
pub(crate) async fn judge(home: &Home, daemon: &Process, clients: &[Client]) -> u64 {
    let mut events = 0;
    for (principal, token) in PRINCIPALS {
        let own: Vec<&Client> = clients.iter().filter(|client| client.name.starts_with(principal)).collect();
        let promises = promises(&own);
        let mut peer =
            Peer::welcomed(connect(&daemon.url, None, &Limits::default()).await.unwrap(), token, FEATURES)
                .await;
        for (job, promise) in &promises {
            let history = history(&mut peer, job).await;
            events += history.len() as u64;
            compare_with_agent(job, promise, &history, &home.sent(job));
            let said: Vec<u64> =
                history.iter().map(|(kind, payload)| digest(&json!([kind, payload]))).collect();
            for client in &own {
                compare_with_client(job, client, &said);
            }
        }
        for client in &own {
            let unknown = client.seen.keys().find(|job| !promises.contains_key(*job));
            assert_eq!(unknown, None, "{} saw a job that nobody was promised", client.name);
        }
    }
    events
}

fn promises<'a>(clients: &[&'a Client]) -> BTreeMap<String, Promise<'a>> {
    let mut promises = BTreeMap::new();
    for client in clients {
        for submit in &client.submits {
            let job = submit.job.clone().expect("every submit was answered in the last life");
            let cancelled = client.cancelled.contains(&job);
            let promise = Promise { payload: &submit.payload, cancelled };
            let twice = promises.insert(job, promise).is_some();
            assert!(!twice, "two submits of {} have one job", client.name);
        }
    }
    promises
}

/// A job's whole history as it is served now.
async fn history(peer: &mut Peer, job: &str) -> Vec<(Value, Value)> {
    peer.send("job.subscribe", json!({ "job_id": job, "history": true }));
    let subscribed = peer.frame().await;
    assert_eq!(subscribed["type"], "job.subscribed", "an accepted job is lost: {subscribed}");
    let mut history = Vec::new();
    loop {
        let frame = peer.numbered_of(job).await;
        history.push((frame["type"].clone(), frame["payload"].clone()));
        if frame["type"] != "job.event" {
            return history;
        }
    }
}

/// The journal holds, for each attempt, the first part of what the agent noted that it would say, and one end that
/// goes with it.
fn compare_with_agent(job: &str, promise: &Promise<'_>, history: &[(Value, Value)], sent: &[(u64, u64)]) {
    let (events, end) = history.split_at(history.len() - 1);
    let (mut attempt, mut said) = (0, 0);
    for (_, payload) in events {
        let body = &payload["body"];
        if payload["kind"] == "status" {
            assert_eq!(body["phase"], "restarted", "{job}: {body}");
            continue;
        }
        let (by, n) = (body["attempt"].as_u64().unwrap(), body["n"].as_u64().unwrap());
        if by != attempt {
            assert!(by > attempt, "{job}: attempt {by} speaks after attempt {attempt}");
            (attempt, said) = (by, 0);
        }
        said += 1;
        assert_eq!(n, said, "{job}: attempt {by} said {n} in place of {said}");
        let noted = sent.iter().find(|(noted, _)| *noted == by).map_or(0, |(_, most)| *most);
        assert!(n <= noted, "{job}: attempt {by} is said to have said {n}, and noted {noted}");
    }
    let (kind, payload) = &end[0];
    let (input, code) = (&promise.payload["input"], payload["code"].as_str());
    if promise.cancelled {
        assert_eq!(code, Some("CANCELLED"), "{job} was cancelled: {payload}");
    } else if kind == "job.result" {
        assert_eq!(payload["result"]["n"], input["count"], "{job}: {payload}");
        assert_eq!(
            (Some(attempt), said),
            (payload["result"]["attempt"].as_u64(), input["count"].as_u64().unwrap())
        );
    } else if code != Some("CANCELLED") {
        // A cancellation may have been stored before its answer was lost.
        assert_eq!((code, &payload["retryable"]), (Some("INTERNAL_ERROR"), &json!(true)), "{job}: {payload}");
        assert_eq!(promise.payload["agent"], "steady", "{job} should have begun again: {payload}");
    }
}

fn compare_with_client(job: &str, client: &Client, said: &[u64]) {
    let (name, seen) = (&client.name, client.seen.get(job).map_or(&[][..], Vec::as_slice));
    let own = client.submits.iter().any(|submit| submit.job.as_deref() == Some(job));
    let whole = own || client.watched.get(job).copied().unwrap_or(false);
    let differs = seen.iter().zip(said).position(|(seen, said)| seen != said);
    let differs = differs.or((seen.len() > said.len()).then_some(said.len()));
    if let Some(at) = differs {
        // Where what was seen stands in the history tells a gap from a duplicate.
        let stands: Vec<Option<usize>> =
            seen[at..].iter().take(5).map(|seen| said.iter().position(|said| said == seen)).collect();
        let (seen, said) = (seen.len(), said.len());
        panic!(
            "{name} saw {seen} of {said} of {job}, and something else from {at} on, which stands at {stands:?}"
        );
    }
    assert!(!whole || seen.len() == said.len(), "{name} missed a part of {job}");
    assert!(own || client.watched.contains_key(job) || seen.is_empty(), "{name} was told of {job} unasked");
}
