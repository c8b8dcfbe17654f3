//! Slots, leased to processes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bellbuoy_domain::Granted;
use bellbuoy_store::{SlotAsk, SlotTerms, Store};
use bellbuoy_testkit::wait::eventually;
use tokio::task::JoinSet;
use uuid::Uuid;

const LONG: Duration = Duration::from_hours(1);
const TERMS: SlotTerms = SlotTerms { lease: LONG, wish: LONG, turn: LONG };

fn process(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn ask(receiver: &str, held: u32, wanted: u32) -> SlotAsk {
    SlotAsk { receiver: receiver.to_owned(), cap: 8, held, wanted }
}

fn granted(held: u32, share: u32, is_contended: bool) -> Granted {
    Granted { held, share, is_contended }
}

async fn lease(store: &Store, number: u128, held: u32, wanted: u32, terms: SlotTerms) -> Granted {
    let asks = [ask("host:a:443", held, wanted)];
    store.lease_slots(process(number), &asks, terms).await.expect("an answer")[0]
}

pub(crate) async fn slots_of_a_receiver_are_never_more_than_its_cap_and_come_to_all_who_ask(store: Store) {
    const PROCESSES: u32 = 5;
    let held = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
    let mut tasks = JoinSet::new();
    for number in 0..PROCESSES {
        let (store, held) = (store.clone(), Arc::clone(&held));
        tasks.spawn(async move {
            let mut mine = 0;
            // As long as not everybody has its share, each wants all and gives up what is over.
            for round in 0.. {
                let granted = lease(&store, number.into(), mine, 8, TERMS).await;
                let all = {
                    let mut held = held.lock().expect("no panic");
                    held.insert(number, granted.held);
                    let all: u32 = held.values().sum();
                    assert!(all <= 8, "{held:?}");
                    mine = granted.held.min(granted.share);
                    // Given up before the store knows, as the promise to it goes.
                    held.insert(number, mine);
                    held.clone()
                };
                let is_fair = all.values().all(|count| (1..=2).contains(count));
                if is_fair && all.values().sum::<u32>() == 8 {
                    return round;
                }
            }
            unreachable!("the loop has no end")
        });
    }
    tasks.join_all().await;
    assert_eq!(held.lock().expect("no panic").values().sum::<u32>(), 8, "nothing lies idle");
}

pub(crate) async fn a_lease_ends_by_itself_and_not_before(store: Store) {
    let terms = SlotTerms { lease: Duration::from_millis(700), wish: LONG, turn: LONG };
    let before = Instant::now();
    assert_eq!(lease(&store, 1, 0, 8, terms).await.held, 8);
    let patience = Duration::from_secs(30);
    let found = eventually(patience, async || {
        let granted = lease(&store, 2, 0, 8, TERMS).await;
        (granted.held > 0).then_some(granted)
    });
    assert_eq!(found.await, granted(8, 8, false), "nobody else is there any more");
    assert!(before.elapsed() >= terms.lease, "{:?}", before.elapsed());
}

pub(crate) async fn who_asks_after_its_end_holds_nothing(store: Store) {
    let terms = SlotTerms { lease: Duration::from_millis(1), wish: LONG, turn: LONG };
    assert_eq!(lease(&store, 1, 0, 8, terms).await.held, 8);
    let patience = Duration::from_secs(30);
    eventually(patience, async || (lease(&store, 2, 0, 6, TERMS).await.held == 6).then_some(())).await;
    assert_eq!(lease(&store, 1, 8, 8, TERMS).await, granted(2, 4, true));
}

pub(crate) async fn what_is_given_back_is_free_at_once_and_a_wish_is_forgotten(store: Store) {
    assert_eq!(lease(&store, 1, 0, 8, TERMS).await, granted(8, 8, false));
    assert_eq!(lease(&store, 2, 0, 8, TERMS).await, granted(0, 4, true));
    assert_eq!(lease(&store, 1, 8, 8, TERMS).await, granted(8, 4, true), "it alone can give up");
    assert_eq!(lease(&store, 1, 3, 3, TERMS).await, granted(3, 3, true));
    assert_eq!(lease(&store, 2, 0, 8, TERMS).await, granted(5, 5, true));
    assert_eq!(lease(&store, 1, 0, 0, TERMS).await, granted(0, 0, false));
    assert_eq!(lease(&store, 2, 5, 8, TERMS).await, granted(8, 8, false));
    let wish = SlotTerms { lease: LONG, wish: Duration::from_millis(1), turn: LONG };
    assert_eq!(lease(&store, 3, 0, 8, wish).await, granted(0, 4, true));
    let patience = Duration::from_secs(30);
    eventually(patience, async || (lease(&store, 2, 8, 8, TERMS).await.share == 8).then_some(())).await;
}

pub(crate) async fn receivers_are_apart_and_many_are_asked_for_at_once(store: Store) {
    assert_eq!(store.lease_slots(process(1), &[], TERMS).await.expect("an answer"), []);
    let asks: Vec<_> = (0..1000).map(|number| ask(&format!("host:{number}\0\u{e9}:443"), 0, 5)).collect();
    let answers = store.lease_slots(process(1), &asks, TERMS).await.expect("an answer");
    assert_eq!(answers, vec![granted(5, 5, false); 1000]);
    let answers = store.lease_slots(process(2), &asks, TERMS).await.expect("an answer");
    assert_eq!(answers, vec![granted(3, 4, true); 1000]);
}
