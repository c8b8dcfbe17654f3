//! Each event for one notification. Every round measures the bare limits and both deployments one after the other,
//! and a ratio is that of one round, so that a machine that is busy for a while moves both of its halves.

use std::path::Path;

use super::{Burst, Wanted, bare_amqp, bare_http, bare_worker, burst, memory};
use crate::{
    bare::Bare,
    deployment::{Deployment, On, Receiver},
    figures::{Report, Target, median},
    load::{Events, Way},
    usage::Program,
};

const EVENTS: usize = 20_000;

/// Of what a worker does that keeps no history, retries nothing and fans nothing out.
const OF_BARE_LAPIN: Target = Target::AtLeast(0.55);

const EMBEDDED_OF_FLEET: Target = Target::AtLeast(1.5);

const CPU_S_PER_1000: Target = Target::Below(0.25);

/// A deployment and what was measured of it.
struct Side {
    deployment: Deployment,
    bare: Option<(Bare, Program)>,
    http: Way,
    amqp: Option<Way>,
    by_http: Vec<Burst>,
    /// Each with the bare limit of its round.
    by_amqp: Vec<(Burst, f64)>,
}

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    let mut sides = Vec::new();
    for on in wanted.on() {
        sides.push(Side::begin(wanted, on, &receiver, folder.path()).await?);
    }
    for round in 1..=wanted.rounds {
        bare_http(report, &receiver, round).await?;
        for side in &mut sides {
            side.measure(report, round, &receiver).await?;
        }
    }
    for side in &sides {
        side.judge(report);
    }
    if let [embedded, fleet] = &sides[..] {
        let pairs = embedded.by_http.iter().zip(&fleet.by_http);
        let ratio = median(pairs.map(|(embedded, fleet)| embedded.per_second / fleet.per_second));
        report.ratio("1:1 by HTTP, embedded of the fleet's", "both", ratio, EMBEDDED_OF_FLEET);
    }
    Ok(())
}

impl Side {
    async fn begin(wanted: &Wanted, on: On, receiver: &Receiver, folder: &Path) -> anyhow::Result<Self> {
        let deployment = wanted.deploy(on).await?;
        let amqp = match on {
            On::Embedded => None,
            On::Fleet => Some(deployment.by_broker().await?),
        };
        Ok(Self {
            bare: bare_worker(&deployment, receiver, folder).await?,
            http: deployment.by_http(),
            amqp,
            deployment,
            by_http: Vec::new(),
            by_amqp: Vec::new(),
        })
    }

    async fn measure(&mut self, report: &Report, round: u32, receiver: &Receiver) -> anyhow::Result<()> {
        let figure = "one to one, events by HTTP";
        let burst = self.burst((report, figure, round), &self.http, receiver, "by-http").await?;
        self.by_http.push(burst);
        if let (Some((bare, broker)), Some(amqp)) = (&self.bare, &self.amqp) {
            let limit = bare_amqp((report, round), (bare, *broker), receiver, EVENTS).await?;
            let figure = "one to one, events by AMQP";
            let burst = self.burst((report, figure, round), amqp, receiver, "by-amqp").await?;
            self.by_amqp.push((burst, limit));
        }
        Ok(())
    }

    async fn burst(
        &self,
        (report, figure, round): (&Report, &str, u32),
        way: &Way,
        receiver: &Receiver,
        run: &str,
    ) -> anyhow::Result<Burst> {
        let events = Events::new(&format!("{run}-{round}"));
        let notification = self.deployment.notify(&events, &receiver.hook(&events.run)).await?;
        let size = (EVENTS, &[notification][..]);
        burst((report, figure, round), (&self.deployment, way), receiver, &events, size).await
    }

    fn judge(&self, report: &Report) {
        let on = self.deployment.on.name();
        let cpu = |bursts: &mut dyn Iterator<Item = &Burst>| {
            median(bursts.map(|burst| burst.used.cpu_per_1000(burst.deliveries)))
        };
        report.ratio("1:1 by HTTP, CPU s per 1,000", on, cpu(&mut self.by_http.iter()), CPU_S_PER_1000);
        if !self.by_amqp.is_empty() {
            let of_bare = median(self.by_amqp.iter().map(|(burst, limit)| burst.per_second / limit));
            report.ratio("1:1, of the bare lapin limit", on, of_bare, OF_BARE_LAPIN);
            let recorded =
                median(self.by_amqp.iter().map(|(burst, limit)| burst.recorded_per_second / limit));
            report.ratio("1:1 until recorded, of the bare lapin limit", on, recorded, OF_BARE_LAPIN);
            let used = cpu(&mut self.by_amqp.iter().map(|(burst, _)| burst));
            report.ratio("1:1 by AMQP, CPU s per 1,000", on, used, CPU_S_PER_1000);
        }
        let bursts = self.by_http.iter().chain(self.by_amqp.iter().map(|(burst, _)| burst));
        let used: Vec<_> = bursts.map(|burst| burst.used.clone()).collect();
        memory(report, "1:1", self.deployment.on, &used);
    }
}
