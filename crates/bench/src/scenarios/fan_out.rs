//! Each event for 50 notifications, which all post to one receiver.

use super::{Wanted, bare_amqp, bare_http, bare_worker, burst, memory};
use crate::{
    deployment::{On, Receiver},
    figures::{Report, Target, median},
    load::Events,
};

const EVENTS: usize = 500;
const NOTIFICATIONS: usize = 50;

const OF_BARE_LAPIN: Target = Target::AtLeast(0.75);

const CPU_S_PER_1000: Target = Target::Below(0.15);

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    for on in wanted.on() {
        let deployment = wanted.deploy(on).await?;
        let bare = bare_worker(&deployment, &receiver, folder.path()).await?;
        let way = deployment.by_broker().await?;
        let (mut ratios, mut bursts) = (Vec::new(), Vec::new());
        for round in 1..=wanted.rounds {
            let events = Events::new(&format!("fan-out-{round}"));
            let mut notifications = Vec::new();
            for number in 0..NOTIFICATIONS {
                let url = format!("{}/{number}", receiver.hook(&events.run));
                notifications.push(deployment.notify(&events, &url).await?);
            }
            bare_http(report, &receiver, round).await?;
            let size = (EVENTS, &notifications[..]);
            let limit = match &bare {
                Some((bare, broker)) => {
                    let count = EVENTS * NOTIFICATIONS;
                    Some(bare_amqp((report, round), (bare, *broker), &receiver, count).await?)
                }
                None => None,
            };
            let ours = burst((report, "fan-out of 50", round), (&deployment, &way), &receiver, &events, size)
                .await?;
            ratios.extend(limit.map(|limit| ours.per_second / limit));
            bursts.push(ours);
        }
        if on == On::Fleet {
            let of_bare = median(ratios);
            report.ratio("fan-out of 50, of the bare lapin limit", on.name(), of_bare, OF_BARE_LAPIN);
        }
        let cpu = median(bursts.iter().map(|burst| burst.used.cpu_per_1000(burst.deliveries)));
        report.ratio("fan-out of 50, CPU s per 1,000", on.name(), cpu, CPU_S_PER_1000);
        let used: Vec<_> = bursts.into_iter().map(|burst| burst.used).collect();
        memory(report, "fan-out of 50", on, &used);
    }
    Ok(())
}
