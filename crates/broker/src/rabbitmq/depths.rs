//! How long the queues are, as it was heard of late.
//!
//! What can't be seen is left out, and so is all when nothing was heard for a while: an old figure looks like a true one.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    ANSWER, RabbitMq, delay,
    link::refusal,
    passive, silent,
    topology::{DELAYS, Lane, UNROUTABLE, level_name},
};
use crate::{BrokerError, QueueDepth, QueueName};

/// How old the figures may be before they are fetched anew.
const EVERY: Duration = Duration::from_secs(5);

/// And before they are no longer told.
const TOO_OLD: Duration = Duration::from_secs(30);

/// What was last known of the queues.
#[derive(Debug, Default)]
pub(super) struct Depths {
    known: Vec<QueueDepth>,
    /// When `known` was asked for.
    since: Option<Instant>,
    asked: Option<Instant>,
}

impl Depths {
    /// Whether it is time to ask; then it counts as asked.
    fn ask(&mut self, now: Instant) -> bool {
        let is_due = self.asked.is_none_or(|asked| now.duration_since(asked) >= EVERY);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// What was asked at `asked` has been answered.
    fn learn(&mut self, known: Vec<QueueDepth>, asked: Instant) {
        (self.known, self.since) = (known, Some(asked));
    }

    fn told(&self, now: Instant) -> &[QueueDepth] {
        let is_known = self.since.is_some_and(|since| now.duration_since(since) < TOO_OLD);
        if is_known { &self.known } else { &[] }
    }
}

impl RabbitMq {
    /// What was last heard of the queues that can be seen, at most half a minute old; asked for while nobody waits.
    pub(crate) fn depths(&self) -> Vec<QueueDepth> {
        let now = Instant::now();
        let mut depths = self.known_depths();
        if depths.ask(now) {
            let broker = self.clone();
            tokio::spawn(async move {
                match broker.ask_for_depths().await {
                    Ok(known) => broker.known_depths().learn(known, now),
                    Err(error) => tracing::debug!("RabbitMQ did not say how long its queues are: {error}"),
                }
            });
        }
        depths.told(now).to_vec()
    }

    fn known_depths(&self) -> MutexGuard<'_, Depths> {
        self.shared.depths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_for_depths(&self) -> Result<Vec<QueueDepth>, BrokerError> {
        let mut channel = self.channel().await?;
        let mut depths = Vec::new();
        for queue in &self.shared.names {
            let parts = Lane::ALL.map(|lane| lane.of(queue));
            let claimed = self.claimed(queue);
            let length = self.length(&mut channel, &parts).await?;
            depths.extend(length.map(|length| depth(queue.clone(), length + claimed, 0, claimed)));
        }
        let levels: Vec<_> = (0..delay::LEVELS).map(level_name).collect();
        let delayed = self.length(&mut channel, &levels).await?;
        depths.extend(delayed.map(|delayed| depth(QueueName::new(DELAYS), 0, delayed, 0)));
        let lost = self.length(&mut channel, &[UNROUTABLE.to_owned()]).await?;
        depths.extend(lost.map(|lost| depth(QueueName::new(UNROUTABLE), lost, 0, 0)));
        Ok(depths)
    }

    // Of all parts together; `None` if one can't be seen, which costs the channel.
    async fn length(
        &self,
        channel: &mut lapin::Channel,
        parts: &[String],
    ) -> Result<Option<u64>, BrokerError> {
        let mut length = 0;
        for part in parts {
            match timeout(ANSWER, passive(channel, part)).await {
                Ok(Ok(queue)) => length += u64::from(queue.message_count()),
                Ok(Err(error)) if refusal(&error).is_some() => {
                    tracing::debug!("RabbitMQ does not say how long queue `{part}` is: {error}");
                    *channel = self.channel().await?;
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(BrokerError::Unavailable(error.to_string())),
                Err(_) => return Err(silent()),
            }
        }
        Ok(Some(length))
    }
}

fn depth(queue: QueueName, ready: u64, delayed: u64, claimed: u64) -> QueueDepth {
    QueueDepth { queue, ready, delayed, claimed, oldest_ready: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_half_a_minute_ago_is_told_no_more() {
        let (mut depths, asked) = (Depths::default(), Instant::now());
        assert!(depths.ask(asked) && !depths.ask(asked));
        assert!(depths.told(asked).is_empty());
        let known = vec![depth(QueueName::new("q"), 7, 0, 0)];
        depths.learn(known.clone(), asked);
        assert!(depths.ask(asked + EVERY), "and once more, which nobody answers");
        assert_eq!(depths.told(asked + TOO_OLD.saturating_sub(EVERY)), known);
        assert!(depths.told(asked + TOO_OLD).is_empty());
    }
}
