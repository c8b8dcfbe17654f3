//! Publishing that is done when RabbitMQ has the message on disk.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use lapin::{Confirmation, options::BasicPublishOptions};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    delay::Tolerance,
    gathering::Gathering,
    link::{Link, Refusal, State, refusal, up_now},
    pack::pack,
    wire::{Message, Parcel, returned_id},
};
use crate::{BrokerError, Outgoing, queues};

/// Most messages on their way at once. More gained nothing in measurement.
const WINDOW: usize = 512;

/// How long a caller waits for a connection that is down, or an alarm that is on, before it is told.
const GRACE: Duration = Duration::from_secs(1);

/// How long RabbitMQ may take to confirm. A cluster that loses a leader elects another well within it. What takes longer
/// is still awaited by whoever is patient, but keeps no place from others.
const CONFIRM: Duration = Duration::from_secs(15);

/// How long RabbitMQ may say nothing before a caller that is to stop leaves what is on its way.
const FAREWELL: Duration = Duration::from_secs(5);

/// Between two attempts of a caller that doesn't give up.
const AGAIN: Duration = Duration::from_millis(250);

/// Most ids that are remembered of returned messages whose publisher was told otherwise.
const REMEMBERED: usize = 1024;

/// The way out, shared by all callers.
#[derive(Debug)]
pub(super) struct Publisher {
    state: watch::Receiver<State>,
    window: Semaphore,
    // lapin hands a returned message to whichever confirm comes next, not to its own.
    returned: Mutex<HashSet<Uuid>>,
    // Whether it was said that done work waits.
    waits: AtomicBool,
    closed: AtomicBool,
    // One for each: where one queue is full, what goes to the other is not refused with it.
    events: Gathering,
    outcomes: Gathering,
    tolerance: Tolerance,
}

/// A parcel, and whether RabbitMQ has it.
struct Pending {
    parcel: Parcel,
    confirmed: AtomicBool,
}

impl Publisher {
    pub(super) fn new(state: watch::Receiver<State>, tolerance: Tolerance) -> Self {
        Self {
            state,
            tolerance,
            window: Semaphore::new(WINDOW),
            returned: Mutex::default(),
            waits: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            events: Gathering::default(),
            outcomes: Gathering::default(),
        }
    }

    /// Takes nothing further.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// How late waits may end.
    pub(super) fn tolerance(&self) -> Tolerance {
        self.tolerance
    }

    /// The connection, if there is one now.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        up_now(&self.state)
    }

    /// Publishes all, or says soon that it can't: then some may have arrived.
    pub(super) async fn publish(&self, parcels: Vec<Parcel>) -> Result<(), BrokerError> {
        self.publish_open(&pending(parcels)).await
    }

    /// Publishes all, through every outage, for as long as it is `wanted`, and beyond that what RabbitMQ takes without
    /// delay; only what was under way when its connection was lost is published again, so that it can arrive twice.
    pub(super) async fn publish_patiently(
        &self,
        parcels: Vec<Parcel>,
        wanted: impl Fn() -> bool,
    ) -> Result<(), BrokerError> {
        let pending = pending(parcels);
        loop {
            match self.publish_out(&pending, &wanted).await {
                Err(BrokerError::Unavailable(why)) if wanted() => {
                    self.say_that_work_waits(&why);
                    sleep(AGAIN).await;
                }
                ended => {
                    if ended.is_ok() && self.waits.swap(false, Ordering::Relaxed) {
                        info!("done work finds its way out again");
                    }
                    return ended;
                }
            }
        }
    }

    // Once for all that wait, until one of them has got through.
    fn say_that_work_waits(&self, why: &str) {
        if !self.waits.swap(true, Ordering::Relaxed) {
            warn!("done work waits for its way out: {why}");
        }
    }

    /// Publishes packable messages together with those of other callers, or says soon that it can't: then some may
    /// have arrived.
    pub(super) async fn publish_packed(&self, messages: Vec<Outgoing>) -> Result<(), BrokerError> {
        let send = async |group: Vec<Outgoing>| self.publish(self.packed(&group)).await;
        let (events, outcomes) = messages.into_iter().partition(|message| message.queue == queues::events());
        // To its end, also when the other one fails: who leaves a group in the middle takes its company along.
        let (events, outcomes) =
            tokio::join!(self.events.publish(events, send), self.outcomes.publish(outcomes, send));
        events.and(outcomes)
    }

    /// Publishes packable messages as [`Publisher::publish_patiently`] does, in packs of their own: each caller goes on for as
    /// long as its own work is wanted, and a group could do so for one of them only.
    pub(super) async fn publish_packed_patiently(
        &self,
        messages: &[Outgoing],
        wanted: impl Fn() -> bool,
    ) -> Result<(), BrokerError> {
        self.publish_patiently(self.packed(messages), wanted).await
    }

    fn packed(&self, messages: &[Outgoing]) -> Vec<Parcel> {
        let now = SystemTime::now();
        pack(messages).into_iter().map(|pack| Message::new(pack, now).parcel(now, self.tolerance)).collect()
    }

    /// Waits a moment for a connection that takes messages.
    pub(super) async fn ready(&self) -> Result<Arc<Link>, BrokerError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(BrokerError::Closed);
        }
        if let Some(link) = up_now(&self.state).filter(|link| !link.is_blocked()) {
            return Ok(link);
        }
        let mut state = self.state.clone();
        let waited = timeout(GRACE, async {
            loop {
                state.mark_unchanged();
                match up_now(&state) {
                    Some(link) => {
                        let mut blocked = link.blocked();
                        if blocked.wait_for(Option::is_none).await.is_ok() {
                            return Some(link);
                        }
                    }
                    None => state.changed().await.ok()?,
                }
            }
        });
        match waited.await {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(BrokerError::Closed),
            Err(_) => Err(self.trouble()),
        }
    }

    fn trouble(&self) -> BrokerError {
        if self.closed.load(Ordering::SeqCst) {
            return BrokerError::Closed;
        }
        BrokerError::Unavailable(match &*self.state.borrow() {
            State::Down(why) => why.clone(),
            State::Up(link) if link.is_blocked() => alarm(link),
            State::Up(_) => "RabbitMQ does not say what became of messages".into(),
        })
    }

    // Ends with the first that fails.
    async fn publish_open(&self, pending: &[Pending]) -> Result<(), BrokerError> {
        if pending.is_empty() {
            return Ok(());
        }
        let link = self.ready().await?;
        tokio::select! {
            sent = self.sending(&link, pending).try_collect() => sent,
            () = blocked_for(&link, GRACE) => Err(BrokerError::Unavailable(alarm(&link))),
            () = no_progress(&link, pending) => Err(unconfirmed(&link)),
        }
    }

    // Lets none go before RabbitMQ has said what became of it, also while it is blocked: whoever publishes those again
    // that were not confirmed yet repeats none.
    async fn publish_out(&self, pending: &[Pending], wanted: &impl Fn() -> bool) -> Result<(), BrokerError> {
        if pending.is_empty() {
            return Ok(());
        }
        let link = self.ready().await?;
        tokio::select! {
            sent = self.sending(&link, pending).fold(Ok(()), async |all, sent| all.and(sent)) => sent,
            () = silent_for(&link, CONFIRM) => Err(unconfirmed(&link)),
            () = self.unwanted(&link, wanted) => Err(self.trouble()),
        }
    }

    // What is on its way over a link that confirms would only be published twice by whoever left it.
    async fn unwanted(&self, link: &Link, wanted: &impl Fn() -> bool) {
        while wanted() && !self.closed.load(Ordering::SeqCst) {
            sleep(AGAIN).await;
            if link.is_blocked() {
                self.say_that_work_waits(&alarm(link));
            }
        }
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        tokio::select! {
            () = blocked_for(link, GRACE) => {}
            () = silent_for(link, FAREWELL) => {}
        }
    }

    fn sending<'a>(
        &'a self,
        link: &'a Link,
        pending: &'a [Pending],
    ) -> FuturesUnordered<impl Future<Output = Result<(), BrokerError>> + 'a> {
        let open = pending.iter().filter(|pending| !pending.is_confirmed());
        open.map(|pending| self.send(link, pending)).collect()
    }

    async fn send(&self, link: &Link, pending: &Pending) -> Result<(), BrokerError> {
        let parcel = &pending.parcel;
        let place = self.window.acquire().await.map_err(|_| BrokerError::Closed)?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let confirm = link
            .confirms
            .basic_publish(
                parcel.exchange.clone(),
                parcel.key.clone(),
                options,
                &parcel.body,
                parcel.properties.clone(),
            )
            .await
            .map_err(|error| failed(parcel, &error))?;
        let confirmation = word_of(confirm, place).await.map_err(|error| failed(parcel, &error))?;
        link.hears();
        match confirmation {
            Confirmation::Ack(returned) => {
                self.note(returned.as_deref().and_then(|message| returned_id(&message.properties)), parcel)?;
                pending.confirmed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Confirmation::Nack(_) => {
                let why = format!("RabbitMQ refused message {}; its queue may be full", parcel.id);
                Err(BrokerError::Unavailable(why))
            }
            Confirmation::NotRequested => {
                Err(BrokerError::Unavailable("RabbitMQ was not asked to confirm".into()))
            }
        }
    }

    // An alternate exchange takes what has no route, so that returns mean a topology that is not ours.
    fn note(&self, returned: Option<Uuid>, parcel: &Parcel) -> Result<(), BrokerError> {
        let mut known = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = returned
            && known.len() < REMEMBERED
        {
            tracing::error!("message {id} had no route on RabbitMQ; run `bellbuoy topology apply`");
            known.insert(id);
        }
        if known.remove(&parcel.id) {
            return Err(BrokerError::Unavailable(format!(
                "no queue is bound to exchange `{}` for `{}`; run `bellbuoy topology apply`",
                parcel.exchange, parcel.key
            )));
        }
        Ok(())
    }
}

fn pending(parcels: Vec<Parcel>) -> Vec<Pending> {
    parcels.into_iter().map(|parcel| Pending { parcel, confirmed: AtomicBool::new(false) }).collect()
}

impl Pending {
    fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }
}

/// Waits for the word on a message. One that takes long keeps its `place` from nobody.
async fn word_of<T>(confirm: impl Future<Output = T>, place: SemaphorePermit<'_>) -> T {
    let mut confirm = pin!(confirm);
    if let Ok(word) = timeout(CONFIRM, confirm.as_mut()).await {
        return word;
    }
    drop(place);
    confirm.await
}

/// Ends once RabbitMQ, which is not blocked, has taken [`CONFIRM`] for the next of them.
async fn no_progress(link: &Link, pending: &[Pending]) {
    let confirmed = || pending.iter().filter(|pending| pending.is_confirmed()).count();
    let mut before = confirmed();
    loop {
        if timeout(CONFIRM, blocked_for(link, GRACE)).await.is_ok() {
            let mut blocked = link.blocked();
            let _ = blocked.wait_for(Option::is_none).await;
            continue;
        }
        let now = confirmed();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Ends once RabbitMQ, which is not blocked, has confirmed nothing to anybody for that long from now on. While anything is
/// confirmed, the connection lives, and what waits on it is not lost.
async fn silent_for(link: &Link, long: Duration) {
    let mut since = Instant::now();
    while link.silence().min(since.elapsed()) < long {
        sleep(AGAIN).await;
        if link.is_blocked() {
            since = Instant::now();
        }
    }
}

// A channel can hang in a node that lost sight of a queue's leader, and does so for a minute.
fn unconfirmed(link: &Link) -> BrokerError {
    if link.silence() >= CONFIRM {
        link.give_up();
    }
    BrokerError::Unavailable(format!("RabbitMQ confirmed nothing within {CONFIRM:?}"))
}

fn failed(parcel: &Parcel, error: &lapin::Error) -> BrokerError {
    BrokerError::Unavailable(match refusal(error) {
        Some(Refusal::Missing(_)) => {
            format!("exchange `{}` is missing; run `bellbuoy topology apply`", parcel.exchange)
        }
        _ => error.to_string(),
    })
}

fn alarm(link: &Link) -> String {
    let blocked = link.blocked();
    let why = blocked.borrow().clone().unwrap_or_else(|| "it says no more why".into());
    format!("RabbitMQ takes no messages: {why}")
}

/// Ends once the link has been blocked for that long without a break.
async fn blocked_for(link: &Link, long: Duration) {
    let mut blocked = link.blocked();
    loop {
        if blocked.wait_for(Option::is_some).await.is_err() {
            return std::future::pending().await;
        }
        if timeout(long, blocked.wait_for(Option::is_none)).await.is_err() {
            return;
        }
    }
}
