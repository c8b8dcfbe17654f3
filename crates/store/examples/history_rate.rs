//! How fast history is written: admits events and records their deliveries in batches, one delivery and one attempt
//! per event, as the workers do, and prints rates and CPU per event.
//!
//! `cargo run --release -p bellbuoy-store --example history_rate [EVENTS] [BATCH] [STORE]`; 200,000 events in batches
//! of 500, in a new file in the system's temporary directory, unless said otherwise. STORE is another directory, or
//! the URL of a store.

#![allow(clippy::print_stdout, reason = "it prints its result")]

use std::time::{Duration, Instant};

use bellbuoy_domain::{
    AttemptRecord, DeliveryId, DeliveryState, FannedOut, Kind, NotificationId, PlannedDelivery, Record,
    WIRE_VERSION,
};
use bellbuoy_store::{Admission, SeenEvent, Store};
use jiff::Timestamp;
use uuid::Uuid;

const WINDOW: Duration = Duration::from_hours(24);
const NOTIFICATIONS: u128 = 20;
const BODY_BYTES: usize = 700;
const USAGE: &str = "usage: history_rate [EVENTS] [BATCH] [STORE]";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let events: usize = arguments.next().map_or(Ok(200_000), |text| text.parse()).map_err(|_| USAGE)?;
    let batch: usize = arguments.next().map_or(Ok(500), |text| text.parse()).map_err(|_| USAGE)?;
    let place = arguments.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let directory = if place.contains(':') { None } else { Some(tempfile::tempdir_in(&place)?) };
    let file = directory.as_ref().map(|directory| directory.path().join("store.db"));
    let url = file.as_ref().map_or(place, |file| format!("sqlite:{}", file.display()));
    let store = Store::open(&url).await?;

    let start = Instant::now();
    let (mut admitting, mut recording, mut making) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut done = 0;
    while done < events {
        let begun = Instant::now();
        let seen: Vec<SeenEvent> = (done..events.min(done + batch)).map(event).collect();
        let records: Vec<Record> = seen.iter().enumerate().flat_map(|(i, e)| records(done + i, e)).collect();
        making += begun.elapsed();

        let begun = Instant::now();
        let admissions = store.admit_events(&seen, WINDOW).await?;
        assert!(admissions.iter().all(|admission| *admission == Admission::New), "every event is new");
        admitting += begun.elapsed();

        let begun = Instant::now();
        store.record(&records, 3).await?;
        recording += begun.elapsed();
        done += seen.len();
        if (done / batch).is_multiple_of(100) {
            println!("{done} events after {:.1} s", start.elapsed().as_secs_f64());
        }
    }
    let per_event =
        |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(done).unwrap_or(u32::MAX));
    println!("{:.0} events/s", 1e6 / per_event(admitting + recording));
    println!("wall per event: admit {:.1} us, record {:.1} us", per_event(admitting), per_event(recording));
    if let Some(cpu) = cpu_time() {
        println!(
            "CPU per event: {:.1} us of all threads of this process",
            per_event(cpu.saturating_sub(making))
        );
    }
    if let Some(file) = file {
        println!("{} bytes per event on disk", std::fs::metadata(file)?.len() / u64::try_from(done)?);
    }
    Ok(())
}

/// User and system time of this process so far: fields 14 and 15 of `proc_pid_stat(5)`, in ticks of 10 ms.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn event(_: usize) -> SeenEvent {
    SeenEvent {
        source: "https://registry.example.com".into(),
        id: Uuid::new_v4().to_string(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::new_v4(),
        accepted_at: Timestamp::now(),
        body: vec![b'x'; BODY_BYTES],
    }
}

/// The fan-out and the attempt are records of their own, as the workers make them; the batch joins them.
fn records(number: usize, event: &SeenEvent) -> [Record; 2] {
    let notification = NotificationId::from(Uuid::from_u128(number as u128 % NOTIFICATIONS));
    let delivery = DeliveryId::derive(&event.source, &event.id, notification);
    let planned = PlannedDelivery { delivery, notification, method: "webhook".into() };
    let fanned_out = FannedOut {
        source: event.source.clone(),
        event: event.id.clone(),
        kind: event.kind,
        subject: event.subject.clone(),
        accepted_at: event.accepted_at,
        deliveries: vec![planned],
    };
    let attempt = AttemptRecord {
        delivery,
        notification,
        method: "webhook".into(),
        source: event.source.clone(),
        event: event.id.clone(),
        kind: event.kind,
        subject: event.subject.clone(),
        accepted_at: event.accepted_at,
        attempt: 1,
        started_at: event.accepted_at,
        duration_ms: 3,
        outcome: "delivered".into(),
        cause: None,
        status: Some(200),
        state: DeliveryState::Delivered,
        next_due_at: None,
        on_probation: false,
    };
    [
        Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None },
        Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) },
    ]
}
