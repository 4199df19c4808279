//! Whether a runtime keeps to ARCP: what there is to keep.

pub mod catalogue;
