//! What commands write: data on stdout, talk on stderr.
//!
//! Texts of agents and runtimes may hold anything; on stderr and in tables control characters are replaced, so
//! that none of them can steer the terminal. A rotated credential's value is never written.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Failure;
use crate::client::{JobEvent, JobUpdate, Outcome};
use crate::wire::error::ErrorBody;
use crate::wire::event::{EventKind, Log, Metric, Progress, Status, Thought, ToolCall, ToolResult};
use crate::wire::id::JobId;

/// Longest line of talk about one event, in characters.
const TALK_CHARS: usize = 240;

/// How often progress is told where nobody watches.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Where a command writes.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Whether somebody watches stderr.
    live: bool,
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    /// Where nobody watches: when progress was told last, and what has not been told since.
    progress: (Option<Instant>, Option<String>),
    /// Whether stdout is shown in the same place as stderr.
    shared: bool,
    /// Whether the last line of stdout has no end yet.
    mid_line: bool,
}

impl Terminal {
    /// The process's own stdout and stderr.
    pub fn standard() -> Self {
        let live = std::io::stderr().is_terminal();
        let shared = live && std::io::stdout().is_terminal();
        Terminal { live, shared, ..Terminal::new(Box::new(std::io::stdout()), Box::new(std::io::stderr())) }
    }

    /// Any two places.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Terminal {
            out,
            err,
            live: false,
            json: false,
            quiet: false,
            bar: None,
            progress: (None, None),
            shared: false,
            mid_line: false,
        }
    }

    pub(super) fn style(&mut self, json: bool, quiet: bool) {
        (self.json, self.quiet) = (json, quiet);
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Where data and talk go, for a command that writes them itself.
    pub(super) fn writers(&mut self) -> (&mut dyn Write, &mut dyn Write) {
        (&mut self.out, &mut self.err)
    }

    /// Writes data.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.mid_line = bytes.last().map_or(self.mid_line, |last| *last != b'\n');
        let out = &mut self.out;
        let mut write = || out.write_all(bytes).and_then(|()| out.flush());
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
        .map_err(Failure::output)
    }

    /// Writes a line of data.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Says something, unless told to be quiet.
    pub(super) fn say(&mut self, text: &str) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Says what went wrong.
    pub(super) fn complain(&mut self, text: &str) {
        let err = &mut self.err;
        let between = std::mem::take(&mut self.mid_line) && self.shared;
        let mut write = || {
            if between {
                let _ = writeln!(err);
            }
            for line in text.lines() {
                // Where even stderr is closed, nobody is left to be told.
                let _ = writeln!(err, "{}", harmless(line));
            }
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Tells what happened in a job.
    pub(super) fn update(&mut self, job_id: JobId, update: &JobUpdate) -> Result<(), Failure> {
        if matches!(update, JobUpdate::Ended(_) | JobUpdate::Cut(_))
            && let Some(bar) = self.bar.take()
        {
            bar.finish_and_clear();
        }
        if matches!(update, JobUpdate::Ended(_) | JobUpdate::Cut(_))
            && let Some(text) = self.progress.1.take()
        {
            self.say(&text);
        }
        if self.json {
            return self.line(&as_json(job_id, update).to_string());
        }
        match update {
            JobUpdate::Event(event) => self.event(event),
            JobUpdate::Interrupted(why) => self.say(&format!("-- connection lost ({why}); trying to resume")),
            JobUpdate::Resumed(_) => self.say("-- connected again; nothing was missed"),
            JobUpdate::Missed { after, before } => {
                self.say(&format!("-- the daemon no longer has the events between {after} and {before}"));
            }
            JobUpdate::Ended(Outcome::Success(result)) => {
                let summary = result.summary.as_deref().unwrap_or_default();
                self.say(format!("-- ended {} {summary}", result.final_status).trim_end());
            }
            // The command says what it means and how to go on.
            JobUpdate::Cut(_) => {}
            JobUpdate::Ended(Outcome::Failed(error)) => {
                self.complain(&format!("job {}: {}", error.final_status, error.error()));
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &JobEvent) {
        let body = event.event.body.get();
        match EventKind::parse(&event.event.kind) {
            Some(EventKind::Progress) => {
                if let Ok(progress) = serde_json::from_str(body) {
                    self.progress(&progress);
                }
            }
            Some(EventKind::ResultChunk) => {}
            kind => {
                if let Some(text) = talk(kind, &event.event.kind, body) {
                    let text: String = text.chars().take(TALK_CHARS).collect();
                    self.say(&text.replace(['\n', '\r'], " "));
                }
            }
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if self.quiet {
            return;
        }
        if !self.live {
            return self.progress_line(progress);
        }
        let bar = self.bar.get_or_insert_with(new_bar);
        match progress.total {
            Some(total) => bar.set_length(whole(total)),
            None => bar.unset_length(),
        }
        bar.set_position(whole(progress.current));
        let message = progress.message.as_deref().or(progress.units.as_deref()).unwrap_or_default();
        bar.set_message(harmless(message).chars().take(60).collect::<String>());
    }

    /// Progress in lines: the first one, then at most one a second, and the last.
    fn progress_line(&mut self, progress: &Progress) {
        let now = Instant::now();
        let text = progress_text(progress);
        if self.progress.0.is_some_and(|told| now.duration_since(told) < PROGRESS_EVERY) {
            self.progress.1 = Some(text);
            return;
        }
        self.progress = (Some(now), None);
        self.say(&text);
    }
}

fn progress_text(progress: &Progress) -> String {
    let total = progress.total.map(|total| format!("/{total}")).unwrap_or_default();
    let words = [progress.units.as_deref(), progress.message.as_deref()];
    let words: String = words.into_iter().flatten().flat_map(|word| [" ", word]).collect();
    let text = format!("[progress] {}{total}{words}", progress.current);
    text.chars().take(TALK_CHARS).collect::<String>().replace(['\n', '\r'], " ")
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// A non-negative number in whole steps; a cast saturates.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// One line about an event; none where there is nothing to say.
fn talk(kind: Option<EventKind>, name: &str, body: &str) -> Option<String> {
    let text = match kind {
        Some(EventKind::Log) => {
            let log: Log = serde_json::from_str(body).ok()?;
            format!("[{}] {}", log.level, log.message)
        }
        Some(EventKind::Thought) => {
            let thought: Thought = serde_json::from_str(body).ok()?;
            format!("[thought] {}", thought.text)
        }
        Some(EventKind::ToolCall) => {
            let call: ToolCall = serde_json::from_str(body).ok()?;
            format!("[tool] {} {}", call.tool, call.args)
        }
        Some(EventKind::ToolResult) => {
            let result: ToolResult = serde_json::from_str(body).ok()?;
            match (result.error, result.result) {
                (Some(error), _) => format!("[tool] failed: {error}"),
                (None, Some(value)) => format!("[tool] -> {value}"),
                (None, None) => "[tool] done".into(),
            }
        }
        Some(EventKind::Status) => {
            let status: Status = serde_json::from_str(body).ok()?;
            format!("[status] {} {}", status.phase, status.message.unwrap_or_default()).trim_end().into()
        }
        Some(EventKind::Metric) => {
            let metric: Metric = serde_json::from_str(body).ok()?;
            let value = serde_json::to_string(&metric.value).ok()?;
            format!("[metric] {} = {value} {}", metric.name, metric.unit.unwrap_or_default())
                .trim_end()
                .into()
        }
        Some(EventKind::ArtifactRef | EventKind::Delegate | EventKind::TraceSpan | EventKind::Vendor)
        | None => {
            format!("[{name}] {body}")
        }
        Some(EventKind::Progress | EventKind::ResultChunk) => return None,
    };
    Some(text)
}

/// A refusal as one JSON object.
pub(super) fn refused(body: &ErrorBody) -> Value {
    let ErrorBody { code, message, retryable, .. } = body;
    json!({"type": "refused", "code": code, "message": message, "retryable": retryable})
}

/// An update as one JSON object.
pub(super) fn as_json(job_id: JobId, update: &JobUpdate) -> Value {
    match update {
        JobUpdate::Event(JobEvent { position, event }) => {
            let mut body = serde_json::from_str(event.body.get()).unwrap_or(Value::Null);
            if event.kind == "status" && body["phase"] == "credential_rotated" {
                hide_values(&mut body);
            }
            json!({"type": "event", "job_id": job_id, "position": position, "kind": event.kind,
                "ts": event.ts, "body": body})
        }
        JobUpdate::Interrupted(why) => json!({"type": "interrupted", "job_id": job_id, "why": why}),
        JobUpdate::Resumed(_) => json!({"type": "resumed", "job_id": job_id}),
        JobUpdate::Missed { after, before } => {
            json!({"type": "missed", "job_id": job_id, "after": after, "before": before})
        }
        JobUpdate::Ended(Outcome::Success(result)) => tagged("end", json!(result)),
        JobUpdate::Ended(Outcome::Failed(error)) => tagged("end", json!(error)),
        JobUpdate::Cut(cut) => json!({"type": "cut", "job_id": job_id, "why": cut.to_string()}),
    }
}

/// An object with its `type`.
fn tagged(kind: &str, mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert("type".into(), kind.into());
    }
    object
}

fn hide_values(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "value" {
                    *value = "…".into();
                } else {
                    hide_values(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_values),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A text that cannot steer a terminal.
pub(super) fn harmless(text: &str) -> String {
    // Beside the control characters: marks that turn the direction of writing, which can make a line lie.
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Rows in aligned columns; the first row is the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", harmless(cell)));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_told_steers_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn job() -> JobId {
        JobId::new(1, 1)
    }

    #[test]
    fn talk_after_half_a_line_of_data_begins_a_line_of_its_own() {
        for (shared, expected) in [(true, "hel\noops\nlo\nmore\n"), (false, "heloops\nlo\nmore\n")] {
            let both = Shared::default();
            let mut terminal = Terminal::new(Box::new(both.clone()), Box::new(both.clone()));
            terminal.shared = shared;
            terminal.data(b"hel").unwrap();
            terminal.complain("oops");
            terminal.data(b"lo\n").unwrap();
            terminal.complain("more");
            assert_eq!(String::from_utf8_lossy(&both.0.lock()), expected);
        }
    }

    #[test]
    fn progress_without_a_terminal_is_a_few_lines_and_the_last() {
        let err = Shared::default();
        let mut terminal = Terminal::new(Box::new(Shared::default()), Box::new(err.clone()));
        for current in 1..=500 {
            let payload = format!(
                r#"{{"kind":"progress","ts":"2026-01-01T00:00:00Z","job_id":"{}",
                    "body":{{"current":{current},"total":500,"units":"files"}}}}"#,
                job()
            );
            let event = serde_json::from_str(&payload).unwrap();
            terminal.update(job(), &JobUpdate::Event(JobEvent { position: current, event })).unwrap();
        }
        terminal.update(job(), &JobUpdate::Cut(crate::client::Cut::Closed)).unwrap();
        let text = String::from_utf8(err.0.lock().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines[0], lines[lines.len() - 1]),
            ("[progress] 1/500 files", "[progress] 500/500 files")
        );
        assert!(lines.len() < 100, "{text}");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).into()).collect::<Vec<String>>();
        assert_eq!(table(&[row(&["JOB", "STATUS"]), row(&["j", "x"])]), "JOB  STATUS\nj    x\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_rotated_credential_is_not_written() {
        let payload = r#"{"kind":"status","ts":"2026-01-01T00:00:00Z","job_id":"job_00000000010000000000000001",
            "body":{"phase":"credential_rotated","id":"c","value":"s3cret","credential":{"value":"s3cret"}}}"#;
        let event: crate::wire::event::Event = serde_json::from_str(payload).unwrap();
        let update = JobUpdate::Event(JobEvent { position: 1, event });
        let line = as_json(JobId::new(1, 1), &update).to_string();
        assert!(line.contains("credential_rotated") && !line.contains("s3cret"), "{line}");
    }
}
