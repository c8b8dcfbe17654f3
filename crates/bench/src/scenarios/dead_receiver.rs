//! One receiver has nine tenths of the load and never answers. The others have to feel nothing of it.
//!
//! The load is the same with and without it: without, that receiver answers. So what differs is what the dead one costs,
//! and not what nine times as many events do. It is offered twice, at a rate that keeps nothing busy, for the ages,
//! and as fast as it is taken, for the throughput: with all of the machine in use, whatever the dead receiver costs is
//! taken from the healthy one. Each round is a deployment of its own, since what waits for the dead one stays, and
//! compares its own two halves, since a machine is not as fast at every time.

use std::time::Duration;

use serde_json::Value;

use super::{Wanted, bare_limits, memory, rate, told};
use crate::{
    deployment::{Deployment, Receiver},
    figures::{Report, Target, median, micros_now},
    load::Events,
    usage::{Meter, Used},
};

/// Events a second for the healthy receiver, and for the other.
const HEALTHY: u32 = 50;
const OTHER: u32 = 450;

/// Longer than the 15 s after which an attempt is given up.
const SPAN: Duration = Duration::from_secs(25);

/// Events of a burst, and how many of them are for one that is for the healthy receiver.
const BURST: usize = 20_000;
const OTHERS: usize = 9;

const THROUGHPUT: Target = Target::AtLeast(0.9);
const P99: Target = Target::Below(2.0);

/// What the other receiver does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    Answers,
    IsDead,
}

impl Other {
    fn words(self) -> &'static str {
        match self {
            Self::Answers => "beside one that answers",
            Self::IsDead => "beside a dead one",
        }
    }

    fn run(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::IsDead => "dead",
        }
    }
}

/// Where it is measured.
struct Scene<'a> {
    report: &'a Report,
    deployment: &'a Deployment,
    healthy: &'a Receiver,
    // Its own process, so that the healthy one shares not even a thread with it.
    other: &'a Receiver,
}

/// What came of it.
struct Measured {
    per_second: f64,
    p99_ms: f64,
    used: Used,
}

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    for on in wanted.on() {
        let (mut used, mut throughput, mut p99) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=wanted.rounds {
            let (healthy, other) = (Receiver::start().await?, Receiver::start().await?);
            let deployment = wanted.deploy(on).await?;
            if round == 1 {
                bare_limits(report, &deployment, &healthy, BURST / 2).await?;
            }
            let scene = Scene { report, deployment: &deployment, healthy: &healthy, other: &other };
            let answers = [scene.burst(Other::Answers).await?, scene.paced(Other::Answers).await?];
            let is_dead = [scene.burst(Other::IsDead).await?, scene.paced(Other::IsDead).await?];
            throughput.push(is_dead[0].per_second / answers[0].per_second);
            p99.push(is_dead[1].p99_ms / answers[1].p99_ms);
            used.extend(answers.into_iter().chain(is_dead).map(|measured| measured.used));
        }
        let (on_name, healthy) = (on.name(), "beside a dead receiver, of the healthy one's");
        report.ratio(&format!("{healthy} throughput"), on_name, median(throughput), THROUGHPUT);
        report.ratio(&format!("{healthy} p99"), on_name, median(p99), P99);
        memory(report, "beside a dead receiver", on, &used);
    }
    Ok(())
}

impl Scene<'_> {
    /// Both loads as fast as they are taken.
    async fn burst(&self, beside: Other) -> anyhow::Result<Measured> {
        let (healthy, others) = self.notify(beside, "burst").await?;
        let mut runs = vec![&healthy];
        runs.extend([&others; OTHERS]);
        let meter = Meter::start(&self.deployment.programs());
        let started = micros_now();
        self.deployment.intake().burst_of(&runs, BURST).await?;
        self.healthy.until(&healthy.run, BURST / runs.len()).await?;
        if beside == Other::Answers {
            self.other.until(&others.run, BURST - BURST / runs.len()).await?;
        }
        let used = meter.read();
        let arrivals = self.healthy.take(&healthy.run).await?;
        Ok(self.tell("as fast as taken", beside, (&arrivals, started), used, BURST))
    }

    /// Both loads at their rates, for a while.
    async fn paced(&self, beside: Other) -> anyhow::Result<Measured> {
        let (healthy, others) = self.notify(beside, "paced").await?;
        let intake = self.deployment.intake();
        let meter = Meter::start(&self.deployment.programs());
        let started = micros_now();
        let (offered, beside_it) =
            tokio::join!(intake.paced(&healthy, HEALTHY, SPAN), intake.paced(&others, OTHER, SPAN));
        let (offered, beside_it) = (offered?, beside_it?);
        self.healthy.until(&healthy.run, offered).await?;
        let used = meter.read();
        let arrivals = self.healthy.take(&healthy.run).await?;
        Ok(self.tell("500/s", beside, (&arrivals, started), used, offered + beside_it))
    }

    /// A notification for each of the two, and one event through the healthy one's, which pays for connections and
    /// caches.
    async fn notify(&self, beside: Other, what: &str) -> anyhow::Result<(Events, Events)> {
        let run = format!("{}-{what}", beside.run());
        let (healthy, others) = (Events::new(&run), Events::new(&format!("{run}-others")));
        let other = match beside {
            Other::Answers => self.other.hook(&others.run),
            Other::IsDead => format!("{}/dead/{}", self.other.url, others.run),
        };
        self.deployment.notify(&healthy, &self.healthy.hook(&healthy.run)).await?;
        self.deployment.notify(&others, &other).await?;
        self.deployment.intake().publish(&healthy, usize::MAX).await?;
        self.healthy.until(&healthy.run, 1).await?;
        self.healthy.take(&healthy.run).await?;
        Ok((healthy, others))
    }

    /// The figure; processor time is for each of all `events`.
    fn tell(
        &self,
        load: &str,
        beside: Other,
        (arrivals, started): (&Value, u64),
        used: Used,
        events: usize,
    ) -> Measured {
        let figure = format!("healthy receiver {}, {load}", beside.words());
        self.report.figure(&figure, self.deployment.on.name(), told(arrivals, started, &used, events));
        Measured {
            per_second: rate(arrivals, started),
            p99_ms: arrivals["p99_ms"].as_f64().unwrap_or(f64::NAN),
            used,
        }
    }
}
