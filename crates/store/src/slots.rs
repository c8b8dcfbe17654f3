//! Slots of receivers, leased to processes: how a fleet keeps a receiver's cap, and tells all its processes how its
//! receivers are.
//!
//! Every end of a lease is a time of the database's clock, read in the same transaction, so no process's clock matters.
//! One transaction at a time hands out slots; it takes what a process wants of all its receivers, and has seen of them,
//! at once.

use std::{collections::HashMap, time::Duration};

use bellbuoy_domain::{Asker, Granted, grant};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    ReceiverHealth, SeenReceiver, Store, StoreError,
    call::values,
    health, sql,
    text::Text,
    value::number,
    writing::{Writing, retried},
};

/// What a process wants of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotAsk {
    /// Which receiver, in the process's own words; the same for all processes.
    pub receiver: String,
    /// The most attempts that may be in flight to it, over all processes.
    pub cap: u32,
    /// How many slots it uses or keeps from now on, whatever the answer is. What it held above that is given back.
    pub held: u32,
    /// How many it could use now.
    pub wanted: u32,
}

/// What a process says in one call. The default says nothing and hears all that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotCall {
    /// What it wants; receivers are named once each.
    pub asks: Vec<SlotAsk>,
    /// What it has seen; receivers are named once each.
    pub seen: Vec<SeenReceiver>,
    /// [`SlotAnswer::heard`] of the answer before; 0 for none.
    pub heard: i64,
}

/// What a process is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotAnswer {
    /// One for each ask, in their order.
    pub granted: Vec<Granted>,
    /// How receivers are: those asked for of which anything is remembered, and all that have changed since the process
    /// last heard. By the same moment as what was granted: who is granted another's slot knows what that one has told.
    pub health: Vec<ReceiverHealth>,
    /// Up to where it has heard now.
    pub heard: i64,
}

/// How slots are leased.
#[derive(Debug, Clone, Copy)]
pub struct SlotTerms {
    /// How long a slot is leased, from the moment of the call.
    pub lease: Duration,
    /// How long a wish is known that no slot was there for.
    pub wish: Duration,
    /// After so long it is another's turn at slots that can't be divided.
    pub turn: Duration,
}

/// How much longer than the asker's own another process's lease may be. One that ends later was made before the
/// database's clock was set back, and would last as much longer.
const LONGER: Duration = Duration::from_hours(1);

impl Store {
    /// Leases slots to a process, and takes in what it has seen of its receivers.
    ///
    /// Leases and wishes that are over are forgotten first: who asks after the end of its lease holds nothing, whatever it
    /// says. Of the others' slots none is granted, so that those leased of a receiver are never more than its cap. An
    /// answer that gets lost does no harm: what was granted by it ends by itself or is confirmed by the next call, and what
    /// was seen may be told twice. A call that neither asks nor tells writes nothing.
    pub async fn lease_slots(
        &self,
        process: Uuid,
        call: &SlotCall,
        terms: SlotTerms,
    ) -> Result<SlotAnswer, StoreError> {
        if call.asks.is_empty() && call.seen.is_empty() {
            let (health, heard) = self.health_since(call.heard).await?;
            return Ok(SlotAnswer { granted: Vec::new(), health, heard });
        }
        retried(|| self.lease_once(process, call, terms)).await
    }

    async fn lease_once(
        &self,
        process: Uuid,
        call: &SlotCall,
        terms: SlotTerms,
    ) -> Result<SlotAnswer, StoreError> {
        let mut writing = self.write().await?;
        let now = writing.lock_slots().await?;
        let asked: Vec<&str> = call.asks.iter().map(|ask| ask.receiver.as_str()).collect();
        let (health, heard) = health::hear(&mut writing, &call.seen, &asked, (call.heard, now)).await?;
        let granted = lease(&mut writing, process, &call.asks, (terms, now)).await?;
        writing.commit().await?;
        Ok(SlotAnswer { granted, health, heard })
    }
}

async fn lease(
    writing: &mut Writing,
    process: Uuid,
    asks: &[SlotAsk],
    (terms, now): (SlotTerms, i64),
) -> Result<Vec<Granted>, StoreError> {
    let latest = now + millis(terms.lease.max(terms.wish).saturating_add(LONGER));
    writing.run(sql::FORGET_SLOTS, &values![now]).await?;
    writing.run(sql::FORGET_SLOTS_ENDING_LATER, &values![latest]).await?;
    let mut receivers = read_receivers(writing, asks).await?;
    let turn = now.unsigned_abs() / millis(terms.turn).unsigned_abs().max(1);
    let mut granted = Vec::with_capacity(asks.len());
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for ask in asks {
        let answer = receivers.entry(&ask.receiver).or_default().answer(process, ask, turn);
        let wish = if answer.held > 0 { terms.lease } else { terms.wish };
        if answer.held > 0 || ask.wanted > 0 {
            kept.push(Row {
                receiver: &ask.receiver,
                held: answer.held,
                wanted: ask.wanted,
                ends_at: now + millis(wish),
            });
        } else {
            left.push(ask);
        }
        granted.push(answer);
    }
    let bytes = |row: &Row<'_>| row.receiver.len();
    writing.run_many(&sql::LEASE_SLOTS, &kept, bytes, |row| row.columns(process)).await?;
    writing
        .run_many(
            &sql::RETURN_SLOTS,
            &left,
            |ask| ask.receiver.len(),
            |ask| values![ask.receiver.as_str(), process],
        )
        .await?;
    Ok(granted)
}

/// What is to stand in the table.
struct Row<'a> {
    receiver: &'a str,
    held: u32,
    wanted: u32,
    ends_at: i64,
}

impl<'a> Row<'a> {
    fn columns(&self, process: Uuid) -> [crate::call::Value<'a>; 5] {
        values![self.receiver, process, i64::from(self.held), i64::from(self.wanted), self.ends_at]
    }
}

/// Who is at a receiver, in the order of the processes' ids.
#[derive(Default)]
struct Askers {
    processes: Vec<Uuid>,
    askers: Vec<Asker>,
}

impl Askers {
    fn answer(&mut self, process: Uuid, ask: &SlotAsk, turn: u64) -> Granted {
        let me = match self.processes.binary_search(&process) {
            Ok(place) => {
                // Of a lease that has ended, and of one that nobody knows of, nothing is held.
                let known = self.askers[place].held;
                self.askers[place] = Asker { held: ask.held.min(known), wanted: ask.wanted };
                place
            }
            Err(place) => {
                self.processes.insert(place, process);
                self.askers.insert(place, Asker { held: 0, wanted: ask.wanted });
                place
            }
        };
        grant(ask.cap, &self.askers, me, turn)
    }
}

async fn read_receivers<'a>(
    writing: &mut Writing,
    asks: &'a [SlotAsk],
) -> Result<HashMap<&'a String, Askers>, StoreError> {
    let rows: Vec<SlotRow> =
        writing.fetch_many(&sql::SLOTS, asks, |ask| values![ask.receiver.as_str()]).await?;
    let mut receivers: HashMap<&String, Askers> =
        asks.iter().map(|ask| (&ask.receiver, Askers::default())).collect();
    for row in rows {
        if let Some(known) = receivers.get_mut(&row.receiver.0) {
            let place = known.processes.binary_search(&row.process).unwrap_or_else(|place| place);
            known.processes.insert(place, row.process);
            known.askers.insert(place, Asker { held: number(row.held)?, wanted: number(row.wanted)? });
        }
    }
    Ok(receivers)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}

#[derive(FromRow)]
struct SlotRow {
    receiver: Text,
    process: Uuid,
    held: i64,
    wanted: i64,
}
