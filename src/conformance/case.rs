//! A case: an exchange, line by line as it is about, and the requirements that it checks.
//!
//! ```text
//! # A cancelled job says so, and ends so.
//! checks ARCP-7.4-1
//! agents sleeper
//!
//! a open alice
//! a > job.submit {"agent": "sleeper", "input": {"ms": 60000}} as order
//! a < job.accepted {"job_id": "$job"}
//! a > job.cancel {"job_id": "$job"}
//! a < job.cancelled {"job_id": "$job"}
//! a < job.error {"code": "CANCELLED", "final_status": "cancelled"} @{"job_id": "$job"}
//! ```
//!
//! A line begins with the name of a connection. A line that is indented goes on with the one before. `@` is followed by
//! what concerns the envelope. What a step sends and expects is JSON, with the names and matchers of
//! [`super::pattern`].

use std::str::FromStr;

use serde_json::Value;

use super::catalogue::RequirementId;
use super::pattern::{NotAPattern, Pattern};
use crate::wire::feature::Feature;

/// A case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its area and name, as in `jobs/cancel`.
    pub name: String,
    /// What it shows, in a sentence.
    pub title: String,
    /// The requirements that it checks.
    pub checks: Vec<RequirementId>,
    /// The features without which it cannot be run.
    pub needs: Vec<Feature>,
    /// The agents that the runtime has to host.
    pub agents: Vec<String>,
    /// The longest resume window, in seconds, that it can be run with.
    pub window: Option<u64>,
    /// The longest heartbeat interval, in seconds, that it can be run with.
    pub interval: Option<u64>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One line of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The line, from 1.
    pub line: usize,
    /// The connection.
    pub on: String,
    /// What is done or expected.
    pub act: Act,
}

/// Who is at the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The first principal.
    Alice,
    /// The second.
    Bob,
    /// Somebody whose token is nobody's.
    Nobody,
}

/// What is done or expected on a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// `connect`: a connection on which nothing has been said.
    Connect,
    /// `open alice [without F, G]`: a connection with a session.
    Open {
        /// Whose.
        who: Who,
        /// Features that are not offered.
        without: Vec<Feature>,
    },
    /// `[N] > TYPE {…} [@{…}] [as NAME]`: a frame goes out, or N of them with ids of their own.
    Send {
        /// How many times.
        times: u64,
        /// Its type.
        kind: String,
        /// Its payload.
        payload: Value,
        /// Fields of its envelope.
        envelope: Value,
        /// What its id is known by.
        name: Option<String>,
    },
    /// `raw TEXT`: a text goes out as it is.
    Raw(String),
    /// `[N] < TYPE {…} [@{…}]`: the next frame, or the next N.
    Expect {
        /// How many times.
        times: u64,
        /// What it is.
        frame: Frame,
    },
    /// `~ TYPE {…} [@{…}]`: a frame that comes, whatever comes before it.
    Await(Frame),
    /// `refused CODE, CODE [NAME]`: the request of this name, or the last one, is refused with one of these codes.
    Refused {
        /// The codes.
        codes: Vec<String>,
        /// The request.
        name: Option<String>,
    },
    /// `quiet`: nothing comes before the answer to a ping.
    Quiet,
    /// `ended`: the runtime closes the connection.
    Ended,
    /// `drop`: the connection is cut.
    Drop,
    /// `wait MS`: time passes, in milliseconds.
    Wait(u64),
}

/// A frame that is expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Its type.
    pub kind: String,
    /// Its payload.
    pub payload: Pattern,
    /// Its envelope.
    pub envelope: Pattern,
}

/// A case that cannot be read: the line, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct NotACase {
    /// The line, from 1.
    pub line: usize,
    /// What was expected, and what came.
    pub what: String,
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// [`NotACase`] with the first line that makes no sense.
    pub fn read(name: &str, text: &str) -> Result<Case, NotACase> {
        let mut case = Case {
            name: name.into(),
            title: String::new(),
            checks: Vec::new(),
            needs: Vec::new(),
            agents: Vec::new(),
            window: None,
            interval: None,
            steps: Vec::new(),
        };
        for (line, text) in logical_lines(text) {
            case.line(line, &text).map_err(|what| NotACase { line, what })?;
        }
        let missing = |what: &str| NotACase { line: 1, what: format!("expected {what}") };
        if case.title.is_empty() {
            return Err(missing("a title in a first line like # What the case shows."));
        }
        if case.checks.is_empty() {
            return Err(missing("a line like: checks ARCP-7.4-1"));
        }
        if case.steps.is_empty() {
            return Err(missing("at least one step"));
        }
        Ok(case)
    }

    /// How many connections are made.
    pub fn connections(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.act, Act::Connect | Act::Open { .. })).count()
    }

    fn line(&mut self, line: usize, text: &str) -> Result<(), String> {
        if let Some(comment) = text.strip_prefix('#') {
            if self.title.is_empty() {
                self.title = comment.trim().into();
            }
            return Ok(());
        }
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words = || rest.split([' ', ',']).filter(|word| !word.is_empty());
        match first {
            "checks" => self.checks = each(words())?,
            "needs" => self.needs = features(words())?,
            "agents" => self.agents = words().map(String::from).collect(),
            "window" => self.window = Some(number(rest)?),
            "interval" => self.interval = Some(number(rest)?),
            on => self.steps.push(Step { line, on: on.into(), act: act(rest.trim())? }),
        }
        Ok(())
    }
}

/// Lines with those that go on with them, without blank ones.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        match lines.last_mut() {
            Some((_, last)) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            Some(_) | None if line.trim().is_empty() => {}
            Some(_) | None => lines.push((n + 1, line.trim_end().into())),
        }
    }
    lines
}

fn each<'a, T: FromStr>(words: impl Iterator<Item = &'a str>) -> Result<Vec<T>, String>
where
    T::Err: ToString,
{
    words.map(|word| word.parse().map_err(|error: T::Err| error.to_string())).collect()
}

fn features<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<Feature>, String> {
    words
        .map(|word| Feature::parse(word).ok_or_else(|| format!("expected a feature, got {word:?}")))
        .collect()
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("expected a whole number, got {text:?}"))
}

fn act(text: &str) -> Result<Act, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match word {
        "connect" => Act::Connect,
        "open" => opened(rest)?,
        "raw" => Act::Raw(rest.into()),
        ">" => sent(1, rest)?,
        "<" => Act::Expect { times: 1, frame: expected(rest)? },
        "~" => Act::Await(expected(rest)?),
        "refused" => refused(rest),
        "quiet" => Act::Quiet,
        "ended" => Act::Ended,
        "drop" => Act::Drop,
        "wait" => Act::Wait(number(rest)?),
        count => match (count.parse(), rest.split_once(' ')) {
            (Ok(times), Some(("<", rest))) => Act::Expect { times, frame: expected(rest)? },
            (Ok(times), Some((">", rest))) => sent(times, rest)?,
            (Ok(_) | Err(_), _) => {
                return Err(format!(
                    "expected connect, open, raw, >, N >, <, N <, ~, refused, quiet, ended, drop or wait, got {word:?}"
                ));
            }
        },
    })
}

fn opened(rest: &str) -> Result<Act, String> {
    let (who, without) = rest.split_once(" without ").unwrap_or((rest, ""));
    let who = match who.trim() {
        "alice" => Who::Alice,
        "bob" => Who::Bob,
        "nobody" => Who::Nobody,
        other => return Err(format!("expected alice, bob or nobody, got {other:?}")),
    };
    let without = features(without.split([' ', ',']).filter(|word| !word.is_empty()))?;
    Ok(Act::Open { who, without })
}

/// The parts of `TYPE {…} @{…} as NAME`.
struct Parts {
    kind: String,
    payload: Value,
    envelope: Value,
    name: Option<String>,
}

fn parts(text: &str) -> Result<Parts, String> {
    let (kind, mut rest) = text.split_once(' ').map_or((text, ""), |(kind, rest)| (kind, rest.trim()));
    let mut parts = Parts { kind: kind.into(), payload: empty(), envelope: empty(), name: None };
    if rest.starts_with('{') {
        (parts.payload, rest) = value(rest)?;
    }
    if let Some(envelope) = rest.strip_prefix('@') {
        (parts.envelope, rest) = value(envelope)?;
    }
    if let Some(name) = rest.strip_prefix("as ") {
        (parts.name, rest) = (Some(name.trim().into()), "");
    }
    if rest.is_empty() { Ok(parts) } else { Err(format!("expected the end of the line, got {rest:?}")) }
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// One JSON value, and what stands behind it.
fn value(text: &str) -> Result<(Value, &str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, text[values.byte_offset()..].trim())),
        Some(Err(error)) => Err(format!("expected JSON: {error}")),
        None => Err("expected JSON, got nothing".into()),
    }
}

fn sent(times: u64, rest: &str) -> Result<Act, String> {
    let Parts { kind, payload, envelope, name } = parts(rest)?;
    Ok(Act::Send { times, kind, payload, envelope, name })
}

fn expected(rest: &str) -> Result<Frame, String> {
    let Parts { kind, payload, envelope, name } = parts(rest)?;
    let read = |value| Pattern::read(value).map_err(|error: NotAPattern| error.to_string());
    match name {
        None => Ok(Frame { kind, payload: read(payload)?, envelope: read(envelope)? }),
        Some(name) => Err(format!("expected no name for what comes, got {name:?}")),
    }
}

fn refused(rest: &str) -> Act {
    let (codes, name) = match rest.rsplit_once(' ') {
        Some((codes, last)) if last.starts_with(|c: char| c.is_ascii_lowercase()) => {
            (codes, Some(last.into()))
        }
        Some(_) | None => (rest, None),
    };
    let codes = codes.split([' ', ',']).filter(|code| !code.is_empty()).map(String::from).collect();
    Act::Refused { codes, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_out_and_come_in_several_times() {
        let case = Case::read(
            "a/b",
            "# t\nchecks ARCP-7.4-1\na 3 > session.ping {\"nonce\": \"n\"}\na 3 < session.pong\n",
        );
        let steps = case.unwrap().steps;
        assert!(matches!(&steps[0].act, Act::Send { times: 3, kind, .. } if kind == "session.ping"));
        assert!(matches!(&steps[1].act, Act::Expect { times: 3, frame } if frame.kind == "session.pong"));
        let wrong = Case::read("a/b", "# t\nchecks ARCP-7.4-1\na 3 ~ session.pong\n").unwrap_err();
        assert_eq!((wrong.line, wrong.what.contains("N >")), (3, true));
    }
}
