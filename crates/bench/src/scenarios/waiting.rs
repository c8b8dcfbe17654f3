//! Fresh events while very many retries wait: what waits must cost a fresh delivery nothing.
//!
//! The retries are put straight into the broker, by its own crate and as a deliver worker would write them, due in
//! one to 24 hours: making a million of them fail one by one would measure only that.

use std::{path::Path, str::FromStr, time::Duration};

use bellbuoy_broker::{Broker, BrokerOptions, BrokerUrl, Outgoing, queues};
use bellbuoy_domain::{DeliveryId, DeliveryMessage, NotificationId, WIRE_VERSION};
use jiff::Timestamp;
use serde_json::{json, value::RawValue};
use tokio::{task::JoinSet, time::Instant};

use super::{Wanted, bare_limits, burst, latency, memory};
use crate::{
    deployment::{Deployment, On, Receiver},
    figures::{Report, Target, median, rounded},
    load::Events,
    usage::Meter,
};

/// Events of each measurement of throughput.
const EVENTS: usize = 10_000;

/// Retries in one call of the broker, and calls at a time.
const AT_ONCE: usize = 500;
const LOADERS: usize = 4;

/// Waits are spread over so many hours, from one on.
const HOURS: u64 = 23;

const THROUGHPUT: Target = Target::AtLeast(0.9);

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    for on in wanted.on() {
        let waiting = wanted.waiting;
        let receiver = Receiver::start().await?;
        let mut deployment = wanted.deploy(on).await?;
        let events = Events::new("waiting");
        let notification = deployment.notify(&events, &receiver.hook(&events.run)).await?;
        bare_limits(report, &deployment, &receiver, EVENTS).await?;
        let without = measure(wanted, report, &deployment, &receiver, "without").await?;

        let (began, meter) = (Instant::now(), Meter::start(&deployment.programs()));
        let amqp = deployment.amqp();
        let load = async |data: &Path| load(amqp.as_deref(), data, notification, waiting).await;
        match on {
            // Its files are one process's at a time.
            On::Embedded => deployment.stopped(load).await?,
            On::Fleet => load(Path::new("")).await?,
        }
        let (seconds, (_, peak)) = (began.elapsed().as_secs_f64(), meter.read().to_json(waiting));
        report.figure(
            "retries made to wait",
            on.name(),
            json!({"waiting": waiting, "seconds": rounded(seconds), "peak_mib": peak}),
        );

        let meter = Meter::start(&deployment.programs());
        let figure = format!("latency at 50/s, {waiting} waiting");
        let (arrivals, _) = latency::measure(report, &figure, &deployment, &receiver, &events).await?;
        latency::judge(report, &format!("at 50/s, {waiting} waiting"), on.name(), &arrivals);
        let with = measure(wanted, report, &deployment, &receiver, "with").await?;
        let used = meter.read();
        let (_, peak) = used.to_json(1);
        report.figure("memory while retries wait", on.name(), json!({"waiting": waiting, "peak_mib": peak}));
        let what = format!("1:1, {waiting} waiting, of the rate without");
        report.ratio(&what, on.name(), rounded(with / without), THROUGHPUT);
        memory(report, &format!("{waiting} waiting"), on, &[used]);
    }
    Ok(())
}

/// The median rate of as many bursts as there are rounds.
async fn measure(
    wanted: &Wanted,
    report: &Report,
    deployment: &Deployment,
    receiver: &Receiver,
    run: &str,
) -> anyhow::Result<f64> {
    let (mut rates, way) = (Vec::new(), deployment.by_http());
    let figure = format!("one to one, {run} waiting retries");
    for round in 1..=wanted.rounds {
        let events = Events::new(&format!("{run}-{round}"));
        let notification = deployment.notify(&events, &receiver.hook(&events.run)).await?;
        let size = (EVENTS, &[notification][..]);
        let burst = burst((report, &figure, round), (deployment, &way), receiver, &events, size).await?;
        rates.push(burst.per_second);
    }
    Ok(median(rates))
}

async fn load(
    amqp: Option<&str>,
    data: &Path,
    notification: NotificationId,
    count: usize,
) -> anyhow::Result<()> {
    let options = BrokerOptions::default();
    let url = BrokerUrl::from_str(amqp.unwrap_or("embedded:"))?;
    let broker = Broker::open(&url, data, &options)?;
    let mut loaders = JoinSet::new();
    for loader in 0..LOADERS {
        let broker = broker.clone();
        let numbers: Vec<usize> = (loader..count).step_by(LOADERS).collect();
        loaders.spawn(async move {
            for piece in numbers.chunks(AT_ONCE) {
                let retries: Vec<_> =
                    piece.iter().map(|number| retry(*number, notification)).collect::<Result<_, _>>()?;
                publish(&broker, retries).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = loaders.join_next().await {
        ended??;
    }
    broker.close().await;
    Ok(())
}

/// RabbitMQ is connected to in the background, so the first call may come too early; and it is given more than it
/// wants, so a later one may be refused for a moment.
async fn publish(broker: &Broker, retries: Vec<Outgoing>) -> anyhow::Result<()> {
    for _ in 0..10 {
        if broker.publish(retries.clone()).await.is_ok() {
            return Ok(());
        }
    }
    Ok(broker.publish(retries).await?)
}

/// A delivery after its first failed attempt.
fn retry(number: usize, notification: NotificationId) -> anyhow::Result<Outgoing> {
    let wait = Duration::from_secs(3600 + number as u64 * 7919 % (HOURS * 3600));
    let now = Timestamp::now();
    let event = json!({
        "specversion": "1.0", "id": format!("waiting-{number}"), "source": "waiting", "type": "repo_push",
        "subject": "bench/waiting", "time": now.to_string(), "data": {"updated_tags": ["x".repeat(700)]},
    });
    let message = DeliveryMessage {
        v: WIRE_VERSION,
        delivery: DeliveryId::derive("waiting", &format!("waiting-{number}"), notification),
        notification,
        attempt: 2,
        spent: 0,
        accepted_at: now,
        due_at: now.saturating_add(jiff::SignedDuration::try_from(wait)?)?,
        held_since: None,
        event: RawValue::from_string(event.to_string())?,
    };
    Ok(Outgoing::new(queues::deliver("webhook"), message.to_json()).after(wait))
}
