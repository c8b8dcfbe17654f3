//! Whether what stands on RabbitMQ is what this version needs. It is looked at after each connect, so that a broker
//! that was away, or comes back as another one, is looked at as well; what is wrong is logged once, and told by
//! readiness until it is mended.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bellbuoy_broker::{AmqpUrl, Broker, Comparison, RabbitMqOptions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Between two looks at whether there is a connection.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks at what was wrong, or could not be looked at.
const AGAIN: Duration = Duration::from_secs(5);

/// What was found at the latest look.
#[derive(Debug)]
pub(crate) struct Standing {
    url: AmqpUrl,
    options: RabbitMqOptions,
    found: Mutex<Comparison>,
}

impl Standing {
    /// Nothing is known yet, and nothing held against it.
    pub(crate) fn new(url: AmqpUrl, options: RabbitMqOptions) -> Self {
        let found = Mutex::new(Comparison { compared: true, ..Comparison::default() });
        Self { url, options, found }
    }

    /// Whether nothing is missing or different, as far as is known.
    ///
    /// # Errors
    ///
    /// The first thing that is, and how many there are.
    pub(crate) fn check(&self) -> Result<(), String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match &found.problems[..] {
            [] => Ok(()),
            [problem] => Err(problem.clone()),
            [first, others @ ..] => Err(format!("{first} (and {} more)", others.len())),
        }
    }

    /// Looks after each connect of `broker`, and again while something is wrong, until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, broker: Broker, stop: CancellationToken) {
        let following = async {
            loop {
                until_connected(&broker, true).await;
                match self.options.topology.check(&self.url, &self.options).await {
                    Ok(found) => {
                        self.tell(&found);
                        if found.is_well() {
                            until_connected(&broker, false).await;
                            continue;
                        }
                    }
                    Err(problem) => {
                        warn!("can't look at what stands on RabbitMQ: {:#}", anyhow::Error::from(problem));
                    }
                }
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = following => {}
        }
    }

    /// Logs what is news.
    fn tell(&self, found: &Comparison) {
        let before = {
            let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, found.clone())
        };
        for problem in found.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            error!("{problem}");
        }
        for left in found.left_behind.iter().filter(|left| !before.left_behind.contains(left)) {
            warn!("{left}");
        }
        if let Some(blind_spot) = found.blind_spot().filter(|_| found.blind_spot() != before.blind_spot()) {
            info!("{blind_spot}");
        }
        if found.is_well() && !before.is_well() {
            info!("what stands on RabbitMQ is what this version needs again");
        }
    }
}

/// Waits until there are both connections, or until one is lost.
async fn until_connected(broker: &Broker, connected: bool) {
    loop {
        let stands = broker.connections().is_none_or(|now| now.publishing && now.consuming);
        if stands == connected {
            return;
        }
        sleep(LOOK).await;
    }
}
