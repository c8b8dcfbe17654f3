//! What is counted, and how it is said.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Microseconds since the epoch, on the clock that all processes of a run share.
pub(crate) fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// When requests arrived and how old they were.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    first: u64,
    last: u64,
    ages: Vec<u64>,
    count: u64,
}

impl Arrivals {
    pub(crate) fn note(&mut self, now: u64, sent: Option<u64>) {
        if self.count == 0 {
            self.first = now;
        }
        self.last = now;
        self.count += 1;
        self.ages.extend(sent.map(|sent| now.saturating_sub(sent)));
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn into_json(mut self) -> Value {
        self.ages.sort_unstable();
        json!({
            "count": self.count,
            "first": self.first,
            "last": self.last,
            "p50_ms": self.percentile(50),
            "p99_ms": self.percentile(99),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "ages are minutes at most")]
    fn percentile(&self, percent: usize) -> f64 {
        let place = (self.ages.len() * percent / 100).min(self.ages.len().saturating_sub(1));
        self.ages.get(place).map_or(0.0, |micros| *micros as f64 / 1000.0)
    }
}

#[expect(clippy::print_stdout, reason = "the result of the run")]
pub(crate) fn print(figure: &Value) {
    println!("{figure}");
}
