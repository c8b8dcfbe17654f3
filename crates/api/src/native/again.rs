//! Sending a delivery once more after it ended, be it by resend or by replay of its dead letter.
//!
//! History tells of it a moment later, so that until then the store remembers that the attempt is somebody's.

use std::{collections::HashSet, time::Duration};

use bellbuoy_broker::{BrokerError, Outgoing, queues};
use bellbuoy_domain::{
    AttemptRecord, DeliveryId, DeliveryMessage, DeliveryState, Event, NotificationId, NotificationState,
    Record, WIRE_VERSION,
};
use jiff::Timestamp;

use super::events::place;
use crate::{App, auth::Caller, problem::Problem};

/// For how long an attempt is one caller's to send. History tells of it by then as a rule; and whoever died before it had
/// sent one keeps others from it for no longer.
const TURN: Duration = Duration::from_mins(1);

/// Refuses a delivery that no worker would send: it would end where it is.
///
/// # Errors
///
/// 409 when its notification was deleted or is disabled.
pub(crate) async fn check_notification(app: &App, id: NotificationId) -> Result<(), Problem> {
    match app.api.store.notification(id).await? {
        None => Err(Problem::conflict("the delivery's notification was deleted")),
        Some(notification) if notification.state == NotificationState::Disabled => {
            Err(Problem::conflict("the delivery's notification is disabled; reset it first"))
        }
        Some(_) => Ok(()),
    }
}

/// Puts a delivery on its method's queue, then tells the recorder that it waits.
///
/// In this order, so that history never shows a delivery as waiting that no queue holds: that one
/// could neither be sent again nor be replayed. After a crash in between, history still shows the
/// old end, and sending it once more repeats it under its own id.
///
/// # Errors
///
/// 409 when this attempt is being sent, 503 when it could not be sent or nobody knows whether it was.
pub(crate) async fn send(
    app: &App,
    method: &str,
    message: &DeliveryMessage,
    event: &Event,
    now: Timestamp,
) -> Result<(), Problem> {
    let attempt = (message.delivery, message.attempt);
    if take(app, &[attempt]).await?.is_empty() {
        let detail = "the delivery was sent again a moment ago, and history does not tell of it yet; look again in a minute";
        return Err(Problem::conflict(detail));
    }
    let queue = app.api.shards.queue(method, message.notification.as_uuid().as_u128());
    if let Err(error) = app.api.broker.publish(vec![Outgoing::new(queue, message.to_json())]).await {
        let is_out = app.api.broker.may_have_taken(&error);
        if !is_out {
            free(app, &[attempt]).await;
        }
        return Err(refused(error, is_out));
    }
    let record = waits(method, message, event, now);
    // It is sent, so trouble with the record can only be told: the attempt's own follows.
    if let Err(error) =
        app.api.broker.publish(vec![Outgoing::new(queues::outcomes(), record.to_json())]).await
    {
        tracing::error!("can't tell history that delivery {} was sent again: {error}", message.delivery);
    }
    Ok(())
}

/// Takes attempts for sending them, and says of which deliveries.
///
/// # Errors
///
/// 503 when the broker or the store is out of reach: then nothing is taken, so that nobody has to wait for a turn's end.
pub(super) async fn take(app: &App, attempts: &[(DeliveryId, u32)]) -> Result<HashSet<DeliveryId>, Problem> {
    app.api.broker.ping().await?;
    Ok(app.api.store.take_sends(attempts, TURN).await?)
}

/// What is answered when what was taken could not be published; where some of it may be out, that it may.
pub(super) fn refused(error: BrokerError, is_out: bool) -> Problem {
    if !is_out {
        return error.into();
    }
    tracing::error!("the broker did not say whether it took what is sent again: {error}");
    let detail = "the broker did not say whether it took what is sent; look in a minute whether history tells of it, and \
                  ask again if it does not";
    Problem { retry_after: Some(TURN), ..Problem::unavailable(detail) }
}

/// Lets others send at once what was taken and not sent. Where that fails, they may when its turn is over.
pub(super) async fn free(app: &App, attempts: &[(DeliveryId, u32)]) {
    if let Err(error) = app.api.store.free_sends(attempts).await {
        tracing::warn!("can't free {} deliveries that were not sent: {error}", attempts.len());
    }
}

/// Writes down who sent it again. It is sent, so trouble of the store can only be told.
pub(crate) async fn note(app: &App, caller: &Caller, action: &str, target: &impl ToString, event: &Event) {
    let place = place(&event.subject);
    let entry = caller.entry(action, target, &place, serde_json::Map::new());
    if let Err(error) = app.api.store.note(entry).await {
        tracing::error!("can't write down {action} by {}: {error}", caller.actor());
    }
}

fn waits(method: &str, message: &DeliveryMessage, event: &Event, now: Timestamp) -> Record {
    Record {
        v: WIRE_VERSION,
        fanned_out: None,
        attempt: Some(AttemptRecord {
            delivery: message.delivery,
            notification: message.notification,
            method: method.to_owned(),
            source: event.source.clone(),
            event: event.id.clone(),
            kind: event.kind,
            subject: event.subject.name().unwrap_or_default().to_owned(),
            accepted_at: message.accepted_at,
            attempt: message.attempt,
            started_at: now,
            duration_ms: 0,
            outcome: "held".to_owned(),
            cause: None,
            status: None,
            state: DeliveryState::Waiting,
            next_due_at: Some(now),
            on_probation: false,
        }),
    }
}
