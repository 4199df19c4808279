//! Feature flags and their intersection (§6.2).

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// One optional feature of the protocol (§6.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Feature { $($(#[$doc])* $variant,)* }

        impl Feature {
            /// Every feature: those of the specification in its order, then our own.
            pub const ALL: &'static [Feature] = &[$(Feature::$variant,)*];

            /// The flag as it is written on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Feature::$variant => $text,)* }
            }

            /// The feature of this flag, if it is one.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Feature::$variant),)* _ => None }
            }
        }
    };
}

features! {
    /// Pings both ways and loss detection (§6.4).
    Heartbeat = "heartbeat",
    /// Acknowledgements of processed events (§6.5).
    Ack = "ack",
    /// Listing of jobs (§6.6).
    ListJobs = "list_jobs",
    /// Observation of jobs of other sessions (§7.6).
    Subscribe = "subscribe",
    /// Leases that end (§9.5).
    LeaseExpiresAt = "lease_expires_at",
    /// Money budgets (§9.6).
    CostBudget = "cost.budget",
    /// Model selection under the lease (§9.7).
    ModelUse = "model.use",
    /// Credentials made for one job (§9.8).
    ProvisionedCredentials = "provisioned_credentials",
    /// `progress` events (§8.2.1).
    Progress = "progress",
    /// Results streamed in chunks (§8.4).
    ResultChunk = "result_chunk",
    /// `name@version` references (§7.5).
    AgentVersions = "agent_versions",
    /// Following every job of one's principal (our decision 17).
    Follow = "x-arcpd.follow",
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of features; small enough to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureSet(u16);

impl FeatureSet {
    /// What this daemon offers: only what works (§6.2).
    pub const OFFERED: FeatureSet = FeatureSet::EMPTY
        .and(Feature::Heartbeat)
        .and(Feature::Ack)
        .and(Feature::ListJobs)
        .and(Feature::Subscribe)
        .and(Feature::LeaseExpiresAt)
        .and(Feature::Progress)
        .and(Feature::ResultChunk)
        .and(Feature::AgentVersions)
        .and(Feature::Follow);

    /// No feature at all.
    pub const EMPTY: FeatureSet = FeatureSet(0);

    /// This set and one more.
    #[must_use]
    pub const fn and(self, feature: Feature) -> Self {
        FeatureSet(self.0 | 1 << feature as u16)
    }

    /// Whether the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u16 != 0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersect(self, other: FeatureSet) -> Self {
        FeatureSet(self.0 & other.0)
    }

    /// The features in the specification's order.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |f| self.has(*f))
    }

    /// The set of the flags that are known; others are ignored, as a newer peer may offer more.
    pub fn from_flags<S: AsRef<str>>(flags: impl IntoIterator<Item = S>) -> Self {
        flags.into_iter().filter_map(|f| Feature::parse(f.as_ref())).fold(FeatureSet::EMPTY, FeatureSet::and)
    }
}

impl Serialize for FeatureSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Feature::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_the_intersection_and_unknown_flags_are_ignored() {
        let theirs = FeatureSet::from_flags(["ack", "cost.budget", "x-new"]);
        let both = theirs.intersect(FeatureSet::OFFERED);
        assert_eq!(both.iter().collect::<Vec<_>>(), [Feature::Ack]);
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"["ack"]"#);
    }
}
