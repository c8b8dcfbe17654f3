//! What is said of a run: figures and the ratios between them, one JSON line each, and a table for people.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

/// Microseconds since the epoch, on the clock that all processes of a run share.
pub(crate) fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// That percentile of sorted microseconds, in milliseconds; 0 of none.
#[expect(clippy::cast_precision_loss, reason = "ages are minutes at most")]
pub(crate) fn percentile_ms(sorted: &[u64], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(0.0, |micros| *micros as f64 / 1000.0)
}

/// How many a second, between two times in microseconds.
#[expect(clippy::cast_precision_loss, reason = "minutes in microseconds")]
pub(crate) fn per_second(count: usize, from: u64, to: u64) -> f64 {
    count as f64 / (to.saturating_sub(from).max(1) as f64 / 1e6)
}

/// The middle value, which one bad measurement can't move far; of an even number, the mean of the two middle ones.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.get(half) {
        None => f64::NAN,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[half - 1], *upper),
    }
}

/// What a ratio is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    Below(f64),
}

impl Target {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::Below(limit) => value < limit,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::Below(limit) => format!("< {limit}"),
        }
    }
}

/// Prints as it goes, and remembers what the table at the end needs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Mutex<Vec<Vec<String>>>,
    ratios: Mutex<Vec<Vec<String>>>,
    missed: Mutex<Vec<String>>,
}

impl Report {
    /// One measurement: a line with `figure`, `on` and whatever `more` holds.
    pub(crate) fn figure(&self, figure: &str, on: &str, more: Value) {
        let cell = |value: &Value, unit: &str| {
            if value.is_null() { String::new() } else { format!("{value}{unit}") }
        };
        let row = vec![
            format!("{figure} ({on})"),
            cell(&more["deliveries_per_s"], "/s"),
            cell(&more["p50_ms"], " ms"),
            cell(&more["p99_ms"], " ms"),
            cell(&more["cpu_s_per_1000"]["sum"], ""),
        ];
        if row.iter().skip(1).any(|cell| !cell.is_empty()) {
            keep(&self.figures, row);
        }
        let mut line = Map::new();
        line.insert("figure".into(), figure.into());
        line.insert("on".into(), on.into());
        if let Value::Object(more) = more {
            line.extend(more);
        }
        print_line(&Value::Object(line));
    }

    /// One ratio, or a figure that is a limit by itself, with its target and whether that holds.
    pub(crate) fn ratio(&self, what: &str, on: &str, value: f64, target: Target) {
        let (value, holds) = (rounded(value), target.holds(value));
        print_line(
            &json!({"ratio": what, "on": on, "value": value, "target": target.words(), "holds": holds}),
        );
        let word = if holds { "holds" } else { "MISSED" };
        let name = format!("{what} ({on})");
        if !holds {
            self.missed.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        }
        keep(&self.ratios, vec![name, value.to_string(), target.words(), word.into()]);
    }

    /// The ratios whose targets were missed.
    pub(crate) fn missed(&self) -> Vec<String> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Two tables, on standard error.
    #[expect(clippy::print_stderr, reason = "for the person who waits; standard output is for programs")]
    pub(crate) fn summary(&self) {
        for (head, rows) in [
            (&["", "rate", "p50", "p99", "CPU s/1,000"][..], &self.figures),
            (&["", "value", "target", ""][..], &self.ratios),
        ] {
            let rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("\n{}", table(head, &rows));
        }
    }
}

fn keep(rows: &Mutex<Vec<Vec<String>>>, row: Vec<String>) {
    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines().map(line).collect::<Vec<_>>().join("\n")
}

/// To three digits behind the point, which is more than any run repeats.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[expect(clippy::print_stdout, reason = "the result of the run")]
fn print_line(line: &Value) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() < f64::EPSILON
    }

    #[test]
    fn one_bad_measurement_does_not_move_the_median() {
        assert!(is(median([10.0, 1.0, 11.0]), 10.0) && is(median([1.0, 3.0]), 2.0) && median([]).is_nan());
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let micros: Vec<u64> = (1..=1000).map(|ms| ms * 1000).collect();
        assert!(is(percentile_ms(&micros, 50), 501.0) && is(percentile_ms(&micros, 99), 991.0));
        assert!(is(percentile_ms(&[], 99), 0.0));
    }

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let rows = [vec!["one".to_owned(), "12345".to_owned()], vec!["longer".to_owned(), "1".to_owned()]];
        assert_eq!(table(&["", "rate"], &rows), "         rate\none     12345\nlonger      1");
    }

    #[test]
    fn what_missed_its_target_is_named() {
        let report = Report::default();
        report.ratio("rate", "embedded", 0.95, Target::AtLeast(0.9));
        report.ratio("p99", "embedded", 2.5, Target::Below(2.0));
        report.ratio("p99", "fleet", f64::NAN, Target::Below(2.0));
        assert_eq!(report.missed(), ["p99 (embedded)", "p99 (fleet)"]);
    }

    #[test]
    fn a_target_is_missed_by_what_was_not_measured() {
        assert!(!Target::AtLeast(0.5).holds(f64::NAN) && !Target::Below(0.5).holds(f64::NAN));
    }
}
