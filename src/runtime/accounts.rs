//! What the jobs of each principal weigh, so that nobody's flood is paid for by others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::wire::principal::Principal;

/// The bytes that one principal's jobs weigh. Cheap to clone and to count in.
#[derive(Debug, Clone, Default)]
pub(super) struct Account(Arc<AtomicU64>);

impl Account {
    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take(&self, bytes: u64) {
        // Never below nothing: an account that wrapped would shut its principal out.
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Every principal's account.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<Principal, Account>>);

impl Accounts {
    pub(super) fn of(&self, principal: &Principal) -> Account {
        self.0.lock().entry(principal.clone()).or_default().clone()
    }

    /// Those that weigh more than `max`, and by how much.
    pub(super) fn over(&self, max: u64) -> Vec<(Principal, u64)> {
        let accounts = self.0.lock();
        let excess =
            accounts.iter().filter_map(|(who, account)| Some((who, account.bytes().checked_sub(max)?)));
        excess.filter(|(_, excess)| *excess > 0).map(|(who, excess)| (who.clone(), excess)).collect()
    }

    /// Who weighs most, and how much.
    pub(super) fn heaviest(&self) -> Option<(Principal, u64)> {
        let accounts = self.0.lock();
        let weights = accounts.iter().map(|(who, account)| (account.bytes(), who));
        weights.max().map(|(bytes, who)| (who.clone(), bytes))
    }

    /// Forgets those that weigh nothing and that no job counts in any more.
    pub(super) fn tidy(&self) {
        self.0.lock().retain(|_, account| account.bytes() > 0 || Arc::strong_count(&account.0) > 1);
    }
}
