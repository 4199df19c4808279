//! What a seed decides before its run begins: how the disk and the network behave, and which limits are tight.

use arcpd::wire::limits::Limits;

use crate::dice::Dice;

/// For how long things go wrong, in virtual milliseconds: mostly short, since most faults need little to meet.
const TROUBLE_MS: [u64; 5] = [2_000, 4_000, 6_000, 10_000, 30_000];

/// The shape of one run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How long things go wrong.
    pub(crate) trouble_ms: u64,
    /// Between two faults, at most.
    pub(crate) chaos_ms: u64,
    /// The longest time that the store takes for a group of batches.
    pub(crate) disk_ms: u64,
    /// The longest time that a read takes.
    pub(crate) read_ms: u64,
    /// How likely a read fails, in percent.
    pub(crate) read_fails: u64,
    /// The longest time that a frame travels.
    pub(crate) net_ms: u64,
    /// Which faults there are.
    pub(crate) crashes: bool,
    pub(crate) failing: bool,
    pub(crate) cuts: bool,
    pub(crate) stalls: bool,
    /// Whether so little is kept that streams and histories may be out of reach.
    pub(crate) tight: bool,
    pub(crate) window_sec: u64,
    pub(crate) heartbeat_sec: u64,
    pub(crate) clients: usize,
    /// Events of an agent at a time, at most.
    pub(crate) burst: u64,
    pub(crate) limits: Limits,
}

impl Plan {
    pub(crate) fn new(seed: u64, dice: &mut Dice) -> Plan {
        let mut limits = Limits {
            hello_timeout_ms: 3_000,
            send_timeout_ms: dice.within(500, 6_000),
            cancel_grace_ms: dice.within(50, 2_000),
            kill_grace_ms: 200,
            shutdown_grace_ms: 500,
            replies_pending: dice.within(1, 8) as usize,
            inline_result_bytes: 2_000,
            chunk_bytes: 700,
            ..Limits::default()
        };
        let tight = dice.chance(35);
        if tight {
            limits.session_buffer_events = dice.within(5, 200);
            limits.lag_signal_events = dice.within(5, 40);
            limits.lag_detach_events = limits.lag_signal_events + dice.within(1, 60);
            limits.bytes_per_principal = dice.within(20_000, 400_000);
            limits.finished_jobs = dice.within(1, 10) as usize;
            limits.finished_age_sec = dice.within(1, 40);
            limits.attachments_per_session = dice.within(2, 6) as usize;
            limits.idempotency_keys = dice.within(2, 50) as usize;
        } else {
            limits.lag_signal_events = dice.within(20, 400);
            limits.lag_detach_events = limits.lag_signal_events + dice.within(1, 400);
        }
        let slow = |dice: &mut Dice, often: u64, most: u64| match dice.below(3) {
            0 => 0,
            1 => often,
            _ => most,
        };
        Plan {
            seed,
            trouble_ms: *dice.pick(&TROUBLE_MS).unwrap_or(&TROUBLE_MS[0]),
            chaos_ms: *dice.pick(&[300, 2_000, 8_000]).unwrap_or(&2_000),
            disk_ms: slow(dice, 5, 400),
            read_ms: slow(dice, 3, 200),
            read_fails: 0,
            net_ms: slow(dice, 5, 150),
            crashes: dice.chance(75),
            failing: dice.chance(50),
            cuts: dice.chance(85),
            stalls: dice.chance(60),
            tight,
            window_sec: if tight { dice.within(1, 20) } else { 60 },
            heartbeat_sec: dice.within(1, 8),
            clients: dice.within(2, 4) as usize,
            burst: if dice.chance(10) { 300 } else { dice.within(2, 8) },
            limits,
        }
    }
}
