//! What is alive: sessions by id and token, jobs that have not ended, and how many each principal has.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::job::JobCell;
use super::session::SessionCell;
use crate::proto::session::TokenHash;
use crate::store::FinishedRow;
use crate::wire::api::JobCounts;
use crate::wire::error::ErrorBody;
use crate::wire::id::{JobId, SessionId};
use crate::wire::job::JobStatus;
use crate::wire::limits::Limits;
use crate::wire::principal::Principal;
use crate::wire::time::Timestamp;

/// How long a client is asked to wait when a cap is reached.
const RETRY_AFTER_MS: u64 = 1_000;

#[derive(Default)]
struct Sessions {
    /// In the order in which they were opened.
    by_id: BTreeMap<SessionId, Arc<SessionCell>>,
    by_token: HashMap<TokenHash, SessionId>,
    per_principal: HashMap<Principal, usize>,
}

#[derive(Default)]
struct Jobs {
    /// In the order in which they were accepted.
    live: BTreeMap<JobId, Arc<JobCell>>,
    per_principal: HashMap<Principal, usize>,
    finished: VecDeque<Finished>,
}

/// A job that has ended and is still kept, in the order of their ends.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) job: JobId,
    pub(super) principal: Principal,
    pub(super) key: Option<String>,
    pub(super) at: Timestamp,
    /// What its principal was charged for it.
    pub(super) weight: u64,
}

/// What is alive.
#[derive(Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
    jobs: Mutex<Jobs>,
    followers: Mutex<Followers>,
}

/// The sessions that follow their principal.
#[derive(Default)]
struct Followers {
    by_principal: HashMap<Principal, Vec<Arc<SessionCell>>>,
}

fn leave(counts: &mut HashMap<Principal, usize>, principal: &Principal) {
    if let Some(count) = counts.get_mut(principal) {
        *count -= 1;
        if *count == 0 {
            counts.remove(principal);
        }
    }
}

fn cap(name: &str, max: usize) -> ErrorBody {
    ErrorBody::limit(name, max as u64, RETRY_AFTER_MS)
}

impl Registry {
    /// Takes a new session in, unless its principal has too many.
    pub(super) fn open(
        &self,
        cell: &Arc<SessionCell>,
        token: TokenHash,
        limits: &Limits,
    ) -> Result<(), ErrorBody> {
        let mut sessions = self.sessions.lock();
        let count = sessions.per_principal.entry(cell.principal.clone()).or_default();
        if *count >= limits.sessions_per_principal {
            return Err(cap("sessions_per_principal", limits.sessions_per_principal));
        }
        *count += 1;
        sessions.by_token.insert(token, cell.id);
        sessions.by_id.insert(cell.id, cell.clone());
        Ok(())
    }

    /// Takes a session of before a restart in. Caps are for those who come anew.
    pub(super) fn restore_session(&self, cell: &Arc<SessionCell>, tokens: &[TokenHash]) {
        let mut sessions = self.sessions.lock();
        *sessions.per_principal.entry(cell.principal.clone()).or_default() += 1;
        sessions.by_token.extend(tokens.iter().map(|token| (*token, cell.id)));
        sessions.by_id.insert(cell.id, cell.clone());
    }

    /// Takes a job of before a restart in that has not ended.
    pub(super) fn restore_live(&self, cell: &Arc<JobCell>) {
        let mut jobs = self.jobs.lock();
        *jobs.per_principal.entry(cell.spec.principal.clone()).or_default() += 1;
        jobs.live.insert(cell.id(), cell.clone());
        cell.charge();
    }

    /// Takes a job of before a restart in that has ended.
    pub(super) fn restore_finished(&self, row: FinishedRow) {
        let FinishedRow { job, principal, key, ended_at: at, weight } = row;
        let key = key.map(|keyed| keyed.key);
        self.jobs.lock().finished.push_back(Finished { job, principal, key, at, weight });
    }

    pub(super) fn session(&self, id: SessionId) -> Option<Arc<SessionCell>> {
        self.sessions.lock().by_id.get(&id).cloned()
    }

    /// The session that a resume token belongs to.
    pub(super) fn by_token(&self, token: &TokenHash) -> Option<Arc<SessionCell>> {
        let sessions = self.sessions.lock();
        sessions.by_token.get(token).and_then(|id| sessions.by_id.get(id)).cloned()
    }

    /// Makes a session known by another token, and unknown by those that are void.
    pub(super) fn retoken(&self, id: SessionId, next: Option<TokenHash>, void: &[TokenHash]) {
        let mut sessions = self.sessions.lock();
        for token in void {
            sessions.by_token.remove(token);
        }
        if let Some(next) = next {
            sessions.by_token.insert(next, id);
        }
    }

    /// Lets a session go.
    pub(super) fn close(&self, cell: &SessionCell, tokens: &[TokenHash]) {
        let mut sessions = self.sessions.lock();
        if sessions.by_id.remove(&cell.id).is_some() {
            leave(&mut sessions.per_principal, &cell.principal);
        }
        for token in tokens {
            sessions.by_token.remove(token);
        }
    }

    pub(super) fn sessions(&self) -> Vec<Arc<SessionCell>> {
        self.sessions.lock().by_id.values().cloned().collect()
    }

    /// Takes a new job in, unless there are too many.
    pub(super) fn accept(&self, cell: &Arc<JobCell>, limits: &Limits) -> Result<(), ErrorBody> {
        let mut jobs = self.jobs.lock();
        if jobs.live.len() >= limits.jobs_running {
            return Err(cap("jobs_running", limits.jobs_running));
        }
        let count = jobs.per_principal.entry(cell.spec.principal.clone()).or_default();
        if *count >= limits.jobs_per_principal {
            return Err(cap("jobs_per_principal", limits.jobs_per_principal));
        }
        *count += 1;
        jobs.live.insert(cell.id(), cell.clone());
        cell.charge();
        Ok(())
    }

    /// A job that has not ended, or whose end is not applied yet.
    pub(super) fn live(&self, job: JobId) -> Option<Arc<JobCell>> {
        self.jobs.lock().live.get(&job).cloned()
    }

    pub(super) fn live_jobs(&self) -> Vec<Arc<JobCell>> {
        self.jobs.lock().live.values().cloned().collect()
    }

    /// How many jobs there are.
    pub(super) fn job_counts(&self) -> JobCounts {
        let (live, finished) = {
            let jobs = self.jobs.lock();
            (jobs.live.values().cloned().collect::<Vec<_>>(), jobs.finished.len() as u64)
        };
        let pending = live.iter().filter(|cell| cell.status() == JobStatus::Pending).count() as u64;
        JobCounts { pending, running: live.len() as u64 - pending, finished }
    }

    /// How many sessions the principal has that has most of them, and how many jobs the one that has most of those.
    pub(super) fn most_of_one(&self) -> (usize, usize) {
        let most = |counts: &HashMap<Principal, usize>| counts.values().copied().max().unwrap_or_default();
        let sessions = most(&self.sessions.lock().per_principal);
        (sessions, most(&self.jobs.lock().per_principal))
    }

    /// A job has ended, and its end is applied.
    pub(super) fn finish(&self, cell: &JobCell, at: Timestamp) {
        let mut jobs = self.jobs.lock();
        if jobs.live.remove(&cell.id()).is_some() {
            leave(&mut jobs.per_principal, &cell.spec.principal);
            let (principal, key) = (cell.spec.principal.clone(), cell.spec.order.key.clone());
            let weight = cell.weight();
            jobs.finished.push_back(Finished { job: cell.id(), principal, key, at, weight });
        }
    }

    /// Takes the oldest finished jobs of a principal out until they weigh `bytes`, or there are no more.
    pub(super) fn forget_of(&self, principal: &Principal, bytes: u64) -> Vec<Finished> {
        let mut jobs = self.jobs.lock();
        let (mut gone, mut freed) = (Vec::new(), 0);
        jobs.finished.retain(|finished| {
            let goes = freed < bytes && finished.principal == *principal;
            if goes {
                freed += finished.weight.max(1);
                gone.push(finished.clone());
            }
            !goes
        });
        gone
    }

    /// The jobs of a principal that have not ended.
    pub(super) fn live_of(&self, principal: &Principal) -> Vec<Arc<JobCell>> {
        let mut live: Vec<Arc<JobCell>> = self.live_jobs();
        live.retain(|cell| cell.spec.principal == *principal);
        live
    }

    /// The sessions of a principal.
    pub(super) fn sessions_of(&self, principal: &Principal) -> Vec<Arc<SessionCell>> {
        let mut sessions = self.sessions();
        sessions.retain(|cell| cell.principal == *principal);
        sessions
    }

    /// A session follows its principal.
    ///
    /// # Errors
    /// When as many sessions as may follow it do.
    pub(super) fn follow(&self, cell: &Arc<SessionCell>, max: usize) -> Result<(), ErrorBody> {
        let mut followers = self.followers.lock();
        let known = followers.by_principal.entry(cell.principal.clone()).or_default();
        if known.iter().any(|other| other.id == cell.id) {
            return Ok(());
        }
        if known.len() >= max {
            return Err(ErrorBody::limit("followers_per_principal", max as u64, 1_000));
        }
        known.push(cell.clone());
        Ok(())
    }

    /// A session follows its principal no more.
    pub(super) fn unfollow(&self, cell: &SessionCell) {
        let mut followers = self.followers.lock();
        if let Some(known) = followers.by_principal.get_mut(&cell.principal) {
            known.retain(|other| other.id != cell.id);
            if known.is_empty() {
                followers.by_principal.remove(&cell.principal);
            }
        }
    }

    /// The sessions that follow a principal.
    pub(super) fn followers(&self, principal: &Principal) -> Vec<Arc<SessionCell>> {
        self.followers.lock().by_principal.get(principal).cloned().unwrap_or_default()
    }

    /// Keeps finished jobs whose age is over: it begins anew.
    pub(super) fn keep_on(&self, jobs: Vec<Finished>, now: Timestamp) {
        self.jobs.lock().finished.extend(jobs.into_iter().map(|job| Finished { at: now, ..job }));
    }

    /// Takes the oldest finished job out if `gone` says so of it and of how many there are.
    pub(super) fn forget_finished(&self, gone: impl Fn(&Finished, usize) -> bool) -> Option<Finished> {
        let mut jobs = self.jobs.lock();
        let count = jobs.finished.len();
        if gone(jobs.finished.front()?, count) { jobs.finished.pop_front() } else { None }
    }
}
