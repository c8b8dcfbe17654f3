//! An attempt that may begin, from its begin to its end.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bellbuoy_domain::Outcome;
use bellbuoy_methods::http::{Leave, MayFollow};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{info, warn};

use super::{Entry, Gate, Hold, Place, place::Sign};

/// An attempt that may begin. Whoever drops it before it has ended tells the circuits nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(super) gate: Arc<Gate>,
    pub(super) steps: Vec<Step>,
    pub(crate) began: Instant,
    /// When the first of its leases is over, in a fleet.
    pub(super) ends: Option<Instant>,
    pub(super) further: Mutex<Further>,
}

/// What an attempt has of the hosts that redirects lead it to.
#[derive(Debug, Default)]
pub(super) struct Further {
    passes: Vec<Pass>,
    refused: Option<Hold>,
}

/// A pass through one lane.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) place: Place,
    pub(super) number: u64,
    pub(super) is_probe: bool,
    pub(super) room: OwnedSemaphorePermit,
}

impl Pass {
    /// Makes the attempt. `None` if this process stood still in the middle of it, until its slots were another's.
    ///
    /// The time is looked at before each piece of the attempt's work and not by a timer, which would come too late for
    /// a process that was stopped and goes on.
    pub(crate) async fn guard<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let mut attempt = pin!(attempt);
        poll_fn(
            |context| {
                if self.is_over() { Poll::Ready(None) } else { attempt.as_mut().poll(context).map(Some) }
            },
        )
        .await
    }

    fn is_over(&self) -> bool {
        let Some(ends) = self.ends else { return false };
        let now = Instant::now();
        now >= ends || self.further().passes.iter().any(|pass| pass.ends.is_some_and(|ends| now >= ends))
    }

    /// A redirect leads the attempt to `host`: takes a place there, which it keeps to its end. Whether it has one.
    async fn follow(&self, host: &str) -> bool {
        let place = Place::Host(host.into());
        if self.passes(&place) || self.further().passes.iter().any(|pass| pass.passes(&place)) {
            return true;
        }
        match self.gate.enter_host(host).await {
            Entry::Pass(pass) => {
                self.further().passes.push(pass);
                true
            }
            Entry::Hold(hold) => {
                self.further().refused = Some(hold);
                false
            }
        }
    }

    /// Why the attempt did not go on to where a redirect led, if it did not for want of a place there.
    pub(crate) fn refused(&self) -> Option<Hold> {
        self.further().refused.take()
    }

    /// The attempt has ended so.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        let mut away = std::mem::take(&mut self.further().passes);
        let is_led_away = !away.is_empty();
        // Whoever led it away has answered; what it came to was for the last to say.
        let last = away.pop();
        for pass in away {
            pass.end(&Outcome::Delivered);
        }
        if let Some(last) = last {
            last.end(outcome);
        }
        self.leave(|place| match place {
            Place::Host(_) if is_led_away => Sign::Answered,
            place => place.sign(outcome),
        });
    }

    fn passes(&self, place: &Place) -> bool {
        self.steps.iter().any(|step| step.place == *place)
    }

    fn further(&self) -> MutexGuard<'_, Further> {
        self.further.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&mut self, sign: impl Fn(&Place) -> Sign) {
        let now = Instant::now();
        let (at, took) = (self.gate.at(now), now - self.began);
        let gate = Arc::clone(&self.gate);
        let mut turned = Vec::new();
        let mut lanes = gate.lanes();
        for step in self.steps.drain(..) {
            let Some(lane) = lanes.get_mut(&step.place) else { continue };
            let sign = sign(&step.place);
            let was_open = lane.circuit.is_open();
            if lane.end(&step, sign, took, now, (at, step.place.to_open(gate.limits))) {
                gate.ask_soon(&step.place);
            }
            lane.take_back(step.room);
            if lane.circuit.is_open() != was_open && step.place.probe().is_some() {
                turned.push((step.place, was_open));
            }
        }
        drop(lanes);
        for (place, was_open) in turned {
            say_what_changed(&place, was_open);
        }
    }
}

// Once for a receiver, and not for each delivery that is held for it.
fn say_what_changed(place: &Place, was_open: bool) {
    let receiver = place.name();
    if was_open {
        info!("{receiver} answers again, and its deliveries go on");
    } else {
        warn!(
            "{receiver} has stopped answering: its deliveries are held, and one attempt at a time finds out whether it is back"
        );
    }
}

impl MayFollow for Pass {
    fn may_follow(&self, host: String) -> Leave<'_> {
        Box::pin(async move { self.follow(&host).await })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave(|_| Sign::None);
    }
}
