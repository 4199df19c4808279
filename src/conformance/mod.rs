//! The conformance suite: what ARCP asks for, exchanges that show it, and a runner that holds any runtime against them.
//!
//! The [`catalogue`] has the requirements. A [`case`] is an exchange, line by line, and names what it checks; its
//! [`pattern`]s say what has to come. The [`run`]ner is a client like any other, without a door into the runtime; the
//! [`rules`] hold of every frame, whatever a case is about.

pub mod case;
pub mod cases;
pub mod catalogue;
pub mod pattern;
pub mod report;
pub mod rules;
pub mod run;
mod shape;
