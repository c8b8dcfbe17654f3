//! Deliveries that somebody sends by hand: each attempt is one caller's to send, until history tells of it.

use std::{collections::HashSet, time::Duration};

use bellbuoy_domain::DeliveryId;
use uuid::Uuid;

use crate::{Store, StoreError, call::values, sql, value::column, writing::retried};

impl Store {
    /// Takes attempts of deliveries, by their numbers, for sending them, and says of which deliveries: those whose attempt
    /// nobody else has taken. It is free again after `turn`, so that a caller that dies before it has sent one keeps it
    /// from nobody, also where the database's clock was set back meanwhile; or by [`Store::free_sends`].
    pub async fn take_sends(
        &self,
        attempts: &[(DeliveryId, u32)],
        turn: Duration,
    ) -> Result<HashSet<DeliveryId>, StoreError> {
        // All take them in one order, so that no two wait for each other.
        let mut attempts = attempts.to_vec();
        attempts.sort_unstable();
        attempts.dedup();
        let turn = column(u64::try_from(turn.as_millis()).unwrap_or(u64::MAX));
        retried(async || {
            let mut writing = self.write().await?;
            let now = writing.now().await?;
            let ends_at = now.saturating_add(turn);
            // What ends a whole turn later still was taken before the database's clock was set back.
            writing.run(sql::FORGET_SENDS, &values![now, ends_at.saturating_add(turn)]).await?;
            let taken: Vec<(Uuid,)> = writing
                .fetch_many(&sql::TAKE_SENDS, &attempts, |(delivery, attempt)| {
                    values![delivery.as_uuid(), i64::from(*attempt), ends_at]
                })
                .await?;
            writing.commit().await?;
            Ok(taken.into_iter().map(|(delivery,)| delivery.into()).collect())
        })
        .await
    }

    /// Lets others send what was taken and not sent.
    pub async fn free_sends(&self, attempts: &[(DeliveryId, u32)]) -> Result<(), StoreError> {
        retried(async || {
            let mut writing = self.write().await?;
            let columns =
                |(delivery, attempt): &(DeliveryId, u32)| values![delivery.as_uuid(), i64::from(*attempt)];
            writing.run_many(&sql::FREE_SENDS, attempts, |_| 0, columns).await?;
            writing.commit().await
        })
        .await
    }
}
