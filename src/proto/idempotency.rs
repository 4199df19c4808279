//! Repeated submits (§7.2; our decision 7): the same key and parameters are the same job.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::submit::{Fingerprint, Order, Spec};
use crate::wire::agent_ref::AgentRef;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::id::JobId;
use crate::wire::limits::Limits;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

type Scope = (Principal, String);

/// A key, and what a repeated submit is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: String,
    /// What was asked for beside the agent.
    pub fingerprint: Fingerprint,
    /// The agent as it was written.
    pub asked: AgentRef,
    /// The agent as it was resolved.
    pub resolved: AgentRef,
    /// When.
    pub at: Timestamp,
}

impl Keyed {
    /// What is remembered of a job that was submitted under a key.
    pub fn of(spec: &Spec) -> Option<Keyed> {
        let Spec { order, agent, created_at, .. } = spec;
        Some(Keyed {
            key: order.key.clone()?,
            fingerprint: order.fingerprint,
            asked: order.asked.clone(),
            resolved: agent.clone(),
            at: *created_at,
        })
    }
}

#[derive(Debug, Clone)]
struct Known {
    job: JobId,
    fingerprint: Fingerprint,
    asked: AgentRef,
    resolved: AgentRef,
    at: Timestamp,
}

/// What a submit with a key is.
#[derive(Debug, Clone, PartialEq)]
pub enum Repeat {
    /// The first with this key.
    New,
    /// The same as the one that began this job.
    Same(JobId),
    /// Another one under the key of this job: `DUPLICATE_KEY`.
    Conflict(JobId, ErrorBody),
}

/// Entries of forgotten keys that may stand about before they are cleared away.
const COMPACT_OVER: usize = 64;

/// The keys that are remembered, oldest first. Bounded by count and age; a key of a live job is never forgotten.
#[derive(Debug, Default)]
pub struct Keys {
    known: HashMap<Scope, Known>,
    oldest: VecDeque<(Scope, JobId)>,
    overdue: Vec<(Scope, JobId)>,
}

impl Keys {
    /// Compares a submit with what is known under its key. `resolved` is what its agent means today, if anything:
    /// an agent is the same as written or as resolved, so that a new default is no conflict.
    pub fn look_up(
        &self,
        principal: &Principal,
        key: &str,
        order: &Order,
        resolved: Option<&AgentRef>,
    ) -> Repeat {
        let Some(known) = self.known.get(&(principal.clone(), key.to_owned())) else { return Repeat::New };
        let same_agent =
            known.asked == order.asked || known.resolved == order.asked || resolved == Some(&known.resolved);
        if same_agent && known.fingerprint == order.fingerprint {
            return Repeat::Same(known.job);
        }
        let differs = if same_agent { "its input, lease or runtime" } else { "its agent" };
        let words =
            format!("the idempotency key {key:?} was used before and {differs} differed; use a new key");
        Repeat::Conflict(known.job, ErrorBody::new(ErrorCode::DuplicateKey, words))
    }

    /// Remembers under which key a principal's job was begun.
    pub fn remember(&mut self, principal: &Principal, job: JobId, keyed: Keyed) {
        let Keyed { key, fingerprint, asked, resolved, at } = keyed;
        let scope = (principal.clone(), key);
        self.known.insert(scope.clone(), Known { job, fingerprint, asked, resolved, at });
        self.oldest.push_back((scope, job));
    }

    /// Forgets what is too old or too much; `is_live` says which jobs have not ended. A key whose turn has come while
    /// its job lives is overdue: it goes as soon as the job has ended.
    pub fn sweep(&mut self, limits: &Limits, now: Timestamp, is_live: impl Fn(JobId) -> bool) {
        let age = Duration::from_secs(limits.idempotency_age_sec);
        let (due, overdue): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.overdue).into_iter().partition(|(_, job)| !is_live(*job));
        self.overdue = overdue;
        due.into_iter().for_each(|(scope, job)| self.remove(&scope, job));
        while let Some((scope, job)) = self.oldest.front() {
            let too_many = self.known.len() > limits.idempotency_keys;
            let gone = self.known.get(scope).is_none_or(|known| known.job != *job);
            if !too_many && !gone && self.known.get(scope).is_some_and(|known| now.since(known.at) < age) {
                return;
            }
            let Some((scope, job)) = self.oldest.pop_front() else { return };
            if !gone && is_live(job) {
                self.overdue.push((scope, job));
            } else {
                self.remove(&scope, job);
            }
        }
    }

    fn remove(&mut self, scope: &Scope, job: JobId) {
        if self.known.get(scope).is_some_and(|known| known.job == job) {
            self.known.remove(scope);
        }
    }

    /// Forgets the key of a job that is no longer kept.
    pub fn forget(&mut self, principal: &Principal, key: &str, job: JobId) {
        self.remove(&(principal.clone(), key.to_owned()), job);
        if self.oldest.len() > 2 * self.known.len() + COMPACT_OVER {
            let known = &self.known;
            self.oldest.retain(|(scope, job)| known.get(scope).is_some_and(|known| known.job == *job));
        }
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What is remembered of a key in the plainest way: the newest job of it, when, and its input.
    type Plain = Vec<(&'static str, String, JobId, i64, u8)>;

    #[derive(Debug, Clone)]
    enum Step {
        Submit(bool, u8, u8),
        End(JobId),
        Forget(JobId),
        Sweep,
        Wait(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (any::<bool>(), 0..4_u8, 0..2_u8).prop_map(|(who, key, input)| Step::Submit(who, key, input)),
            3 => (0..30_u64).prop_map(|n| Step::End(JobId::new(n, 0))),
            1 => (0..30_u64).prop_map(|n| Step::Forget(JobId::new(n, 0))),
            2 => Just(Step::Sweep),
            3 => (1..8_i64).prop_map(Step::Wait),
        ];
        vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn keys_are_remembered_like_a_plain_list_would(steps in steps()) {
            let limits = Limits { idempotency_keys: 3, idempotency_age_sec: 10, ..Limits::default() };
            let (mut keys, mut plain, mut now) = (Keys::default(), Plain::new(), 0);
            let mut live = std::collections::BTreeMap::new();
            for step in steps {
                let at = Timestamp::from_micros(now * 1_000_000);
                match step {
                    Step::Submit(alice, key, input) => {
                        let (who, key) = (if alice { "alice" } else { "bob" }, key.to_string());
                        let principal: Principal = who.parse().unwrap();
                        let order = order("e", &input.to_string());
                        let known = plain.iter().find(|known| (known.0, &known.1) == (who, &key));
                        match (keys.look_up(&principal, &key, &order, None), known) {
                            (Repeat::New, None) => {
                                let job = JobId::new(live.len() as u64, 0);
                                keys.remember(&principal, job, keyed(&key, &order, "e@1", at));
                                plain.push((who, key, job, now, input));
                                live.insert(job, true);
                            }
                            (Repeat::Same(job), Some(known)) => {
                                prop_assert_eq!((job, input), (known.2, known.4));
                            }
                            (Repeat::Conflict(..), Some(known)) => prop_assert_ne!(input, known.4),
                            (repeat, known) => prop_assert!(false, "{:?} but {:?}", repeat, known),
                        }
                    }
                    Step::End(job) => {
                        live.entry(job).and_modify(|live| *live = false);
                    }
                    Step::Forget(job) => {
                        if let Some(at) = plain.iter().position(|known| known.2 == job && !live[&job]) {
                            let (who, key, ..) = plain.remove(at);
                            keys.forget(&who.parse().unwrap(), &key, job);
                        }
                    }
                    Step::Sweep => {
                        let overdue = keys.overdue.len();
                        keys.sweep(&limits, at, |job| live[&job]);
                        let before = plain.len();
                        plain.retain(|(who, key, job, ..)| {
                            let order = order("e", "0");
                            keys.look_up(&who.parse().unwrap(), key, &order, None) != Repeat::New || {
                                assert!(!live[job], "the key of a live job was forgotten");
                                false
                            }
                        });
                        let ended = |known: &&(&str, String, JobId, i64, u8)| !live[&known.2];
                        let old = plain.iter().filter(ended).filter(|known| now - known.3 >= 10).count();
                        prop_assert!(old == 0, "too old keys of ended jobs stay");
                        prop_assert!(plain.len() <= 3 || plain.iter().filter(ended).count() == 0);
                        let need = before > 3 || now >= 10 || overdue > 0;
                        prop_assert!(before == plain.len() || need, "forgotten without need");
                    }
                    Step::Wait(seconds) => now += seconds,
                }
                prop_assert_eq!(keys.len(), plain.len());
                prop_assert!(keys.oldest.len() <= live.len());
            }
        }
    }

    fn order(agent: &str, input: &str) -> Order {
        let payload = format!(r#"{{"agent":"{agent}","input":{input}}}"#);
        Order::new(serde_json::from_str(&payload).unwrap(), None, &Limits::default()).unwrap()
    }

    fn agent(text: &str) -> AgentRef {
        text.parse().unwrap()
    }

    fn keyed(key: &str, order: &Order, resolved: &str, at: Timestamp) -> Keyed {
        let (fingerprint, asked, resolved) = (order.fingerprint, order.asked.clone(), agent(resolved));
        Keyed { key: key.into(), fingerprint, asked, resolved, at }
    }

    #[test]
    fn a_key_belongs_to_a_principal_and_conflicts_are_told() {
        let (alice, bob): (Principal, Principal) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let job = JobId::new(1, 1);
        let mut keys = Keys::default();
        keys.remember(&alice, job, keyed("k", &order("echo", "1"), "echo@2.0.0", Timestamp::default()));
        let ask = |who, o: &Order, today: &str| keys.look_up(who, "k", o, Some(&agent(today)));
        assert_eq!(ask(&alice, &order("echo", "1"), "echo@3.0.0"), Repeat::Same(job), "as written");
        assert_eq!(ask(&alice, &order("echo@2.0.0", "1"), "echo@2.0.0"), Repeat::Same(job), "as resolved");
        assert_eq!(ask(&bob, &order("echo", "2"), "echo@2.0.0"), Repeat::New);
        for other in [order("echo", "2"), order("echo@1.0.0", "1")] {
            let today = other.asked.to_string();
            let Repeat::Conflict(_, error) = ask(&alice, &other, &today) else { panic!("{other:?}") };
            assert_eq!(error.code, ErrorCode::DuplicateKey);
        }
    }

    #[test]
    fn keys_are_forgotten_by_age_and_count_but_never_while_their_job_lives() {
        let alice: Principal = "alice".parse().unwrap();
        let limits = Limits { idempotency_keys: 2, idempotency_age_sec: 10, ..Limits::default() };
        let mut keys = Keys::default();
        for n in 0..4_u32 {
            let at = Timestamp::from_micros(i64::from(n));
            keys.remember(
                &alice,
                JobId::new(1, n.into()),
                keyed(&n.to_string(), &order("e", "1"), "e@1", at),
            );
        }
        keys.sweep(&limits, Timestamp::from_micros(5), |job| job == JobId::new(1, 0));
        assert_eq!(keys.len(), 2);
        assert!(
            matches!(keys.look_up(&alice, "0", &order("e", "1"), None), Repeat::Same(_)),
            "still running"
        );
        keys.sweep(&limits, Timestamp::from_micros(60_000_000), |_| false);
        assert!(keys.is_empty());
    }
}
