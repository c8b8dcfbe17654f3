//! Attempts that are sent by hand.

use std::{collections::HashSet, time::Duration};

use bellbuoy_domain::DeliveryId;
use bellbuoy_store::Store;
use tokio::task::JoinSet;

use crate::sample::delivery_id;

const LONG: Duration = Duration::from_hours(1);

fn attempts(numbers: &[u128], attempt: u32) -> Vec<(DeliveryId, u32)> {
    numbers.iter().map(|number| (delivery_id(&number.to_string(), 1), attempt)).collect()
}

async fn take(store: &Store, numbers: &[u128], attempt: u32, turn: Duration) -> HashSet<DeliveryId> {
    store.take_sends(&attempts(numbers, attempt), turn).await.expect("an answer")
}

fn deliveries(numbers: &[u128]) -> HashSet<DeliveryId> {
    numbers.iter().map(|number| delivery_id(&number.to_string(), 1)).collect()
}

pub(crate) async fn an_attempt_is_one_senders_until_it_is_freed_or_its_turn_is_over(store: Store) {
    assert_eq!(take(&store, &[1, 2], 1, LONG).await, deliveries(&[1, 2]));
    assert_eq!(take(&store, &[2, 3], 1, LONG).await, deliveries(&[3]));
    assert_eq!(take(&store, &[2], 2, LONG).await, deliveries(&[2]), "another attempt of the same delivery");
    store.free_sends(&attempts(&[2], 1)).await.expect("freed");
    assert_eq!(take(&store, &[1, 2], 1, LONG).await, deliveries(&[2]));
    assert_eq!(take(&store, &[4], 1, Duration::ZERO).await, deliveries(&[4]));
    assert_eq!(take(&store, &[4], 1, LONG).await, deliveries(&[4]), "whoever took it may have died");
    assert_eq!(take(&store, &[], 1, LONG).await, deliveries(&[]));
}

pub(crate) async fn what_was_taken_before_the_clock_was_set_back_is_free_again(store: Store) {
    // Its turn ends as far ahead as that of a minute does once the clock is a day behind.
    let before = Duration::from_hours(24);
    assert_eq!(take(&store, &[1], 1, before).await, deliveries(&[1]));
    assert_eq!(take(&store, &[1], 1, LONG).await, deliveries(&[1]));
    assert_eq!(take(&store, &[1], 1, LONG).await, deliveries(&[]));
}

pub(crate) async fn of_many_senders_at_once_each_attempt_is_taken_by_one(store: Store) {
    let numbers: Vec<u128> = (0..500).collect();
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (store, mut numbers) = (store.clone(), numbers.clone());
        numbers.rotate_left(task * 60);
        tasks.spawn(async move { take(&store, &numbers, 1, LONG).await });
    }
    let taken: Vec<DeliveryId> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!((taken.len(), taken.into_iter().collect()), (500, deliveries(&numbers)));
}
