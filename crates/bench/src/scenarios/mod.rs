//! The scenarios, and what they have in common.

mod dead_receiver;
mod fan_out;
mod latency;
mod one_to_one;
mod waiting;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bellbuoy_domain::NotificationId;
use serde_json::{Value, json};

use crate::{
    bare::Bare,
    client::Client,
    deployment::{Deployment, On, Receiver, machine},
    figures::{Report, Target, micros_now, per_second, rounded},
    load::{Events, Way},
    usage::{Meter, Program, Used, own_cpu},
};

/// Attempts that a deliver worker makes at once, by default; the bare clients do as many.
const IN_FLIGHT: u16 = 256;

/// For how long the bare HTTP client is measured.
const FLOOD: Duration = Duration::from_secs(2);

/// Most memory of one of our processes, in MiB.
const WORKER_MIB: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Each event for one notification, as fast as events are taken.
    OneToOne,
    /// Each event for 50 notifications.
    FanOut,
    /// 50 events a second.
    Latency,
    /// A receiver has 90 % of the load, and never answers.
    DeadReceiver,
    /// Fresh events while very many retries wait.
    Waiting,
}

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Which scenarios; all if none is named
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Measure only this one; otherwise both
    #[arg(long, value_enum)]
    on: Option<On>,
    /// The program, a release build
    #[arg(long)]
    binary: PathBuf,
    /// How often each measurement of throughput is repeated, alternately with the bare limits
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many retries wait in the scenario `waiting`
    #[arg(long, default_value_t = 1_000_000)]
    waiting: usize,
    /// Fail if a target was missed
    #[arg(long)]
    strict: bool,
}

impl Wanted {
    fn on(&self) -> Vec<On> {
        self.on.map_or_else(|| vec![On::Embedded, On::Fleet], |on| vec![on])
    }

    fn scenarios(&self) -> &[Scenario] {
        use clap::ValueEnum;
        if self.scenarios.is_empty() { Scenario::value_variants() } else { &self.scenarios }
    }

    async fn deploy(&self, on: On) -> anyhow::Result<Deployment> {
        Deployment::start(on, &self.binary).await
    }
}

pub(crate) async fn run(wanted: &Wanted) -> anyhow::Result<()> {
    let report = Report::default();
    report.figure("machine", "all", machine());
    for scenario in wanted.scenarios() {
        match scenario {
            Scenario::OneToOne => one_to_one::run(wanted, &report).await?,
            Scenario::FanOut => fan_out::run(wanted, &report).await?,
            Scenario::Latency => latency::run(wanted, &report).await?,
            Scenario::DeadReceiver => dead_receiver::run(wanted, &report).await?,
            Scenario::Waiting => waiting::run(wanted, &report).await?,
        }
    }
    report.summary();
    let missed = report.missed();
    anyhow::ensure!(!wanted.strict || missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

/// What a measurement says of itself: how many a second from `started` on, how old they were, and what was used for
/// each of `count`.
fn told(arrivals: &Value, started: u64, used: &Used, count: usize) -> Value {
    let (cpu, peak) = used.to_json(count);
    json!({
        "deliveries": arrivals["seen"], "repeats": arrivals["repeats"],
        "deliveries_per_s": rounded(rate(arrivals, started)), "p50_ms": arrivals["p50_ms"],
        "p99_ms": arrivals["p99_ms"], "cpu_s_per_1000": cpu, "peak_mib": peak,
    })
}

/// Of what arrived, how many a second from `started` until the last.
fn rate(arrivals: &Value, started: u64) -> f64 {
    per_second(seen(arrivals), started, last(arrivals))
}

fn seen(arrivals: &Value) -> usize {
    arrivals["seen"].as_u64().and_then(|seen| usize::try_from(seen).ok()).unwrap_or_default()
}

/// This very process: its bare client, and whatever load it makes.
fn client() -> Program {
    Program { name: "client", process: std::process::id(), ours: true }
}

/// The bare limits of a scenario that measures its own figures only once: HTTP, and, where there is a RabbitMQ, lapin.
async fn bare_limits(
    report: &Report,
    deployment: &Deployment,
    receiver: &Receiver,
    count: usize,
) -> anyhow::Result<()> {
    bare_http(report, receiver, 1).await?;
    let folder = tempfile::tempdir()?;
    if let Some((bare, broker)) = bare_worker(deployment, receiver, folder.path()).await? {
        bare_amqp((report, 1), (&bare, broker), receiver, count).await?;
    }
    Ok(())
}

/// What one burst of events came to.
struct Burst {
    deliveries: usize,
    per_second: f64,
    recorded_per_second: f64,
    used: Used,
}

/// Offers `count` events as fast as they are taken, each for `notifications`, which
/// post to the group that is named as the run. The rate is from the first post to the last arrival; processor time
/// counts until the history is written.
async fn burst(
    (report, figure, round): (&Report, &str, u32),
    (deployment, way): (&Deployment, &Way),
    receiver: &Receiver,
    events: &Events,
    (count, notifications): (usize, &[NotificationId]),
) -> anyhow::Result<Burst> {
    let deliveries = count * notifications.len();
    let last_of_all = *notifications.last().context("a burst is for somebody")?;
    let meter = Meter::start(&deployment.programs());
    let load = own_cpu();
    let started = micros_now();
    way.burst(events, count).await?;
    let accepted = micros_now();
    receiver.until(&events.run, deliveries).await?;
    let arrivals = receiver.take(&events.run).await?;
    deployment.until_recorded(events, count, last_of_all).await?;
    let recorded = micros_now();
    let used = meter.read();
    let (cpu, peak) = used.to_json(deliveries);
    let burst = Burst {
        deliveries,
        per_second: per_second(deliveries, started, last(&arrivals)),
        recorded_per_second: per_second(deliveries, started, recorded),
        used,
    };
    report.figure(
        figure,
        deployment.on.name(),
        json!({
            "round": round, "deliveries": deliveries, "repeats": arrivals["repeats"],
            "deliveries_per_s": burst.per_second.round(),
            "recorded_per_s": burst.recorded_per_second.round(),
            "events_accepted_per_s": per_second(count, started, accepted).round(),
            "p50_ms": arrivals["p50_ms"], "p99_ms": arrivals["p99_ms"],
            "cpu_s_per_1000": cpu, "load_cpu_s_per_1000": load_cpu(load, deliveries), "peak_mib": peak,
        }),
    );
    Ok(burst)
}

/// The bare HTTP client, in this process, as many a second as it makes.
async fn bare_http(report: &Report, receiver: &Receiver, round: u32) -> anyhow::Result<()> {
    let meter = Meter::start(&[client()]);
    let started = micros_now();
    Client::new("").flood(&receiver.hook("bare-http"), IN_FLIGHT.into(), FLOOD).await?;
    let used = meter.read();
    let arrivals = receiver.take("bare-http").await?;
    let mut told = told(&arrivals, started, &used, seen(&arrivals));
    told["round"] = json!(round);
    report.figure("bare http client", "all", told);
    Ok(())
}

/// The bare worker on one quorum queue: first publish to last arrival.
async fn bare_amqp(
    (report, round): (&Report, u32),
    (bare, broker): (&Bare, Program),
    receiver: &Receiver,
    count: usize,
) -> anyhow::Result<f64> {
    let meter = Meter::start(&[bare.program(), broker]);
    let load = own_cpu();
    let started = micros_now();
    let run = format!("bare-{round}");
    let (published, arrived) = tokio::join!(bare.burst(&run, count), receiver.until("bare", count));
    published.and(arrived)?;
    let used = meter.read();
    let arrivals = receiver.take("bare").await?;
    let mut told = told(&arrivals, started, &used, count);
    told["round"] = json!(round);
    told["load_cpu_s_per_1000"] = json!(load_cpu(load, count));
    report.figure("bare lapin", "fleet", told);
    Ok(rate(&arrivals, started))
}

/// The bare worker on this deployment's RabbitMQ, if it has one.
async fn bare_worker(
    deployment: &Deployment,
    receiver: &Receiver,
    folder: &std::path::Path,
) -> anyhow::Result<Option<(Bare, Program)>> {
    let Some((amqp, broker)) = deployment.bare_amqp().zip(deployment.broker()) else { return Ok(None) };
    let bare = Bare::start(&amqp, &receiver.hook("bare"), IN_FLIGHT, folder).await?;
    Ok(Some((bare, broker)))
}

fn memory(report: &Report, scenario: &str, on: On, used: &[Used]) {
    let largest = used.iter().map(|used| used.largest_worker).fold(0.0, f64::max);
    let what = format!("{scenario}: largest process of ours, MiB");
    report.ratio(&what, on.name(), largest, Target::Below(WORKER_MIB));
}

fn last(arrivals: &Value) -> u64 {
    arrivals["last"].as_u64().unwrap_or_default()
}

fn load_cpu(before: f64, count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of deliveries")]
    rounded((own_cpu() - before) / (count.max(1) as f64 / 1000.0))
}
