//! From the making of an event to its arrival, at a rate that keeps nothing busy.

use std::time::Duration;

use serde_json::Value;

use super::{Wanted, bare_worker, client, memory, told};
use crate::{
    bare::Bare,
    client::Client,
    deployment::{Deployment, Receiver},
    figures::{Report, Target, micros_now},
    load::{Events, bare_body, paced},
    usage::{Meter, Program, Used},
};

pub(super) const RATE: u32 = 50;
pub(super) const SPAN: Duration = Duration::from_secs(20);

pub(super) const P50_MS: Target = Target::Below(5.0);
pub(super) const P99_MS: Target = Target::Below(50.0);

pub(super) async fn run(wanted: &Wanted, report: &Report) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    bare_http(report, &receiver).await?;
    for on in wanted.on() {
        let deployment = wanted.deploy(on).await?;
        if let Some((bare, broker)) = bare_worker(&deployment, &receiver, folder.path()).await? {
            bare_lapin(report, (&bare, broker), &receiver).await?;
        }
        let events = Events::new("latency");
        deployment.notify(&events, &receiver.hook(&events.run)).await?;
        let (arrivals, used) = measure(report, "latency at 50/s", &deployment, &receiver, &events).await?;
        judge(report, "at 50/s", on.name(), &arrivals);
        memory(report, "at 50/s", on, &[used]);
    }
    Ok(())
}

/// 50 events a second for 20 s, to a notification that is there already, told as `figure`.
pub(super) async fn measure(
    report: &Report,
    figure: &str,
    deployment: &Deployment,
    receiver: &Receiver,
    events: &Events,
) -> anyhow::Result<(Value, Used)> {
    // The first of a run also pays for connections and caches.
    deployment.intake().publish(events, usize::MAX).await?;
    receiver.until(&events.run, 1).await?;
    receiver.take(&events.run).await?;
    let meter = Meter::start(&deployment.programs());
    let started = micros_now();
    let count = deployment.intake().paced(events, RATE, SPAN).await?;
    receiver.until(&events.run, count).await?;
    let used = meter.read();
    let arrivals = receiver.take(&events.run).await?;
    report.figure(figure, deployment.on.name(), told(&arrivals, started, &used, count));
    Ok((arrivals, used))
}

pub(super) fn judge(report: &Report, what: &str, on: &str, arrivals: &Value) {
    for (percentile, target) in [("p50_ms", P50_MS), ("p99_ms", P99_MS)] {
        let value = arrivals[percentile].as_f64().unwrap_or(f64::NAN);
        report.ratio(&format!("{what}, {percentile}"), on, value, target);
    }
}

async fn bare_http(report: &Report, receiver: &Receiver) -> anyhow::Result<()> {
    let meter = Meter::start(&[client()]);
    let started = micros_now();
    let client = Client::new("");
    let url = receiver.hook("bare-http");
    let count = paced(RATE, SPAN / 4, |number| {
        let (client, url) = (client.clone(), url.clone());
        async move { client.deliver(&url, &number.to_string(), bare_body()).await }
    })
    .await?;
    receiver.until("bare-http", count).await?;
    let used = meter.read();
    let arrivals = receiver.take("bare-http").await?;
    report.figure("bare http client at 50/s", "all", told(&arrivals, started, &used, count));
    Ok(())
}

async fn bare_lapin(
    report: &Report,
    (bare, broker): (&Bare, Program),
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let meter = Meter::start(&[bare.program(), broker]);
    let started = micros_now();
    let count = bare.paced("latency", RATE, SPAN).await?;
    receiver.until("bare", count).await?;
    let used = meter.read();
    let arrivals = receiver.take("bare").await?;
    report.figure("bare lapin at 50/s", "fleet", told(&arrivals, started, &used, count));
    Ok(())
}
