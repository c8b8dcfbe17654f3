//! How records become history: merged in memory first, then written in few statements.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, FannedOut, Kind, NotificationId,
    NotificationState, Record,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    call::{Value, values},
    sql,
    value::{column, notification_state, number},
    writing::{Writing, retried},
};

impl Store {
    /// Writes what happened, in one transaction. Repeats change nothing, and any order of a delivery's records ends
    /// in the same rows.
    ///
    /// A fan-out adds its deliveries as pending and marks the event. An attempt's record writes where the delivery
    /// stands, unless a later attempt or an end of the same attempt is known, and adds the attempt, once; outcomes
    /// `held` and `cancelled` spend no attempt and add none. An attempt that is new and ended in dead or delivered
    /// moves the notification's `failures`: one more, or back to 0, in the order given.
    ///
    /// Gives back the notifications that these records show to be failing: with a delivery that died by one of them
    /// (repeated or not, so that a caller that crashed before it acted is told again), not disabled, and with
    /// `failures` of at least `threshold`.
    pub async fn record(
        &self,
        records: &[Record],
        threshold: u32,
    ) -> Result<Vec<NotificationId>, StoreError> {
        let batch = Batch::merge(records);
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        retried(|| self.write_batch(&batch, threshold)).await
    }

    async fn write_batch(
        &self,
        batch: &Batch<'_>,
        threshold: u32,
    ) -> Result<Vec<NotificationId>, StoreError> {
        let mut writing = self.write().await?;
        writing.lock_records().await?;
        writing.run_many(&sql::RECORD_DELIVERIES, &batch.deliveries, delivery_bytes, delivery_values).await?;
        writing
            .run_many(&sql::FANNED_OUT, &batch.fanned_out, |_| 0, |event| fanned_out_values(event))
            .await?;
        let failing = count_failures(&mut writing, batch, threshold).await?;
        let bytes = |attempt: &&AttemptRecord| cause_bytes(attempt.cause.as_ref());
        writing
            .run_many(&sql::RECORD_ATTEMPTS, &batch.attempts, bytes, |attempt| attempt_values(attempt))
            .await?;
        writing.commit().await?;
        Ok(failing)
    }
}

/// What the number of an attempt counts in a delivery's `progress`: more than all that can become of it.
pub(crate) const STEPS: i64 = 4;

/// Records of one call, with one entry per delivery and one per attempt.
#[derive(Default)]
struct Batch<'a> {
    fanned_out: Vec<&'a FannedOut>,
    deliveries: Vec<Delivery<'a>>,
    attempts: Vec<&'a AttemptRecord>,
}

/// Everything of a delivery's row.
#[derive(Clone, Copy)]
struct Delivery<'a> {
    id: DeliveryId,
    notification: NotificationId,
    method: &'a str,
    source: &'a str,
    event: &'a str,
    kind: Kind,
    subject: &'a str,
    accepted_at: i64,
    standing: Standing<'a>,
}

/// The part of a delivery's row that its records change.
#[derive(Clone, Copy)]
struct Standing<'a> {
    progress: i64,
    updated_at: i64,
    state: DeliveryState,
    attempts: u32,
    next_due_at: Option<i64>,
    cause: Option<&'a Cause>,
    status: Option<u16>,
}

impl<'a> Batch<'a> {
    fn merge(records: &'a [Record]) -> Self {
        let mut batch = Self::default();
        let mut places = HashMap::with_capacity(records.len());
        let mut attempts = HashSet::with_capacity(records.len());
        for record in records {
            if let Some(fanned_out) = &record.fanned_out {
                batch.fanned_out.push(fanned_out);
                for delivery in Delivery::planned(fanned_out) {
                    batch.put(&mut places, delivery);
                }
            }
            if let Some(attempt) = &record.attempt {
                batch.put(&mut places, Delivery::attempted(attempt));
                if spent_one(attempt) && attempts.insert((attempt.delivery, attempt.attempt)) {
                    batch.attempts.push(attempt);
                }
            }
        }
        // The order in which admitters lock events too.
        batch.fanned_out.sort_unstable_by_key(|event| (&event.event, &event.source));
        batch
    }

    fn put(&mut self, places: &mut HashMap<DeliveryId, usize>, delivery: Delivery<'a>) {
        match places.entry(delivery.id) {
            Entry::Vacant(place) => {
                place.insert(self.deliveries.len());
                self.deliveries.push(delivery);
            }
            Entry::Occupied(place) => {
                let known = &mut self.deliveries[*place.get()].standing;
                if delivery.standing.rank() > known.rank() {
                    *known = delivery.standing;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.fanned_out.is_empty() && self.deliveries.is_empty()
    }
}

impl<'a> Delivery<'a> {
    fn planned(fanned_out: &'a FannedOut) -> impl Iterator<Item = Self> {
        let accepted_at = fanned_out.accepted_at.as_millisecond();
        fanned_out.deliveries.iter().map(move |planned| Self {
            id: planned.delivery,
            notification: planned.notification,
            method: &planned.method,
            source: &fanned_out.source,
            event: &fanned_out.event,
            kind: fanned_out.kind,
            subject: &fanned_out.subject,
            accepted_at,
            standing: Standing {
                progress: 0,
                updated_at: accepted_at,
                state: DeliveryState::Pending,
                attempts: 0,
                next_due_at: None,
                cause: None,
                status: None,
            },
        })
    }

    fn attempted(attempt: &'a AttemptRecord) -> Self {
        Self {
            id: attempt.delivery,
            notification: attempt.notification,
            method: &attempt.method,
            source: &attempt.source,
            event: &attempt.event,
            kind: attempt.kind,
            subject: &attempt.subject,
            accepted_at: attempt.accepted_at.as_millisecond(),
            standing: Standing::after(attempt),
        }
    }
}

impl<'a> Standing<'a> {
    fn after(attempt: &'a AttemptRecord) -> Self {
        let spent = spent_one(attempt);
        let step = match attempt.state {
            DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Cancelled => 3,
            DeliveryState::Pending | DeliveryState::Waiting if spent => 2,
            DeliveryState::Pending | DeliveryState::Waiting => 1,
        };
        Self {
            progress: i64::from(attempt.attempt) * STEPS + step,
            updated_at: ended_at(attempt).as_millisecond(),
            state: attempt.state,
            attempts: if spent { attempt.attempt } else { attempt.attempt.saturating_sub(1) },
            next_due_at: attempt.next_due_at.map(Timestamp::as_millisecond),
            cause: attempt.cause.as_ref(),
            status: attempt.status,
        }
    }

    /// What is known later in a delivery's life is greater, whenever it arrives.
    fn rank(&self) -> (i64, i64) {
        (self.progress, self.updated_at)
    }
}

/// When the attempt ended; a record may claim any duration.
fn ended_at(attempt: &AttemptRecord) -> Timestamp {
    let duration = SignedDuration::from_millis(column(attempt.duration_ms));
    attempt.started_at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Whether the record is of a real try, rather than of a wait or an end without one.
fn spent_one(attempt: &AttemptRecord) -> bool {
    !matches!(attempt.outcome.as_str(), "held" | "cancelled")
}

/// What the ends among a batch's new attempts do to one notification's `failures`.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Failures {
    back_to_zero: bool,
    more: u32,
}

impl Failures {
    fn count(&mut self, state: DeliveryState) {
        match state {
            DeliveryState::Delivered => *self = Self { back_to_zero: true, more: 0 },
            DeliveryState::Dead => self.more += 1,
            DeliveryState::Pending | DeliveryState::Waiting | DeliveryState::Cancelled => {}
        }
    }
}

/// How old the note of a notification's last success may be, in milliseconds.
const NOTED: i64 = 60_000;

/// What is known of a notification's deliveries.
struct Known {
    failures: u32,
    state: NotificationState,
    succeeded_at: Option<i64>,
}

/// Moves `failures` by the attempts that are not in the table yet, so it has to come before they are. The batch's
/// deliveries must have been written: where several processes record, that locks their rows.
async fn count_failures(
    writing: &mut Writing,
    batch: &Batch<'_>,
    threshold: u32,
) -> Result<Vec<NotificationId>, StoreError> {
    let ends: Vec<&AttemptRecord> =
        batch.attempts.iter().copied().filter(|attempt| speaks_of_the_receiver(attempt)).collect();
    let dead: HashSet<NotificationId> =
        ends.iter().filter(|end| end.state == DeliveryState::Dead).map(|end| end.notification).collect();
    let concerned: HashSet<NotificationId> = ends.iter().map(|end| end.notification).collect();
    let standing = read_failures(writing, concerned).await?;
    note_successes(writing, &ends, &standing).await?;
    // Nothing to count where all went well before and now: the usual case.
    let counted: Vec<&AttemptRecord> = ends
        .into_iter()
        .filter(|end| {
            dead.contains(&end.notification)
                || standing.get(&end.notification).is_some_and(|known| known.failures > 0)
        })
        .collect();
    move_failures(writing, &counted).await?;
    let failing = read_failures(writing, dead).await?.into_iter();
    Ok(failing
        .filter(|(_, known)| known.failures >= threshold && known.state != NotificationState::Disabled)
        .map(|(id, _)| id)
        .collect())
}

/// Notes when receivers took deliveries, where what is noted is more than [`NOTED`] older: of a busy receiver not each.
async fn note_successes(
    writing: &mut Writing,
    ends: &[&AttemptRecord],
    standing: &HashMap<NotificationId, Known>,
) -> Result<(), StoreError> {
    let mut latest: BTreeMap<NotificationId, i64> = BTreeMap::new();
    for end in ends.iter().filter(|end| end.state == DeliveryState::Delivered) {
        let at = latest.entry(end.notification).or_insert(i64::MIN);
        *at = ended_at(end).as_millisecond().max(*at);
    }
    for (id, at) in latest {
        let is_news = |known: &Known| known.succeeded_at.is_none_or(|noted| at.saturating_sub(noted) > NOTED);
        if standing.get(&id).is_some_and(is_news) {
            writing.run(sql::NOTE_SUCCESS, &values![id.as_uuid(), at]).await?;
        }
    }
    Ok(())
}

/// Whether an end says something of the receiver: a death that was our own fault, or its own wish for this delivery
/// alone, does not.
fn speaks_of_the_receiver(attempt: &AttemptRecord) -> bool {
    match attempt.state {
        DeliveryState::Delivered => true,
        DeliveryState::Dead => !attempt
            .cause
            .as_ref()
            .is_some_and(|cause| cause.code.is_ours() || cause.code == CauseCode::Aborted),
        DeliveryState::Pending | DeliveryState::Waiting | DeliveryState::Cancelled => false,
    }
}

async fn move_failures(writing: &mut Writing, ends: &[&AttemptRecord]) -> Result<(), StoreError> {
    let recorded = recorded_attempts(writing, ends).await?;
    let mut moves: HashMap<NotificationId, Failures> = HashMap::new();
    for end in ends {
        if !recorded.contains(&(end.delivery, end.attempt)) {
            moves.entry(end.notification).or_default().count(end.state);
        }
    }
    for (id, failures) in moves {
        let values = values![id.as_uuid(), failures.back_to_zero, i64::from(failures.more)];
        writing.run(sql::MOVE_FAILURES, &values).await?;
    }
    Ok(())
}

/// Which attempts of these deliveries are in the table.
async fn recorded_attempts(
    writing: &mut Writing,
    ends: &[&AttemptRecord],
) -> Result<HashSet<(DeliveryId, u32)>, StoreError> {
    let ids: HashSet<Uuid> = ends.iter().map(|end| end.delivery.as_uuid()).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let rows: Vec<(Uuid, i64)> = writing.fetch_many(&sql::RECORDED_ATTEMPTS, &ids, |id| values![*id]).await?;
    rows.into_iter().map(|(id, attempt)| Ok((id.into(), number(attempt)?))).collect()
}

async fn read_failures(
    writing: &mut Writing,
    ids: HashSet<NotificationId>,
) -> Result<HashMap<NotificationId, Known>, StoreError> {
    let ids: Vec<NotificationId> = ids.into_iter().collect();
    let rows: Vec<(Uuid, i64, String, Option<i64>)> =
        writing.fetch_many(&sql::FAILURES, &ids, |id| values![id.as_uuid()]).await?;
    rows.into_iter()
        .map(|(id, failures, state, succeeded_at)| {
            let state = notification_state(&state)?;
            Ok((id.into(), Known { failures: number(failures)?, state, succeeded_at }))
        })
        .collect()
}

fn delivery_values<'a>(delivery: &'a Delivery<'_>) -> [Value<'a>; 16] {
    let standing = &delivery.standing;
    values![
        delivery.id.as_uuid(),
        delivery.notification.as_uuid(),
        delivery.method,
        delivery.source,
        delivery.event,
        delivery.kind.name(),
        delivery.subject,
        delivery.accepted_at,
        standing.progress,
        standing.state.name(),
        i64::from(standing.attempts),
        standing.next_due_at,
        standing.updated_at,
        standing.cause.map(|cause| cause.code.name()),
        standing.cause.map(|cause| cause.detail.as_str()),
        standing.status.map(i64::from),
    ]
}

fn delivery_bytes(delivery: &Delivery<'_>) -> usize {
    cause_bytes(delivery.standing.cause)
}

fn cause_bytes(cause: Option<&Cause>) -> usize {
    cause.map_or(0, |cause| cause.detail.len())
}

fn fanned_out_values(fanned_out: &FannedOut) -> [Value<'_>; 2] {
    values![fanned_out.event.as_str(), fanned_out.source.as_str()]
}

fn attempt_values(attempt: &AttemptRecord) -> [Value<'_>; 8] {
    values![
        attempt.delivery.as_uuid(),
        i64::from(attempt.attempt),
        attempt.started_at.as_millisecond(),
        column(attempt.duration_ms),
        attempt.outcome.as_str(),
        attempt.cause.as_ref().map(|cause| cause.code.name()),
        attempt.cause.as_ref().map(|cause| cause.detail.as_str()),
        attempt.status.map(i64::from),
    ]
}
