//! What the client says it can do, and what of it the daemon can do too: yes only where both say so.

use serde::{Deserialize, Serialize};

use crate::wire::session::AgentEntry;

/// The client's list, as far as it asks for something that can be answered with yes or no.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Capabilities {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    streaming: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durable_jobs: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoints: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary_streams: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_handoff: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_use: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provisioned_credentials: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifacts: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subscriptions: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduled_jobs: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interrupt: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anonymous: Option<bool>,
}

impl Capabilities {
    /// Whether the client takes a result in chunks. Its `join()` knows nothing of them, so one that does not ask for
    /// streaming is given results whole.
    pub(super) fn reads_chunks(&self) -> bool {
        self.streaming == Some(true)
    }

    /// The client's list without what the daemon cannot do.
    pub(super) fn and_ours(self) -> Self {
        let no = |offered: Option<bool>| offered.map(|_| false);
        Capabilities {
            streaming: self.streaming,
            durable_jobs: self.durable_jobs,
            checkpoints: no(self.checkpoints),
            binary_streams: no(self.binary_streams),
            agent_handoff: no(self.agent_handoff),
            model_use: no(self.model_use),
            provisioned_credentials: no(self.provisioned_credentials),
            artifacts: no(self.artifacts),
            subscriptions: self.subscriptions,
            scheduled_jobs: no(self.scheduled_jobs),
            interrupt: no(self.interrupt),
            anonymous: no(self.anonymous),
        }
    }
}

/// What is answered: the list that both share, and the agents there are.
#[derive(Debug, Serialize)]
pub(super) struct Shared<'a> {
    #[serde(flatten)]
    pub(super) both: Capabilities,
    pub(super) agents: &'a [AgentEntry],
}
