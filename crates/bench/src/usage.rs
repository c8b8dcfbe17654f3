//! What programs used: processor time and memory, from `/proc`, each with all its children.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::figures::rounded;

/// Between two looks at memory, each of which walks the pages of two servers and so takes its own part of a processor.
const LOOK: Duration = Duration::from_secs(1);

/// A program whose use is measured, known by its first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) process: u32,
    /// One of Bellbuoy's own processes, in contrast to broker and database.
    pub(crate) ours: bool,
}

/// What programs have used from one moment to another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    /// Seconds on a processor, user and system.
    pub(crate) cpu: BTreeMap<&'static str, f64>,
    /// The most memory, in MiB.
    pub(crate) peak: BTreeMap<&'static str, f64>,
    /// The same of Bellbuoy's largest process.
    pub(crate) largest_worker: f64,
}

impl Used {
    /// CPU seconds of all programs together per 1,000 of `count`.
    pub(crate) fn cpu_per_1000(&self, count: usize) -> f64 {
        self.cpu.values().sum::<f64>() / thousands(count)
    }

    /// Both as JSON, by program.
    pub(crate) fn to_json(&self, count: usize) -> (Value, Value) {
        let mut cpu: BTreeMap<&str, f64> =
            self.cpu.iter().map(|(name, cpu)| (*name, rounded(cpu / thousands(count)))).collect();
        cpu.insert("sum", rounded(self.cpu_per_1000(count)));
        let peak: BTreeMap<&str, f64> = self.peak.iter().map(|(name, mib)| (*name, mib.round())).collect();
        (json!(cpu), json!(peak))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of deliveries")]
fn thousands(count: usize) -> f64 {
    count as f64 / 1000.0
}

/// Measures from its making until [`Meter::read`].
pub(crate) struct Meter {
    programs: Vec<Program>,
    before: Vec<f64>,
    watch: JoinHandle<()>,
    peaks: Arc<Mutex<Vec<u64>>>,
}

impl Meter {
    /// Begins, with peaks of memory set back to what is in use now.
    pub(crate) fn start(programs: &[Program]) -> Self {
        let programs = programs.to_vec();
        for program in &programs {
            // Not to be had where the process is another user's; then its peak is that of its life.
            let _ = fs::write(format!("/proc/{}/clear_refs", program.process), "5");
        }
        let peaks = Arc::new(Mutex::new(vec![0; programs.len()]));
        let watch = tokio::spawn(watch(programs.clone(), Arc::clone(&peaks)));
        Self { before: cpu_of(&programs), programs, watch, peaks }
    }

    /// What was used since.
    pub(crate) fn read(self) -> Used {
        self.watch.abort();
        let after = cpu_of(&self.programs);
        look(&self.programs, &self.peaks);
        let peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used = Used::default();
        for (place, program) in self.programs.iter().enumerate() {
            let peak = mebibytes(peaks[place]);
            used.cpu.insert(program.name, after[place] - self.before[place]);
            used.peak.insert(program.name, peak);
            if program.ours {
                used.largest_worker = used.largest_worker.max(peak);
            }
        }
        used
    }
}

async fn watch(programs: Vec<Program>, peaks: Arc<Mutex<Vec<u64>>>) {
    loop {
        look(&programs, &peaks);
        tokio::time::sleep(LOOK).await;
    }
}

/// Of a process of ours the kernel knows the peak. Of a broker or a database the processes share memory, so that
/// the sum of their shares is looked at every half second.
fn look(programs: &[Program], peaks: &Mutex<Vec<u64>>) {
    let parents = parents();
    for (place, program) in programs.iter().enumerate() {
        let now = if program.ours {
            kib(program.process, "status", "VmHWM:").unwrap_or(0)
        } else {
            let family = family(program.process, &parents);
            family.iter().filter_map(|process| kib(*process, "smaps_rollup", "Pss:")).sum()
        };
        let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
        peaks[place] = peaks[place].max(now * 1024);
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Seconds on a processor of each program so far.
fn cpu_of(programs: &[Program]) -> Vec<f64> {
    let parents = parents();
    let ticks = |process: &u32| Some(Stat::of(*process)?.ticks);
    programs
        .iter()
        .map(|program| seconds(family(program.process, &parents).iter().filter_map(ticks).sum()))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "clock ticks of a run")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// A line of `/proc/PID/stat`, see proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time, that of its ended children included.
    ticks: u64,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// The second field is the program's name in brackets and can hold anything.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|process| Some((process, Stat::of(process)?.parent))).collect()
}

/// A process and all that descend from it.
fn family(first: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![first];
    let mut place = 0;
    while let Some(parent) = family.get(place).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
        place += 1;
    }
    family
}

/// The KiB that a file of a process says behind `word`.
fn kib(process: u32, file: &str, word: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time of this process itself, in seconds: what the load and the bare client took.
pub(crate) fn own_cpu() -> f64 {
    Stat::of(std::process::id()).map_or(0.0, |stat| seconds(stat.ticks))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_name_and_with_the_time_of_ended_children() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194304 100 0 0 0 250 50 20 5 20 0 1 0 100 1000 200";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, ticks: 325 }));
        assert_eq!(Stat::parse("42 (short) S 7"), None);
    }

    #[test]
    fn a_family_is_all_that_descends_from_its_first() {
        let parents = [(2, 1), (3, 2), (4, 2), (5, 4), (6, 1)];
        let mut family = family(2, &parents);
        family.sort_unstable();
        assert_eq!(family, [2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn what_this_very_process_uses_is_seen() {
        let this = Program { name: "this", process: std::process::id(), ours: true };
        let meter = Meter::start(&[this]);
        let began = Instant::now();
        while own_cpu() < 0.02 && began.elapsed() < Duration::from_mins(1) {
            std::hint::black_box(family(1, &parents()));
        }
        let used = meter.read();
        assert!(used.largest_worker > 1.0 && used.cpu["this"] >= 0.0, "{used:?}");
    }
}
