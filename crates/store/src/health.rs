//! What a fleet knows together of its receivers: rows of those that have failed or asked for peace of late.
//!
//! They are changed by one transaction at a time, the one that hands out slots, so that `changed_at` grows with every
//! change and whoever has heard of one misses none that came after it.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    time::Duration,
};

use bellbuoy_domain::{Health, Opened, Sighting};
use sqlx::FromRow;

use crate::{
    Store, StoreError,
    call::{Value, values},
    sql,
    text::Text,
    value::{column, number},
    writing::Writing,
};

/// So long a change is remembered: longer than any peace or pause lasts, and than a process that goes on without the
/// store is likely to be.
const REMEMBERED: Duration = Duration::from_hours(2);

/// No process tells of a longer peace. What lasts longer was told before the database's clock was set back.
const LONGEST_PEACE: Duration = Duration::from_hours(1);

/// What a process has seen of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenReceiver {
    /// Which receiver, in the process's own words; the same for all processes.
    pub receiver: String,
    /// What it has seen since it last told.
    pub sighting: Sighting,
    /// So many failures in a row open its circuit.
    pub to_open: NonZeroU32,
}

/// How a receiver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverHealth {
    /// Which receiver.
    pub receiver: String,
    /// How it is, with moments counted from the answer on.
    pub health: Health,
}

impl Store {
    /// How receivers are whose health has changed after `heard`, and the moment of the last change.
    pub(crate) async fn health_since(&self, heard: i64) -> Result<(Vec<ReceiverHealth>, i64), StoreError> {
        let rows: Vec<HealthRow> = self.fetch(sql::HEALTH_SINCE, &values![heard]).await?;
        let last = rows.iter().map(|row| row.changed_at).max().unwrap_or(heard);
        if rows.is_empty() {
            return Ok((Vec::new(), last));
        }
        // Later than the rows were read, and before whoever asked counts from: nothing ends too early for it.
        let now = self.database_time().await?;
        let known = rows.into_iter().map(|row| row.told_at(now)).collect::<Result<_, _>>()?;
        Ok((known, last))
    }
}

/// Takes in what was seen, and says how those receivers and `others` are, as well as all whose health has changed after
/// `heard`; and the moment of the last change.
pub(crate) async fn hear(
    writing: &mut Writing,
    seen: &[SeenReceiver],
    others: &[&str],
    (heard, now): (i64, i64),
) -> Result<(Vec<ReceiverHealth>, i64), StoreError> {
    writing.run(sql::FORGET_HEALTH, &values![now - column(millis(REMEMBERED))]).await?;
    let names: Vec<&str> =
        seen.iter().map(|seen| seen.receiver.as_str()).chain(others.iter().copied()).collect();
    let rows: Vec<HealthRow> = writing.fetch_many(&sql::HEALTH, &names, |name| values![*name]).await?;
    let changes: Vec<HealthRow> = writing.fetch(sql::HEALTH_SINCE, &values![heard]).await?;
    let mut last = changes.iter().map(|row| row.changed_at).max().unwrap_or(heard);
    let mut known = HashMap::with_capacity(rows.len() + changes.len());
    let mut altered: BTreeSet<String> = seen.iter().map(|seen| seen.receiver.clone()).collect();
    for row in rows.into_iter().chain(changes) {
        let health = row.health()?;
        let bounded = bounded(health, moment(now));
        if bounded != health {
            altered.insert(row.receiver.0.clone());
        }
        known.insert(row.receiver.0, bounded);
    }
    if !altered.is_empty() {
        let (newest,): (i64,) = writing.one(sql::LAST_HEALTH, &[]).await?;
        last = now.max(newest + 1);
        for seen in seen {
            let health = known.entry(seen.receiver.clone()).or_default();
            health.hear(seen.sighting, moment(now), seen.to_open);
        }
        let kept: Vec<(&str, Health)> =
            altered.iter().map(|receiver| (receiver.as_str(), known[receiver])).collect();
        writing
            .run_many(&sql::KEEP_HEALTH, &kept, |row| row.0.len(), |row| columns(row.0, row.1, last))
            .await?;
    }
    let told =
        |(receiver, health): (String, Health)| ReceiverHealth { receiver, health: health.from(moment(now)) };
    Ok((known.into_iter().map(told).collect(), last))
}

/// With nothing that ends later than it can have been told at `now`.
fn bounded(health: Health, now: Duration) -> Health {
    let open = health.open.map(|open| Opened { until: open.until.min(now + open.pause), ..open });
    Health { open, peace_until: health.peace_until.min(now + LONGEST_PEACE), ..health }
}

fn columns(receiver: &str, health: Health, changed_at: i64) -> [Value<'_>; 6] {
    let open_until = health.open.map(|open| column(millis(open.until)));
    let pause = health.open.map_or(0, |open| column(millis(open.pause)));
    let peace_until = column(millis(health.peace_until));
    values![receiver, i64::from(health.failures), open_until, pause, peace_until, changed_at]
}

fn moment(unix_millis: i64) -> Duration {
    Duration::from_millis(unix_millis.unsigned_abs())
}

/// Rounded up, so that nothing ends too early.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[derive(FromRow)]
struct HealthRow {
    receiver: Text,
    failures: i64,
    open_until: Option<i64>,
    pause: i64,
    peace_until: i64,
    changed_at: i64,
}

impl HealthRow {
    fn health(&self) -> Result<Health, StoreError> {
        let open = self.open_until.map(|until| Opened { until: moment(until), pause: moment(self.pause) });
        Ok(Health { failures: number(self.failures)?, open, peace_until: moment(self.peace_until) })
    }

    fn told_at(self, now: i64) -> Result<ReceiverHealth, StoreError> {
        let health = bounded(self.health()?, moment(now)).from(moment(now));
        Ok(ReceiverHealth { receiver: self.receiver.0, health })
    }
}
