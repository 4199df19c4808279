//! Which agents there are: names, versions, defaults (§7.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AgentHost;
use crate::wire::agent_ref::AgentRef;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::session::AgentEntry;

struct Versions {
    hosts: Vec<(String, Arc<dyn AgentHost>)>,
    default: Option<String>,
}

/// The registered agents. Fixed once the runtime is built.
#[derive(Default)]
pub struct Catalogue {
    agents: BTreeMap<String, Versions>,
}

/// An agent that cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAgent {
    /// A name or version outside the grammar, or a missing version.
    #[error("cannot register the agent {0:?}: expected name@version, like report@1.0.0")]
    Name(String),
    /// Registered already.
    #[error("cannot register the agent {0} twice")]
    Twice(AgentRef),
    /// A default that is no registered version.
    #[error("the default version {version} of the agent {name} is not registered")]
    Default {
        /// The agent.
        name: String,
        /// The version asked for.
        version: String,
    },
}

impl Catalogue {
    /// Registers an agent version. The first version of a name is its default until another is named.
    ///
    /// # Errors
    /// [`BadAgent`] when the name is no `name@version` or is taken.
    pub fn register(&mut self, agent: &str, host: Arc<dyn AgentHost>) -> Result<(), BadAgent> {
        let parsed = agent.parse::<AgentRef>().ok();
        let Some(AgentRef { name, version: Some(version) }) = parsed else {
            return Err(BadAgent::Name(agent.into()));
        };
        let versions =
            self.agents.entry(name.clone()).or_insert_with(|| Versions { hosts: Vec::new(), default: None });
        if versions.hosts.iter().any(|(known, _)| *known == version) {
            return Err(BadAgent::Twice(AgentRef { name, version: Some(version) }));
        }
        versions.default.get_or_insert_with(|| version.clone());
        versions.hosts.push((version, host));
        Ok(())
    }

    /// Makes a registered version the default of its name.
    ///
    /// # Errors
    /// [`BadAgent::Default`] when it is not registered.
    pub fn set_default(&mut self, name: &str, version: &str) -> Result<(), BadAgent> {
        let missing = || BadAgent::Default { name: name.into(), version: version.into() };
        let versions = self.agents.get_mut(name).ok_or_else(missing)?;
        if !versions.hosts.iter().any(|(known, _)| known == version) {
            return Err(missing());
        }
        versions.default = Some(version.into());
        Ok(())
    }

    /// The inventory for `session.welcome` (§6.2).
    pub fn inventory(&self) -> Vec<AgentEntry> {
        let entry = |(name, versions): (&String, &Versions)| AgentEntry {
            name: name.clone(),
            versions: versions.hosts.iter().map(|(version, _)| version.clone()).collect(),
            default: versions.default.clone(),
        };
        self.agents.iter().map(entry).collect()
    }

    /// Resolves a reference to one version and its host (§7.5).
    ///
    /// # Errors
    /// `AGENT_NOT_AVAILABLE` for an unknown name, `AGENT_VERSION_NOT_AVAILABLE` for an unknown version.
    pub fn resolve(&self, asked: &AgentRef) -> Result<(AgentRef, Arc<dyn AgentHost>), ErrorBody> {
        let versions = self.agents.get(&asked.name).ok_or_else(|| {
            let known = self.agents.keys().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("there is no agent {:?}; registered: {known}", asked.name);
            ErrorBody::new(ErrorCode::AgentNotAvailable, message)
        })?;
        let wanted = asked.version.as_ref().or(versions.default.as_ref());
        let found = versions.hosts.iter().find(|(version, _)| Some(version) == wanted);
        let (version, host) = found.ok_or_else(|| {
            let known =
                versions.hosts.iter().map(|(version, _)| version.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("the agent {asked} is not available; versions: {known}");
            ErrorBody::new(ErrorCode::AgentVersionNotAvailable, message)
        })?;
        Ok((AgentRef { name: asked.name.clone(), version: Some(version.clone()) }, host.clone()))
    }
}
