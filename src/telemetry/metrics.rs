//! Numbers for `/metrics`, in the text form of OpenMetrics.
//!
//! What is counted lives with its owner: a [`Count`] is one relaxed addition. A [`Page`] is made for each look at
//! them: owners put their counts on it, and what is a state (a gauge) is read then. There is no global registry.
//! Labels take one of a few values that are known beforehand; names of people, jobs or sessions never are labels.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What `/metrics` is, for whoever reads it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of one thing by a label whose values are all known.
#[derive(Debug)]
pub struct Counts {
    values: &'static [&'static str],
    counts: Vec<Count>,
}

impl Counts {
    /// Nothing yet, of each of these values.
    pub fn by(values: &'static [&'static str]) -> Self {
        Counts { values, counts: values.iter().map(|_| Count::default()).collect() }
    }

    /// One more of a value. One that is not known is not counted: it would be a label without bounds.
    pub fn one(&self, value: &str) {
        self.add(value, 1);
    }

    /// So many more of a value.
    pub fn add(&self, value: &str, n: u64) {
        if let Some(at) = self.values.iter().position(|known| *known == value) {
            self.counts[at].add(n);
        }
    }

    /// How many there were of each value.
    pub fn get(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.values.iter().copied().zip(self.counts.iter().map(Count::get))
    }
}

type Label = [(&'static str, &'static str); 1];

/// One look at everything that is counted. Names are given without the `_total` of counters.
#[derive(Debug, Default)]
pub struct Page(Registry);

impl Page {
    /// Something that only grows.
    pub fn count(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    /// Something that only grows, by a label.
    pub fn counts(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        let family: Family<Label, Counter> = Family::default();
        for (value, n) in values {
            family.get_or_create(&[(label, value)]).inc_by(n);
        }
        self.0.register(name, help, family);
    }

    /// Something as it is now.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(signed(value));
        self.0.register(name, help, gauge);
    }

    /// Something as it is now, by a label.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        let family: Family<Label, Gauge> = Family::default();
        for (value, n) in values {
            family.get_or_create(&[(label, value)]).set(signed(n));
        }
        self.0.register(name, help, family);
    }

    /// How often what happened.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.0.register(name, help, histogram.clone());
    }

    /// A fact, as the one label of a number that says nothing.
    pub fn info(&mut self, name: &str, help: &str, label: &'static str, value: &str) {
        self.0.register(name, help, Info::new([(label, value.to_owned())]));
    }

    /// The page as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a text fails only if formatting does; a page that is not whole lacks its last line.
        let _ = encode(&mut text, &self.0);
        text
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_open_metrics_and_labels_have_bounds() {
        let closed = Counts::by(&["done", "too_slow"]);
        closed.one("too_slow");
        closed.add("too_slow", 2);
        closed.one("of somebody");
        let seconds = Histogram::new([0.5, 1.0]);
        seconds.observe(0.75);
        let mut page = Page::default();
        page.count("jobs", "Jobs", 7);
        page.counts("closed", "Closed", "reason", closed.get());
        page.gauge("used_bytes", "Used", u64::MAX);
        page.gauges("sessions", "Sessions", "state", [("open", 3)]);
        page.histogram("commit_seconds", "Commits", &seconds);
        page.info("build", "Build", "version", "1");
        let text = page.text();
        for line in [
            "# TYPE jobs counter",
            "# HELP jobs Jobs.",
            "jobs_total 7",
            "closed_total{reason=\"done\"} 0",
            "closed_total{reason=\"too_slow\"} 3",
            "used_bytes 9223372036854775807",
            "sessions{state=\"open\"} 3",
            "commit_seconds_bucket{le=\"0.5\"} 0",
            "commit_seconds_bucket{le=\"1.0\"} 1",
            "commit_seconds_count 1",
            "build_info{version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("somebody") && text.ends_with("# EOF\n"), "{text}");
    }
}
