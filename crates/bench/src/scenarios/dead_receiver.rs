//! One receiver accepts connections and never answers, and nine of ten events are for it. The others have to feel
//! nothing of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Wanted, last, latency::ages, memory};
use crate::{
    deployment::{Deployment, Receiver},
    figures::{Report, Target, per_second, rounded},
    load::Events,
    usage::Meter,
};

/// Events a second for healthy receivers, and for the dead one.
const HEALTHY: u32 = 50;
const DEAD: u32 = 450;

/// Longer than the 15 s after which an attempt is given up.
const SPAN: Duration = Duration::from_secs(25);

const THROUGHPUT: Target = Target::AtLeast(0.9);
const P99: Target = Target::Below(2.0);

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    for on in wanted.on() {
        let receiver = Receiver::start().await?;
        // Its own process, so that the healthy one shares not even a thread with it.
        let dead = Receiver::start().await?;
        let deployment = wanted.deploy(on).await?;
        let meter = Meter::start(&deployment.programs());
        let without = measure(&deployment, &receiver, "without", None).await?;
        report.figure("healthy receivers without a dead one", on.name(), told(&without));
        let with = measure(&deployment, &receiver, "with", Some(&dead)).await?;
        report.figure("healthy receivers beside a dead one", on.name(), told(&with));
        let used = meter.read();
        let throughput = rate(&with) / rate(&without);
        report.ratio("beside a dead receiver, throughput of the healthy", on.name(), throughput, THROUGHPUT);
        let p99 = milliseconds(&with) / milliseconds(&without);
        report.ratio("beside a dead receiver, p99 of the healthy", on.name(), p99, P99);
        memory(report, "beside a dead receiver", on, &[used]);
    }
    Ok(())
}

/// The healthy load for a while, all of it waited for, with or without the dead one's beside it.
async fn measure(
    deployment: &Deployment,
    receiver: &Receiver,
    run: &str,
    dead: Option<&Receiver>,
) -> anyhow::Result<(Value, u64)> {
    let (healthy, lost) = (Events::new(run), Events::new(&format!("{run}-dead")));
    deployment.notify(&healthy, &receiver.hook(&healthy.run)).await?;
    if let Some(dead) = dead {
        deployment.notify(&lost, &format!("{}/dead/end", dead.url)).await?;
    }
    deployment.intake().publish(&healthy, usize::MAX).await?;
    receiver.until(&healthy.run, 1).await?;
    receiver.take(&healthy.run).await?;
    let intake = deployment.intake();
    let begun = crate::figures::micros_now();
    let offered = async {
        let count = intake.paced(&healthy, HEALTHY, SPAN).await?;
        receiver.until(&healthy.run, count).await
    };
    let beside = async {
        if dead.is_some() {
            intake.paced(&lost, DEAD, SPAN).await?;
        }
        anyhow::Ok(())
    };
    let (offered, beside) = tokio::join!(offered, beside);
    offered.and(beside)?;
    Ok((receiver.take(&healthy.run).await?, begun))
}

fn rate((arrivals, begun): &(Value, u64)) -> f64 {
    let seen = arrivals["seen"].as_u64().and_then(|seen| usize::try_from(seen).ok()).unwrap_or_default();
    per_second(seen, *begun, last(arrivals))
}

fn milliseconds((arrivals, _): &(Value, u64)) -> f64 {
    arrivals["p99_ms"].as_f64().unwrap_or(f64::NAN)
}

fn told(measured: &(Value, u64)) -> Value {
    let mut told = ages(&measured.0);
    told["deliveries_per_s"] = json!(rounded(rate(measured)));
    told
}
