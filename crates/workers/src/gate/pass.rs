//! An attempt that may begin, from its begin to its end.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use bellbuoy_domain::Outcome;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Gate, Place, place::Sign};

/// An attempt that may begin. Whoever drops it before it has ended tells the circuits nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(super) gate: Arc<Gate>,
    pub(super) steps: Vec<Step>,
    pub(crate) began: Instant,
    /// When the first of its leases is over, in a fleet.
    pub(super) ends: Option<Instant>,
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
        let Some(ends) = self.ends else { return Some(attempt.await) };
        let mut attempt = pin!(attempt);
        poll_fn(|context| {
            if Instant::now() >= ends { Poll::Ready(None) } else { attempt.as_mut().poll(context).map(Some) }
        })
        .await
    }

    /// The attempt has ended so.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.leave(|place| place.sign(outcome));
    }

    fn leave(&mut self, sign: impl Fn(&Place) -> Sign) {
        let now = Instant::now();
        let (at, took) = (self.gate.at(now), now - self.began);
        let gate = Arc::clone(&self.gate);
        let mut lanes = gate.lanes();
        for step in self.steps.drain(..) {
            if let Some(lane) = lanes.get_mut(&step.place) {
                let sign = sign(&step.place);
                lane.end(&step, sign, took, now, (at, step.place.to_open(gate.limits)));
                lane.take_back(step.room);
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.leave(|_| Sign::None);
    }
}
