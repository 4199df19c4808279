//! What a token allows beyond sessions and jobs of its own principal.

use std::fmt;
use std::str::FromStr;

/// What a token allows beyond sessions and jobs of its own principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything of `/api`: sees the sessions and jobs of everybody, and may cancel. Reads `/metrics` too.
    Operator,
    /// Reads `/metrics`.
    Metrics,
}

impl Role {
    /// The name that it is configured by.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Metrics => "metrics",
        }
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such role; the roles are operator and metrics")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;
    fn from_str(text: &str) -> Result<Self, NotARole> {
        match text {
            "operator" => Ok(Role::Operator),
            "metrics" => Ok(Role::Metrics),
            _ => Err(NotARole),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
