//! Links of webhook chains: after a receiver has called back that all went well, the delivery to the next URL.
//!
//! The callback is in the store before its sender is answered, and stays due there until the next delivery is with the
//! broker, so a crash anywhere loses none. A crash between the two queues the delivery twice, under the same id.
//!
//! A callback that does not come in time ends its chain by that alone; here it is counted.

use std::{sync::Arc, time::Duration};

use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::{
    DeliveryId, DeliveryMessage, FannedOut, MethodConfig, Notification, PlannedDelivery, Record as Told,
    WIRE_VERSION,
};
use bellbuoy_store::{CallbackRow, StoreError, StoredEvent};
use bellbuoy_telemetry::Counter;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Record, WorkerError, clock,
    error::{Halt, sentence},
    method_label,
};

/// How often it is looked for links that are due.
const EVERY: Duration = Duration::from_secs(1);

/// Most links, and most callbacks that have expired, at once.
const AT_ONCE: u32 = 100;

/// How long a link is one process's own to queue; after that it is due again, for this one has died.
const LEASE: SignedDuration = SignedDuration::from_secs(10);

impl Record {
    /// Queues the deliveries to the next URLs of chains, and counts callbacks that did not come, until `shutdown` is
    /// cancelled.
    ///
    /// # Errors
    ///
    /// When the store or the broker refuses.
    pub async fn run_chains(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), WorkerError> {
        loop {
            self.vital.idle();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(halt) = self.queue_links(&shutdown).await {
                return halt.into_result();
            }
            if let Err(halt) = self.count_expired(&shutdown).await {
                return halt.into_result();
            }
        }
    }

    async fn queue_links(&self, shutdown: &CancellationToken) -> Result<(), Halt> {
        let patience = self.patience("chains", shutdown);
        while !shutdown.is_cancelled() {
            let due =
                patience.outlast(is_out_of_reach, || self.store.due_links(clock::now(), AT_ONCE)).await??;
            if due.is_empty() {
                return Ok(());
            }
            self.vital.working();
            for row in &due {
                let until = clock::now().checked_add(LEASE).unwrap_or(Timestamp::MAX);
                if patience.outlast(is_out_of_reach, || self.store.take_link(row, until)).await?? {
                    self.queue_link(row, shutdown).await?;
                }
            }
        }
        Ok(())
    }

    async fn count_expired(&self, shutdown: &CancellationToken) -> Result<(), Halt> {
        let patience = self.patience("chains", shutdown);
        while !shutdown.is_cancelled() {
            let expire = || self.store.expire_callbacks(clock::now(), AT_ONCE);
            let expired = patience.outlast(is_out_of_reach, expire).await??;
            if expired == 0 {
                break;
            }
            self.metrics.count(Counter::Callbacks, &["expired"], expired);
            info!("{expired} callbacks did not come in time, so their chains have ended");
        }
        Ok(())
    }

    async fn queue_link(&self, row: &CallbackRow, shutdown: &CancellationToken) -> Result<(), Halt> {
        let patience = self.patience("chains", shutdown);
        let awaited = &row.awaited;
        let next = match patience.outlast(is_out_of_reach, || self.next_of(row)).await? {
            Ok(next) => next,
            // A row of a newer version, perhaps. It is due again when the lease is over, and keeps no other waiting.
            Err(error) => {
                let (delivery, why) = (awaited.delivery, sentence(&error));
                warn!(delivery.id = %delivery, "can't queue what follows delivery {delivery}: {why}");
                return Ok(());
            }
        };
        if let Some(Next { message, method, fanned_out }) = next {
            let queue = self.shards.queue(&method, message.notification.as_uuid().as_u128());
            let told = Told { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None };
            let messages = vec![
                Outgoing::new(queue, message.to_json()),
                Outgoing::new(queues::outcomes(), told.to_json()),
            ];
            patience.publish(&self.broker, &messages).await?;
            self.metrics.count(Counter::DeliveriesQueued, &[method_label(&method)], 1);
            let (delivery, next) = (awaited.delivery, message.delivery);
            info!(delivery.id = %delivery, "delivery {delivery} was called back for, so delivery {next} follows");
        }
        Ok(patience.outlast(is_out_of_reach, || self.store.link_queued(awaited.delivery)).await??)
    }

    /// What follows a delivery that was called back for, by the chain as it is now. `None` at its end.
    async fn next_of(&self, row: &CallbackRow) -> Result<Option<Next>, StoreError> {
        let awaited = &row.awaited;
        let Some(notification) = self.store.notification(awaited.notification).await? else {
            return Ok(None);
        };
        if !has_more(&notification, awaited.link) {
            return Ok(None);
        }
        let found = self.store.event(Some(&awaited.source), &awaited.event).await?;
        let next = found.into_iter().next().and_then(|stored| Next::of(row, &notification, stored));
        if next.is_none() {
            let delivery = awaited.delivery;
            warn!(delivery.id = %delivery, "the chain of delivery {delivery} ends: its event is no longer kept");
        }
        Ok(next)
    }
}

fn is_out_of_reach(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

/// Whether the chain goes on after its `link`th URL, as it is now.
fn has_more(notification: &Notification, link: u32) -> bool {
    let chain = match notification.check() {
        Ok(checked) => match checked.method {
            MethodConfig::Webhook(webhook) => webhook.options.chain.len(),
            _ => 0,
        },
        Err(error) => {
            warn!(
                "notification {} is not understood, so its chain ends: {}",
                notification.id,
                sentence(&error)
            );
            0
        }
    };
    usize::try_from(link).is_ok_and(|link| link < chain)
}

/// The next delivery, and what the recorder is told of it.
struct Next {
    message: DeliveryMessage,
    method: String,
    fanned_out: FannedOut,
}

impl Next {
    fn of(row: &CallbackRow, notification: &Notification, stored: StoredEvent) -> Option<Self> {
        let delivery = DeliveryId::derive_for_link(row.awaited.first, row.awaited.link + 1);
        let now = clock::now();
        let method = notification.method.clone();
        let planned = PlannedDelivery { delivery, notification: notification.id, method: method.clone() };
        let fanned_out = FannedOut {
            source: stored.source,
            event: stored.id,
            kind: stored.kind,
            subject: row.awaited.subject.clone(),
            accepted_at: stored.accepted_at,
            deliveries: vec![planned],
        };
        let message = DeliveryMessage {
            v: WIRE_VERSION,
            delivery,
            notification: notification.id,
            attempt: 1,
            spent: 0,
            accepted_at: stored.accepted_at,
            due_at: now,
            held_since: None,
            event: String::from_utf8(stored.body).ok().and_then(|text| RawValue::from_string(text).ok())?,
        };
        Some(Self { message, method, fanned_out })
    }
}
