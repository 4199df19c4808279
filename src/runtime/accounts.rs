//! What the jobs and sessions of each principal weigh, so that nobody's flood is paid for by others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::telemetry::metrics::Counts;
use crate::wire::principal::Principal;

/// Why events are kept no longer that somebody might still have asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evicted {
    /// The history of a running job has too many.
    Events,
    /// The history of a running job weighs too much.
    Bytes,
    /// The jobs of its principal, or all together, weigh too much.
    Shared,
    /// A session has not acknowledged as much as its buffer holds.
    Unacknowledged,
}

impl Evicted {
    fn as_str(self) -> &'static str {
        match self {
            Evicted::Events => "history_events",
            Evicted::Bytes => "history_bytes",
            Evicted::Shared => "bytes",
            Evicted::Unacknowledged => "session_buffer",
        }
    }
}

/// The bytes that one principal's jobs and sessions weigh, and what everybody has lost. Cheap to clone and to count in.
#[derive(Debug, Clone)]
pub(super) struct Account {
    bytes: Arc<AtomicU64>,
    evicted: Arc<Counts>,
}

impl Account {
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take(&self, bytes: u64) {
        // Never below nothing: an account that wrapped would shut its principal out.
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Something that was charged for `charged` weighs `weight` now.
    pub(super) fn recharge(&self, charged: &mut u64, weight: u64) {
        self.add(weight.saturating_sub(*charged));
        self.take(charged.saturating_sub(weight));
        *charged = weight;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A job or a session has lost so many events.
    pub(super) fn lost(&self, why: Evicted, events: u64) {
        self.evicted.add(why.as_str(), events);
    }
}

/// Every principal's account.
#[derive(Debug)]
pub(super) struct Accounts {
    known: Mutex<BTreeMap<Principal, Account>>,
    evicted: Arc<Counts>,
}

impl Default for Accounts {
    fn default() -> Self {
        let evicted = Arc::new(Counts::by(&["history_events", "history_bytes", "bytes", "session_buffer"]));
        Accounts { known: Mutex::default(), evicted }
    }
}

impl Accounts {
    pub(super) fn of(&self, principal: &Principal) -> Account {
        let new = || Account { bytes: Arc::default(), evicted: self.evicted.clone() };
        self.known.lock().entry(principal.clone()).or_insert_with(new).clone()
    }

    /// How many events jobs have lost, and why.
    pub(super) fn evicted(&self) -> &Counts {
        &self.evicted
    }

    /// Those that weigh more than `max`, and by how much.
    pub(super) fn over(&self, max: u64) -> Vec<(Principal, u64)> {
        let accounts = self.known.lock();
        let excess =
            accounts.iter().filter_map(|(who, account)| Some((who, account.bytes().checked_sub(max)?)));
        excess.filter(|(_, excess)| *excess > 0).map(|(who, excess)| (who.clone(), excess)).collect()
    }

    /// Who weighs most, and how much.
    pub(super) fn heaviest(&self) -> Option<(Principal, u64)> {
        let accounts = self.known.lock();
        let weights = accounts.iter().map(|(who, account)| (account.bytes(), who));
        weights.max().map(|(bytes, who)| (who.clone(), bytes))
    }

    /// Forgets those that weigh nothing and that no job counts in any more.
    pub(super) fn tidy(&self) {
        self.known.lock().retain(|_, account| account.bytes() > 0 || Arc::strong_count(&account.bytes) > 1);
    }
}
