//! How a client behaves.

use std::time::Duration;

use crate::wire::feature::{Feature, FeatureSet};
use crate::wire::limits::Limits;
use crate::wire::session::{Software, Token};

/// How a client behaves; [`ClientOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The bearer token (§6.1).
    pub token: Token,
    /// Who the client says it is (§6.2).
    pub client: Software,
    /// The features that it offers (§6.2).
    pub features: FeatureSet,
    /// Whether it acknowledges events where that was negotiated (§6.5).
    pub ack: bool,
    /// How long a request, or a handshake, waits for its answer.
    pub request_timeout: Duration,
    /// What it does when the connection breaks.
    pub reconnect: ReconnectPolicy,
    /// Updates that wait in one handle; see [`super::JobHandle`] for what happens beyond.
    pub handle_buffer: usize,
    /// How long a full handle may hold up the others before it is set aside.
    pub slow_handle_patience: Duration,
    /// The limits of frames.
    pub limits: Limits,
}

impl ClientOptions {
    /// The defaults: all features, acknowledgements on, 30 s for a request, a minute to reconnect.
    pub fn new(token: Token) -> Self {
        ClientOptions {
            token,
            client: Software { name: "arcpd".into(), version: env!("CARGO_PKG_VERSION").into() },
            features: every_feature(),
            ack: true,
            request_timeout: Duration::from_secs(30),
            reconnect: ReconnectPolicy::default(),
            handle_buffer: 1_024,
            slow_handle_patience: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

fn every_feature() -> FeatureSet {
    let own = |feature: &Feature| *feature == Feature::Follow;
    Feature::ALL.iter().copied().filter(|feature| !own(feature)).fold(FeatureSet::EMPTY, FeatureSet::and)
}

/// What a client does when its connection breaks: exponential back-off with jitter, within a budget of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// The longest pause before the first new connection.
    pub first: Duration,
    /// The longest pause before any.
    pub longest: Duration,
    /// How long it tries before it gives up; zero: it does not try at all.
    pub budget: Duration,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        ReconnectPolicy {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            budget: Duration::from_secs(60),
        }
    }
}

impl ReconnectPolicy {
    /// A broken connection stays broken.
    pub const NEVER: ReconnectPolicy =
        ReconnectPolicy { first: Duration::ZERO, longest: Duration::ZERO, budget: Duration::ZERO };

    /// The pause before attempt `attempt` (from 0): between half and all of the doubled step, where `random` is
    /// between 0 and 1.
    ///
    /// ```
    /// use arcpd::client::ReconnectPolicy;
    /// use std::time::Duration;
    ///
    /// let policy = ReconnectPolicy::default();
    /// assert_eq!(policy.pause(0, 1.0), Duration::from_millis(100));
    /// assert_eq!(policy.pause(1, 0.0), Duration::from_millis(100));
    /// assert_eq!(policy.pause(63, 1.0), Duration::from_secs(5));
    /// ```
    pub fn pause(&self, attempt: u32, random: f64) -> Duration {
        let step = self.first.saturating_mul(2_u32.saturating_pow(attempt)).min(self.longest);
        step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}
