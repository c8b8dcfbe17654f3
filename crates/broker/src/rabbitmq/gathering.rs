//! Messages of several callers to one queue that leave together: while RabbitMQ confirms one group, the next one gathers.
//!
//! Under load a group is what came during one confirm; without it nothing waits for company. Who outlasts outages is in none: a
//! group is sent once, and its callers are told at once how that ended.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{BrokerError, Outgoing};

/// Where callers meet.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    messages: Vec<Outgoing>,
    reply: oneshot::Sender<Result<(), BrokerError>>,
}

impl Gathering {
    /// Hands `messages`, with those of whoever waits too, to the `send` of one of the callers, one group at a time.
    /// All callers of a group get the same answer.
    pub(super) async fn publish(
        &self,
        messages: Vec<Outgoing>,
        send: impl AsyncFnOnce(Vec<Outgoing>) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        if messages.is_empty() {
            return Ok(());
        }
        let (reply, mut answer) = oneshot::channel();
        self.waiting().push(Waiting { messages, reply });
        let _turn = tokio::select! {
            biased;
            told = &mut answer => return told.unwrap_or(Err(BrokerError::Closed)),
            turn = self.turn.lock() => turn,
        };
        // Who had the turn before has taken ours along if it was there in time.
        match answer.try_recv() {
            Ok(told) => return told,
            Err(TryRecvError::Closed) => return Err(BrokerError::Closed),
            Err(TryRecvError::Empty) => {}
        }
        let group = std::mem::take(&mut *self.waiting());
        let (messages, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.messages, waiting.reply)).unzip();
        let told = send(messages.concat()).await;
        for reply in replies {
            // Its caller may have gone; and one of them is ourselves.
            let _ = reply.send(told.clone());
        }
        told
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::queues;

    /// What was sent in each group, and when a group may go.
    struct Rig {
        gathering: Gathering,
        groups: Mutex<Vec<usize>>,
        may_go: Semaphore,
    }

    impl Rig {
        async fn publish(self: Arc<Self>, count: usize) -> Result<(), BrokerError> {
            let messages = (0..count).map(|_| Outgoing::new(queues::outcomes(), "{}")).collect();
            let send = async |group: Vec<Outgoing>| {
                self.groups.lock().expect("not poisoned").push(group.len());
                self.may_go.acquire().await.expect("open").forget();
                if group.len() == 9 { Err(BrokerError::Unavailable("nine".into())) } else { Ok(()) }
            };
            self.gathering.publish(messages, send).await
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_group_is_confirmed_makes_the_next_one() {
        let rig = Arc::new(Rig {
            gathering: Gathering::default(),
            groups: Mutex::default(),
            may_go: Semaphore::new(0),
        });
        let callers: Vec<_> = [1, 2, 3, 4].map(|count| tokio::spawn(Arc::clone(&rig).publish(count))).into();
        // The first has the turn; the others stand behind it.
        while rig.gathering.waiting().len() < 3 {
            tokio::task::yield_now().await;
        }
        rig.may_go.add_permits(2);
        let mut told = Vec::new();
        for caller in callers {
            told.push(caller.await.expect("it ended").is_ok());
        }
        assert_eq!(*rig.groups.lock().expect("not poisoned"), [1, 9]);
        assert_eq!(told, [true, false, false, false], "all of a group get the same answer");
    }
}
