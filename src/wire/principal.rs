//! Who sessions and jobs belong to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Characters of a principal's name.
pub const SUBJECT_CHARS: usize = 64;

/// An authenticated identity (§6.1): whom sessions and jobs belong to. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

/// A text that names no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a name of 1 to {SUBJECT_CHARS} characters out of A-Z a-z 0-9 . _ @ -")]
pub struct NotAPrincipal;

impl Principal {
    /// Whom the token that the daemon makes by itself belongs to.
    pub fn local() -> Self {
        Principal("local".into())
    }

    /// Its name.
    pub fn subject(&self) -> &str {
        &self.0
    }
}

impl FromStr for Principal {
    type Err = NotAPrincipal;
    fn from_str(text: &str) -> Result<Self, NotAPrincipal> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-');
        if (1..=SUBJECT_CHARS).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Principal(text.into()))
        } else {
            Err(NotAPrincipal)
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
