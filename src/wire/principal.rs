//! Who a session belongs to.

use std::fmt;
use std::sync::Arc;

/// An authenticated identity (§6.1): whom sessions and jobs belong to. Cheap to copy about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The principal of this name.
    pub fn new(subject: &str) -> Self {
        Principal(subject.into())
    }

    /// Its name.
    pub fn subject(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
