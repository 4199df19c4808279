//! Which agents there are: names, versions, defaults (§7.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AgentHost;
use crate::wire::agent_ref::AgentRef;
use crate::wire::error::{ErrorBody, ErrorCode};
use crate::wire::session::AgentEntry;

struct Version {
    version: String,
    host: Arc<dyn AgentHost>,
    restartable: bool,
}

struct Versions {
    all: Vec<Version>,
    default: Option<String>,
}

/// One version of an agent, as a job gets it.
pub struct Resolved {
    /// `name@version`.
    pub agent: AgentRef,
    /// Runs its attempts.
    pub host: Arc<dyn AgentHost>,
    /// Whether it may begin a job again that was cut off.
    pub restartable: bool,
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
    /// Something is said of a version that is not registered.
    #[error("the version {version} of the agent {name} is not registered")]
    Missing {
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
            self.agents.entry(name.clone()).or_insert_with(|| Versions { all: Vec::new(), default: None });
        if versions.all.iter().any(|known| known.version == version) {
            return Err(BadAgent::Twice(AgentRef { name, version: Some(version) }));
        }
        versions.default.get_or_insert_with(|| version.clone());
        versions.all.push(Version { version, host, restartable: false });
        Ok(())
    }

    /// Makes a registered version the default of its name.
    ///
    /// # Errors
    /// [`BadAgent::Missing`] when it is not registered.
    pub fn set_default(&mut self, name: &str, version: &str) -> Result<(), BadAgent> {
        self.change(name, version, |versions, _| versions.default = Some(version.into()))
    }

    /// Lets a registered version begin a job again whose attempt was cut off by the daemon's end: whatever it did
    /// before, it may do once more.
    ///
    /// # Errors
    /// [`BadAgent::Missing`] when it is not registered.
    pub fn set_restartable(&mut self, name: &str, version: &str) -> Result<(), BadAgent> {
        self.change(name, version, |versions, at| versions.all[at].restartable = true)
    }

    fn change(
        &mut self,
        name: &str,
        version: &str,
        change: impl FnOnce(&mut Versions, usize),
    ) -> Result<(), BadAgent> {
        let missing = || BadAgent::Missing { name: name.into(), version: version.into() };
        let versions = self.agents.get_mut(name).ok_or_else(missing)?;
        let at = versions.all.iter().position(|known| known.version == version).ok_or_else(missing)?;
        change(versions, at);
        Ok(())
    }

    /// The inventory for `session.welcome` (§6.2).
    pub fn inventory(&self) -> Vec<AgentEntry> {
        let entry = |(name, versions): (&String, &Versions)| AgentEntry {
            name: name.clone(),
            versions: versions.all.iter().map(|known| known.version.clone()).collect(),
            default: versions.default.clone(),
        };
        self.agents.iter().map(entry).collect()
    }

    /// Resolves a reference to one version (§7.5).
    ///
    /// # Errors
    /// `AGENT_NOT_AVAILABLE` for an unknown name, `AGENT_VERSION_NOT_AVAILABLE` for an unknown version.
    pub fn resolve(&self, asked: &AgentRef) -> Result<Resolved, ErrorBody> {
        let versions = self.agents.get(&asked.name).ok_or_else(|| {
            let known = self.agents.keys().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("there is no agent {:?}; registered: {known}", asked.name);
            ErrorBody::new(ErrorCode::AgentNotAvailable, message)
        })?;
        let wanted = asked.version.as_ref().or(versions.default.as_ref());
        let found = versions.all.iter().find(|known| Some(&known.version) == wanted);
        let Version { version, host, restartable } = found.ok_or_else(|| {
            let known =
                versions.all.iter().map(|known| known.version.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("the agent {asked} is not available; versions: {known}");
            ErrorBody::new(ErrorCode::AgentVersionNotAvailable, message)
        })?;
        let agent = AgentRef { name: asked.name.clone(), version: Some(version.clone()) };
        Ok(Resolved { agent, host: host.clone(), restartable: *restartable })
    }
}
