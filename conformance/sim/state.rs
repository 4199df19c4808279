//! What the world's parts share: the virtual time, what is due when, and the trace. One lock around all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arcpd::runtime::Ambient;
use arcpd::wire::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::disk::Platter;
use crate::net::Link;
use crate::oracle::Oracle;
use crate::plan::Plan;

/// When the virtual time begins, in milliseconds of the epoch.
const BEGIN_MS: i64 = 1_790_000_000_000;

/// What is due at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The store applies what it was given.
    Apply,
    /// A frame arrives at the daemon's end of a link.
    Heard(u64),
    /// A frame, or the end, arrives at the client's end of a link.
    Arrived(u64),
    /// The daemon's end of a link learns that it is broken.
    Broken(u64),
    /// A stalled client reads again.
    Unstall(u64),
    /// A client does something.
    Act(usize),
    /// Something goes wrong.
    Chaos,
    /// Nothing goes wrong any more.
    Heal,
    /// The time for everything to come right is over.
    Late,
}

/// Everything but the daemon and the clients.
pub(crate) struct State {
    pub(crate) plan: Plan,
    pub(crate) disk: Platter,
    pub(crate) links: BTreeMap<u64, Link>,
    /// The links that nobody serves yet.
    pub(crate) dialled: Vec<u64>,
    pub(crate) oracle: Oracle,
    /// Counts the lives of the daemon; 0 while there is none.
    pub(crate) life: u64,
    pub(crate) net_dice: Dice,
    chance: Dice,
    began: u64,
    start: Option<Instant>,
    agenda: BTreeMap<(u64, u64), Event>,
    planned: u64,
    pub(crate) sooner: Arc<Notify>,
    pub(crate) trace: Vec<String>,
}

/// The shared state. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(crate) fn new(plan: Plan, dice: &mut Dice) -> Shared {
        let state = State {
            disk: Platter::new(dice.split()),
            oracle: Oracle::new(&plan),
            plan,
            links: BTreeMap::new(),
            dialled: Vec::new(),
            life: 0,
            net_dice: dice.split(),
            chance: dice.split(),
            began: 0,
            start: None,
            agenda: BTreeMap::new(),
            planned: 0,
            sooner: Arc::new(Notify::new()),
            trace: Vec::new(),
        };
        Shared(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// The virtual time in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.began + self.start.map_or(0, |start| start.elapsed().as_millis() as u64)
    }

    /// A life begins: its clock goes on from here.
    pub(crate) fn begin(&mut self, life: u64) {
        self.life = life;
        self.start = Some(Instant::now());
    }

    /// A life is over; `pause` milliseconds pass until the next.
    pub(crate) fn stop(&mut self, pause: u64) {
        self.began = self.now() + pause;
        self.start = None;
        self.life = 0;
    }

    /// Plans something for so many milliseconds from now.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        let at = self.now() + ms;
        let sooner = self.next_at().is_none_or(|next| at < next);
        self.planned += 1;
        self.agenda.insert((at, self.planned), event);
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// When something is due next.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// What is due now, if anything.
    pub(crate) fn due(&mut self) -> Option<Event> {
        let now = self.now();
        let first = self.agenda.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Writes a line of the trace.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{:>8} {}", self.now(), line());
        self.trace.push(line);
    }

    /// A promise is broken.
    pub(crate) fn violation(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.oracle.violations.push(what);
    }
}

/// The daemon's time and chance.
pub(crate) struct Fate(pub(crate) Shared);

impl Ambient for Fate {
    fn now(&self) -> Timestamp {
        let ms = self.0.lock().now();
        Timestamp::from_micros(BEGIN_MS * 1_000).plus(Duration::from_millis(ms))
    }

    fn random(&self) -> u128 {
        let mut state = self.0.lock();
        u128::from(state.chance.roll()) << 64 | u128::from(state.chance.roll())
    }

    fn secret(&self) -> [u8; 32] {
        let mut state = self.0.lock();
        let mut secret = [0; 32];
        secret.chunks_mut(8).for_each(|part| part.copy_from_slice(&state.chance.roll().to_le_bytes()));
        secret
    }
}
