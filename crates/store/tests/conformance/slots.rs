//! Slots, leased to processes.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bellbuoy_domain::{Granted, Health, Opened, Sighting};
use bellbuoy_store::{SeenReceiver, SlotAnswer, SlotAsk, SlotCall, SlotTerms, Store};
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
    ask_for(store, number, vec![ask("host:a:443", held, wanted)], terms).await[0]
}

async fn ask_for(store: &Store, number: u128, asks: Vec<SlotAsk>, terms: SlotTerms) -> Vec<Granted> {
    call(store, number, SlotCall { asks, ..SlotCall::default() }, terms).await.granted
}

async fn call(store: &Store, number: u128, call: SlotCall, terms: SlotTerms) -> SlotAnswer {
    store.lease_slots(process(number), &call, terms).await.expect("an answer")
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
    assert_eq!(ask_for(&store, 1, Vec::new(), TERMS).await, []);
    let asks: Vec<_> = (0..1000).map(|number| ask(&format!("host:{number}\0\u{e9}:443"), 0, 5)).collect();
    let answers = ask_for(&store, 1, asks.clone(), TERMS).await;
    assert_eq!(answers, vec![granted(5, 5, false); 1000]);
    let answers = ask_for(&store, 2, asks, TERMS).await;
    assert_eq!(answers, vec![granted(3, 4, true); 1000]);
}

fn seen(receiver: &str, sighting: Sighting) -> SeenReceiver {
    SeenReceiver { receiver: receiver.to_owned(), sighting, to_open: NonZeroU32::new(5).expect("not zero") }
}

fn failures(failures: u32) -> Sighting {
    Sighting { failures, ..Sighting::default() }
}

/// Tells what was seen of `host:a:443`, and says how it is then.
async fn tell(store: &Store, number: u128, sighting: Sighting) -> Health {
    let told = SlotCall { seen: vec![seen("host:a:443", sighting)], heard: i64::MAX, ..SlotCall::default() };
    let health = call(store, number, told, TERMS).await.health;
    assert_eq!(health.len(), 1, "{health:?}");
    health[0].health
}

/// What has changed since `heard`, by receiver, and up to where that is.
async fn listen(store: &Store, heard: i64) -> (BTreeMap<String, Health>, i64) {
    let answer = call(store, 9, SlotCall { heard, ..SlotCall::default() }, TERMS).await;
    (answer.health.into_iter().map(|known| (known.receiver, known.health)).collect(), answer.heard)
}

pub(crate) async fn what_processes_see_of_a_receiver_is_one_health_that_each_change_of_is_heard_once(
    store: Store,
) {
    assert_eq!(listen(&store, 0).await, (BTreeMap::new(), 0));
    assert_eq!(tell(&store, 1, failures(3)).await, Health { failures: 3, ..Health::default() });
    let (known, first) = listen(&store, 0).await;
    assert_eq!(known["host:a:443"].failures, 3);
    assert_eq!(listen(&store, first).await, (BTreeMap::new(), first));

    let open = tell(&store, 2, failures(2)).await.open.expect("the fifth in a row");
    assert_eq!(open.pause, Duration::from_secs(5));
    let other = SlotCall { seen: vec![seen("host:\0\u{e9}:443", failures(1))], ..SlotCall::default() };
    call(&store, 2, other, TERMS).await;
    let (known, second) = listen(&store, first).await;
    assert!(second > first && known.len() == 2 && known["host:\0\u{e9}:443"].failures == 1, "{known:?}");
    assert!(known["host:a:443"].open.expect("open").until <= open.until, "time goes on");

    let answered = Sighting { answered: true, peace: LONG, ..Sighting::default() };
    let closed = tell(&store, 1, answered).await;
    assert_eq!((closed.failures, closed.open), (0, None::<Opened>));
    let (known, third) = listen(&store, second).await;
    assert!(third > second && known.len() == 1, "{known:?}");
    let left = known["host:a:443"].peace_until;
    assert!(left <= LONG && left > LONG / 2, "{left:?} is left of the peace");
}

pub(crate) async fn who_is_granted_slots_of_a_receiver_knows_how_it_is(store: Store) {
    tell(&store, 1, failures(5)).await;
    let asks = vec![ask("host:a:443", 0, 1), ask("host:b:443", 0, 1)];
    let answer = call(&store, 2, SlotCall { asks, heard: i64::MAX, ..SlotCall::default() }, TERMS).await;
    assert_eq!(answer.granted, vec![granted(1, 1, false); 2]);
    let told: Vec<_> =
        answer.health.iter().map(|known| (known.receiver.as_str(), known.health.failures)).collect();
    assert_eq!(told, [("host:a:443", 5)]);
}

pub(crate) async fn what_many_processes_tell_at_once_is_all_counted_and_heard(store: Store) {
    const PROCESSES: u32 = 6;
    const EACH: u32 = 20;
    let mut tasks = JoinSet::new();
    for number in 0..PROCESSES {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                tell(&store, number.into(), failures(1)).await;
            }
        });
    }
    // Whoever listens all the while hears the last word.
    let (mut heard, mut last) = (0, Health::default());
    let patience = Duration::from_mins(1);
    eventually(patience, async || {
        let (known, now) = listen(&store, heard).await;
        heard = now;
        last = known.get("host:a:443").copied().unwrap_or(last);
        (last.failures == PROCESSES * EACH).then_some(())
    })
    .await;
    tasks.join_all().await;
}

pub(crate) async fn what_was_leased_before_the_clock_was_set_back_is_forgotten(store: Store) {
    // Its end lies as far ahead as that of a lease of a minute does once the clock is a day behind.
    let before = SlotTerms { lease: Duration::from_hours(24), wish: LONG, turn: LONG };
    assert_eq!(lease(&store, 1, 0, 8, before).await, granted(8, 8, false));
    assert_eq!(lease(&store, 2, 0, 8, TERMS).await, granted(8, 8, false));
}

pub(crate) async fn the_peace_of_a_receiver_ends_although_the_clock_was_set_back(store: Store) {
    let peace = Duration::from_hours(24);
    tell(&store, 1, Sighting { peace, ..Sighting::default() }).await;
    let left = async || {
        let asks = vec![ask("host:a:443", 0, 1)];
        call(&store, 2, SlotCall { asks, ..SlotCall::default() }, TERMS).await.health[0].health.peace_until
    };
    let first = left().await;
    assert!(first <= Duration::from_hours(1), "{first:?}");
    eventually(Duration::from_mins(1), async || (left().await < first).then_some(())).await;
}
