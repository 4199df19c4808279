//! The specification's encoding with the superset of fields that published clients read: what everybody gets
//! who is not known to need something else.

use super::Dialect;

/// Writes messages as they are.
pub(super) struct Spec;

impl Dialect for Spec {
    fn name(&self) -> &'static str {
        "spec"
    }
}
