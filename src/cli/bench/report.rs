//! What was measured: figures of each round, their median and spread, as a table or as JSON.

use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::server::{Bed, Endpoint};

/// What one round measured of one thing.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    id: String,
    what: String,
    unit: &'static str,
    value: f64,
    /// CPU time of the daemon for one of these, in microseconds.
    cpu: Option<(f64, &'static str)>,
}

impl Figure {
    /// A figure that says nothing of CPU time.
    pub(super) fn new(id: String, what: String, unit: &'static str, value: f64) -> Self {
        Figure { id, what, unit, value, cpu: None }
    }
}

/// Measures from its start on.
pub(super) struct Meter<'a> {
    endpoint: &'a Endpoint,
    cpu_us: Option<u64>,
    start: Instant,
}

impl<'a> Meter<'a> {
    /// Starts now.
    pub(super) fn start(endpoint: &'a Endpoint) -> Self {
        Meter { endpoint, cpu_us: endpoint.cpu_us(), start: Instant::now() }
    }

    /// So many were done since the start.
    pub(super) fn rate(
        self,
        id: String,
        what: String,
        unit: &'static str,
        count: u64,
        one: &'static str,
    ) -> Figure {
        let value = count as f64 / self.start.elapsed().as_secs_f64();
        let spent = self.cpu_us.zip(self.endpoint.cpu_us()).map(|(before, after)| after - before);
        let cpu = spent.map(|us| (us as f64 / count as f64, one));
        Figure { id, what, unit, value, cpu }
    }
}

/// One figure over all rounds with one store; without one, of a daemon that ran already.
struct Row {
    first: Figure,
    bed: Option<Bed>,
    values: Vec<f64>,
    cpu: Vec<f64>,
}

/// Everything that was measured.
pub(super) struct Report {
    url: Option<String>,
    cores: usize,
    rounds: u32,
    scale: f64,
    rows: Vec<Row>,
}

impl Report {
    /// Nothing yet. Without a URL the daemon is one that was started for the purpose.
    pub(super) fn new(url: Option<&str>, rounds: u32, scale: f64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Report { url: url.map(str::to_owned), cores, rounds, scale, rows: Vec::new() }
    }

    /// Adds the figures of a round. The rows of one figure stand together.
    pub(super) fn add(&mut self, bed: Option<Bed>, figures: Vec<Figure>) {
        for figure in figures {
            let known = self.rows.iter().position(|row| row.first.id == figure.id && row.bed == bed);
            let at = known.unwrap_or_else(|| {
                let last = self.rows.iter().rposition(|row| row.first.id == figure.id);
                let at = last.map_or(self.rows.len(), |last| last + 1);
                let row = Row { first: figure.clone(), bed, values: Vec::new(), cpu: Vec::new() };
                self.rows.insert(at, row);
                at
            });
            let row = &mut self.rows[at];
            row.values.push(figure.value);
            row.cpu.extend(figure.cpu.map(|(us, _)| us));
        }
    }

    /// The median of a row as a part of that of the figure's first row.
    fn ratio(&self, row: &Row) -> f64 {
        let first = self.rows.iter().find(|first| first.first.id == row.first.id).unwrap_or(row);
        spread(&row.values)[0] / spread(&first.values)[0]
    }

    /// Writes a table for people.
    pub(super) fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let daemon = self.url.as_deref().unwrap_or("daemons of its own");
        writeln!(
            out,
            "arcpd {}, {daemon}; {} cores shared with the client, {} rounds, scale {}",
            env!("CARGO_PKG_VERSION"),
            self.cores,
            self.rounds,
            self.scale
        )?;
        let head = ["MEASURED", "STORE", "MEDIAN", "UNIT", "RATIO", "LEAST – MOST", "DAEMON'S CPU"]
            .map(str::to_owned);
        let rows = self.rows.iter().map(|row| row.cells(self.ratio(row)));
        let lines: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4, 5].map(width);
        for [what, store, median, unit, ratio, spread, cpu] in &lines {
            let line = format!(
                "{what:a$}  {store:b$}  {median:>c$}  {unit:d$}  {ratio:>e$}  {spread:f$}  {cpu}",
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3],
                e = widths[4],
                f = widths[5]
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Writes one JSON object.
    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let whole = json!({
            "arcpd": env!("CARGO_PKG_VERSION"),
            "url": self.url,
            "cores": self.cores,
            "rounds": self.rounds,
            "scale": self.scale,
            "figures": self.rows.iter().map(|row| row.json(self.ratio(row))).collect::<Vec<_>>(),
        });
        writeln!(out, "{whole:#}")
    }
}

impl Row {
    fn cells(&self, ratio: f64) -> [String; 7] {
        let [median, least, most] = spread(&self.values);
        let cpu = self.first.cpu.filter(|_| !self.cpu.is_empty()).map(|(_, one)| {
            let [median, least, most] = spread(&self.cpu);
            format!("{median:.2} µs/{one} ({least:.2} – {most:.2})")
        });
        [
            self.first.what.clone(),
            self.bed.map_or("", Bed::name).to_owned(),
            number(median),
            self.first.unit.to_owned(),
            format!("{ratio:.2}"),
            format!("{} – {}", number(least), number(most)),
            cpu.unwrap_or_default(),
        ]
    }

    fn json(&self, ratio: f64) -> Value {
        let over = |values: &[f64]| {
            let [median, least, most] = spread(values);
            json!({ "median": median, "min": least, "max": most, "rounds": values })
        };
        let mut row = over(&self.values);
        row["id"] = self.first.id.as_str().into();
        row["what"] = self.first.what.as_str().into();
        row["unit"] = self.first.unit.into();
        row["store"] = self.bed.map(Bed::name).into();
        row["ratio"] = ratio.into();
        if let Some((_, one)) = self.first.cpu.filter(|_| !self.cpu.is_empty()) {
            row["daemon_cpu_us"] = over(&self.cpu);
            row["daemon_cpu_us"]["per"] = one.into();
        }
        row
    }
}

/// Median, least and most.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    };
    [median, at(0), at(sorted.len().saturating_sub(1))]
}

/// A number with groups of three digits, and a decimal where it is small.
fn number(value: f64) -> String {
    if value < 1_000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    digits.bytes().enumerate().fold(String::new(), |mut text, (at, digit)| {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit.into());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_medians_are_in_the_middle() {
        assert_eq!([number(0.5), number(999.9), number(1_000.0)], ["0.5", "999.9", "1 000"]);
        assert_eq!(number(1_234_567.8), "1 234 568");
        assert_eq!(spread(&[3.0, 1.0, 2.0]), [2.0, 1.0, 3.0]);
        assert_eq!(spread(&[4.0, 1.0]), [2.5, 1.0, 4.0]);
        assert_eq!(spread(&[]), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn rounds_of_one_figure_are_one_row_of_an_aligned_table() {
        let mut report = Report::new(None, 2, 0.5);
        for value in [10.0, 20_000.0] {
            let plain = Figure::new("a".into(), "short".into(), "µs", value);
            let figure = Figure::new("b".into(), "rather long".into(), "jobs/s", value);
            report
                .add(Some(Bed::Memory), vec![plain.clone(), Figure { cpu: Some((value, "job")), ..figure }]);
            report.add(Some(Bed::Full), vec![Figure { value: 2.0 * value, ..plain }]);
        }
        let mut table = Vec::new();
        report.write_table(&mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        assert_eq!(lines[2], "short        memory  10 005  µs       1.00  10.0 – 20 000");
        assert_eq!(lines[3], "short        full    20 010  µs       2.00  20.0 – 40 000");
        assert!(lines[4].ends_with("10005.00 µs/job (10.00 – 20000.00)"), "{table}");

        let mut json = Vec::new();
        report.write_json(&mut json).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["figures"][2]["rounds"], serde_json::json!([10.0, 20_000.0]));
        assert_eq!(json["figures"][2]["daemon_cpu_us"]["per"], "job");
        assert_eq!(
            (&json["figures"][1]["store"], &json["figures"][1]["ratio"]),
            (&"full".into(), &2.0.into())
        );
        assert_eq!(json["figures"][0].get("daemon_cpu_us"), None);
    }
}
