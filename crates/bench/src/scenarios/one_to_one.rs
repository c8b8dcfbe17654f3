//! Each event for one notification. Every round measures the bare limits and both deployments one after the other,
//! and a ratio is that of one round, so that a machine that is busy for a while moves both of its halves.

use super::{Burst, Wanted, bare_amqp, bare_http, bare_worker, burst, memory};
use crate::{
    deployment::{On, Receiver},
    figures::{Report, Target, median},
    load::Events,
};

const EVENTS: usize = 20_000;

/// Of what a worker does that keeps no history, retries nothing and fans nothing out.
const OF_BARE_LAPIN: Target = Target::AtLeast(0.55);

const EMBEDDED_OF_FLEET: Target = Target::AtLeast(1.5);

const CPU_S_PER_1000: Target = Target::Below(0.25);

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    let mut deployments = Vec::new();
    for on in wanted.on() {
        let deployment = wanted.deploy(on).await?;
        let bare = bare_worker(&deployment, &receiver, folder.path()).await?;
        deployments.push((deployment, bare, Vec::<(Burst, f64)>::new()));
    }
    for round in 1..=wanted.rounds {
        bare_http(report, &receiver, round).await?;
        for (deployment, bare, bursts) in &mut deployments {
            let limit = match bare {
                Some((bare, broker)) => {
                    bare_amqp((report, round), (bare, *broker), &receiver, EVENTS).await?
                }
                None => f64::NAN,
            };
            let events = Events::new(&format!("one-to-one-{round}"));
            let notification = deployment.notify(&events, &receiver.hook(&events.run)).await?;
            let size = (EVENTS, &[notification][..]);
            let ours = burst((report, "one to one", round), deployment, &receiver, &events, size).await?;
            bursts.push((ours, limit));
        }
    }
    for (deployment, _, bursts) in &deployments {
        let on = deployment.on;
        if on == On::Fleet {
            let of_bare = median(bursts.iter().map(|(burst, limit)| burst.per_second / limit));
            report.ratio("1:1, of the bare lapin limit", on.name(), of_bare, OF_BARE_LAPIN);
            let recorded = median(bursts.iter().map(|(burst, limit)| burst.recorded_per_second / limit));
            report.ratio("1:1 until recorded, of the bare lapin limit", on.name(), recorded, OF_BARE_LAPIN);
        }
        let cpu = median(bursts.iter().map(|(burst, _)| burst.used.cpu_per_1000(burst.deliveries)));
        report.ratio("1:1, CPU s per 1,000", on.name(), cpu, CPU_S_PER_1000);
        let used: Vec<_> = bursts.iter().map(|(burst, _)| burst.used.clone()).collect();
        memory(report, "1:1", on, &used);
    }
    if let [(_, _, embedded), (_, _, fleet)] = &deployments[..] {
        let pairs = embedded.iter().zip(fleet);
        let ratio = median(pairs.map(|((embedded, _), (fleet, _))| embedded.per_second / fleet.per_second));
        report.ratio("1:1, embedded of the fleet's", "both", ratio, EMBEDDED_OF_FLEET);
    }
    Ok(())
}
