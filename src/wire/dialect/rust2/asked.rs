//! What was asked and is not answered yet, where the daemon's answer alone does not say what the client's has to.

use std::collections::VecDeque;

use super::subscriptions::Filter;
use super::words::Word;

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// A cancel of this target.
    Cancel(String),
    /// A ping, which is answered by this word.
    Ping(Word),
    /// An observation of a job, as against a job that is followed.
    Observe,
    /// A subscription by this filter.
    Subscribe(Filter),
    /// Something that the daemon does not do.
    Unimplemented,
}

/// Questions in the order in which they came. Each is answered once, so there are never more of them than answers in
/// flight.
#[derive(Debug, Default)]
pub(super) struct Asked {
    waiting: VecDeque<(String, Question)>,
}

impl Asked {
    /// A request of this id waits for its answer.
    pub(super) fn note(&mut self, id: &str, question: Question) {
        self.waiting.push_back((id.into(), question));
    }

    /// The request of this id is answered.
    pub(super) fn take(&mut self, id: &str) -> Option<Question> {
        let at = self.waiting.iter().position(|(known, _)| known == id)?;
        self.waiting.remove(at).map(|(_, question)| question)
    }

    /// How many subscriptions wait.
    pub(super) fn subscriptions(&self) -> usize {
        self.waiting.iter().filter(|(_, question)| matches!(question, Question::Subscribe(_))).count()
    }

    /// The oldest ping is answered: its id, and the word of the answer.
    pub(super) fn take_ping(&mut self) -> Option<(String, Word)> {
        let (at, word) = self.waiting.iter().enumerate().find_map(|(at, (_, question))| match question {
            Question::Ping(word) => Some((at, *word)),
            Question::Cancel(_) | Question::Observe | Question::Subscribe(_) | Question::Unimplemented => {
                None
            }
        })?;
        self.waiting.remove(at).map(|(id, _)| (id, word))
    }
}
