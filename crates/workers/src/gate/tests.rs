use bellbuoy_domain::{Asker, Cause, Granted, Health, Outcome, grant};
use bellbuoy_methods::{ChannelKey, http::MayFollow};
use bellbuoy_store::{ReceiverHealth, SlotAnswer, SlotAsk};
use uuid::Uuid;

use super::{
    lane::{BETWEEN_TURNS, BETWEEN_TURNS_OF_THE_SILENT, LONGEST_HOLD, REMEMBERED},
    *,
};

const SECOND: Duration = Duration::from_secs(1);

fn gate(per_notification: usize, per_host: usize) -> Arc<Gate> {
    let count = |count| NonZeroUsize::new(count).expect("not zero");
    Arc::new(Gate::new(GateLimits {
        per_notification: count(per_notification),
        per_host: count(per_host),
        circuit_failures: NonZeroU32::new(5).expect("not zero"),
        ..GateLimits::default()
    }))
}

fn notification(number: u128) -> NotificationId {
    Uuid::from_u128(number).into()
}

fn to(host: &str) -> Receiver {
    Receiver { host: Some(host.to_owned()), channel: None, pace: None }
}

/// A channel of a chat service, which takes one message a second.
fn channel(address: &str) -> Receiver {
    let channel = Some(ChannelKey::of(address));
    Receiver { host: Some("chat:443".into()), channel, pace: Some(Pace::every(SECOND)) }
}

fn visit(number: u128, to: &Receiver) -> Visit<'_> {
    Visit { notification: notification(number), to, on_probation: false, retry_of: None }
}

fn deferred(code: CauseCode, hint: Option<Duration>) -> Outcome {
    Outcome::Deferred { cause: Cause::new(code, "seen in a test"), hint }
}

async fn pass(gate: &Arc<Gate>, number: u128, host: &str) -> Pass {
    match gate.enter(&visit(number, &to(host))).await {
        Entry::Pass(pass) => pass,
        Entry::Hold(hold) => panic!("held: {hold:?}"),
    }
}

async fn hold(gate: &Arc<Gate>, number: u128, host: &str) -> Hold {
    match gate.enter(&visit(number, &to(host))).await {
        Entry::Pass(_) => panic!("it may begin"),
        Entry::Hold(hold) => hold,
    }
}

async fn fail(gate: &Arc<Gate>, times: u32, number: u128, host: &str, code: CauseCode) {
    for _ in 0..times {
        pass(gate, number, host).await.end(&deferred(code, None));
    }
}

#[tokio::test(start_paused = true)]
async fn never_more_are_in_flight_than_the_caps_and_who_has_a_near_turn_waits_for_it() {
    let gate = gate(3, 4);
    let (notified, hosted) =
        (Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]), Arc::new(AtomicUsize::new(0)));
    let done = Arc::new(AtomicUsize::new(0));
    let attempts = (0..60_usize).map(|number| {
        let (gate, notified) = (Arc::clone(&gate), Arc::clone(&notified));
        let (hosted, done) = (Arc::clone(&hosted), Arc::clone(&done));
        tokio::spawn(async move {
            let which = number % 2;
            let pass = pass(&gate, which as u128, "one:443").await;
            assert!(notified[which].fetch_add(1, Ordering::SeqCst) < 3);
            assert!(hosted.fetch_add(1, Ordering::SeqCst) < 4);
            sleep(Duration::from_millis(2)).await;
            notified[which].fetch_sub(1, Ordering::SeqCst);
            hosted.fetch_sub(1, Ordering::SeqCst);
            pass.end(&Outcome::Delivered);
            done.fetch_add(1, Ordering::SeqCst);
        })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        attempt.await.expect("no panic");
    }
    assert_eq!(done.load(Ordering::SeqCst), 60);
    assert!(gate.lanes().values().all(|lane| lane.is_idle(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_keeps_its_cap_and_what_is_over_is_held_and_waits_nowhere() {
    let gate = gate(2, 64);
    let hanging = [pass(&gate, 1, "slow:443").await, pass(&gate, 1, "slow:443").await];
    sleep(SECOND).await;
    let began = Instant::now();
    let first = hold(&gate, 1, "slow:443").await;
    let second = hold(&gate, 1, "slow:443").await;
    assert_eq!(first.code, CauseCode::ReceiverBusy);
    assert!(first.wait >= SHORTEST_HOLD && second.wait > first.wait, "{first:?} {second:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    pass(&gate, 2, "slow:443").await.end(&Outcome::Delivered);
    for attempt in hanging {
        attempt.end(&Outcome::Delivered);
    }
    pass(&gate, 1, "slow:443").await.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_come_although_it_was_near_ends_in_a_hold() {
    let gate = gate(1, 1);
    let hangs = pass(&gate, 1, "slow:443").await;
    let began = Instant::now();
    assert_eq!(hold(&gate, 1, "slow:443").await.code, CauseCode::ReceiverBusy);
    assert_eq!(began.elapsed(), AT_MOST);
    hangs.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_keeps_failing_is_left_alone_but_its_host_is_not() {
    let gate = gate(8, 8);
    fail(&gate, 5, 1, "shared:443", CauseCode::Http5xx).await;
    let held = hold(&gate, 1, "shared:443").await;
    assert_eq!(held.code, CauseCode::CircuitOpen);
    assert!(held.wait >= 4 * SECOND, "{held:?}");
    pass(&gate, 2, "shared:443").await.end(&Outcome::Delivered);
    assert_eq!(gate.open_circuits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_fails_leaves_its_notification_alone_and_says_nothing_of_the_host() {
    let gate = gate(8, 8);
    fail(&gate, 5, 1, "shared:443", CauseCode::Tls).await;
    assert_eq!(hold(&gate, 1, "shared:443").await.code, CauseCode::CircuitOpen);
    pass(&gate, 2, "shared:443").await.end(&Outcome::Delivered);
    assert_eq!(gate.open_circuits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_can_not_be_reached_is_left_alone_for_all_and_one_probe_finds_it_back() {
    let gate = gate(8, 8);
    for number in 0..5 {
        fail(&gate, 1, number, "gone:443", CauseCode::Connect).await;
    }
    assert_eq!(hold(&gate, 9, "gone:443").await.code, CauseCode::CircuitOpen);
    pass(&gate, 9, "other:443").await.end(&Outcome::Delivered);
    sleep(6 * SECOND).await;
    let probe = pass(&gate, 9, "gone:443").await;
    assert_eq!(hold(&gate, 8, "gone:443").await.code, CauseCode::CircuitOpen, "one at a time");
    probe.end(&Outcome::Delivered);
    pass(&gate, 8, "gone:443").await.end(&Outcome::Delivered);
    assert_eq!(gate.open_circuits(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_never_left_says_nothing_of_the_receiver_and_brings_no_silent_one_back() {
    let gate = gate(8, 8);
    for number in 0..5 {
        fail(&gate, 1, number, "gone:443", CauseCode::Connect).await;
    }
    sleep(6 * SECOND).await;
    for code in [CauseCode::Template, CauseCode::NoRecipient, CauseCode::Blocked] {
        let rejected = Outcome::Rejected { cause: Cause::new(code, "seen in a test") };
        for outcome in [rejected, deferred(code, None)] {
            pass(&gate, 9, "gone:443").await.end(&outcome);
            assert_eq!(gate.open_circuits(), 1, "{outcome:?}");
        }
    }
    pass(&gate, 9, "gone:443").await.end(&Outcome::Delivered);
    assert_eq!(gate.open_circuits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cut_off_leaves_the_way_to_the_next_one() {
    let gate = gate(8, 8);
    fail(&gate, 5, 1, "gone:443", CauseCode::Connect).await;
    sleep(6 * SECOND).await;
    drop(pass(&gate, 1, "gone:443").await);
    pass(&gate, 1, "gone:443").await.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asked_for_less_is_left_in_peace_for_as_long_as_it_asked() {
    let gate = gate(8, 8);
    let wish = Some(30 * SECOND);
    pass(&gate, 1, "busy:443").await.end(&deferred(CauseCode::RateLimited, wish));
    let held = hold(&gate, 1, "busy:443").await;
    assert_eq!(held.code, CauseCode::RateLimited);
    assert!(held.wait >= 29 * SECOND && held.wait < 32 * SECOND, "{held:?}");
    pass(&gate, 2, "busy:443").await.end(&Outcome::Delivered);
    sleep(31 * SECOND).await;
    pass(&gate, 1, "busy:443").await.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_service_gets_a_pause_between_two_requests_into_one_channel_whosesoever_they_are() {
    let gate = gate(8, 8);
    let chat = channel("https://chat.example.com/one");
    let mut begun = Vec::new();
    while begun.len() < 5 {
        match gate.enter(&visit(begun.len() as u128, &chat)).await {
            Entry::Pass(pass) => {
                begun.push(Instant::now());
                pass.end(&Outcome::Delivered);
            }
            Entry::Hold(hold) => {
                assert_eq!(hold.code, CauseCode::RateLimited);
                sleep(hold.wait).await;
            }
        }
    }
    assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{begun:?}");
    let other = channel("https://chat.example.com/two");
    assert!(
        matches!(gate.enter(&visit(1, &other)).await, Entry::Pass(_)),
        "another channel has its own pace"
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_wants_peace_gets_it_from_every_notification_that_goes_there_and_no_other_does() {
    let gate = gate(8, 8);
    let (one, other) = (channel("https://chat.example.com/one"), channel("https://chat.example.com/two"));
    let Entry::Pass(pass) = gate.enter(&visit(1, &one)).await else { panic!("the first goes") };
    pass.end(&deferred(CauseCode::RateLimited, Some(30 * SECOND)));
    sleep(2 * SECOND).await;
    for number in [1, 2, 3] {
        let Entry::Hold(held) = gate.enter(&visit(number, &one)).await else { panic!("{number} goes on") };
        assert_eq!(held.code, CauseCode::RateLimited);
        assert!(held.wait >= 27 * SECOND, "{held:?}");
    }
    assert!(matches!(gate.enter(&visit(2, &other)).await, Entry::Pass(_)));
    sleep(31 * SECOND).await;
    assert!(matches!(gate.enter(&visit(2, &one)).await, Entry::Pass(_)));
}

#[tokio::test(start_paused = true)]
async fn what_the_processes_of_a_fleet_call_a_channel_shows_nothing_of_its_address() {
    let (gate, chat) = (in_fleet(), channel("https://hooks.slack.com/services/AAA/BBB/hunter2"));
    assert!(matches!(gate.enter(&visit(1, &chat)).await, Entry::Hold(_)), "nothing is leased yet");
    let mut asked: Vec<_> = asks(&gate).into_iter().map(|ask| ask.receiver).collect();
    asked.sort();
    let key = chat.channel.expect("a channel");
    assert_eq!(
        asked,
        [format!("channel:{key}"), "host:chat:443".into(), format!("pace:channel:{key}:1000000")]
    );
    assert!(!asked.concat().contains("hunter2") && !asked.concat().contains("AAA"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn the_turns_of_what_is_held_are_spread_and_none_is_put_off_for_ever() {
    let gate = gate(1, 1);
    let hangs = pass(&gate, 1, "slow:443").await;
    sleep(SECOND).await;
    let mut waits = Vec::new();
    for _ in 0..200_000 {
        waits.push(hold(&gate, 1, "slow:443").await.wait);
    }
    assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]));
    assert_eq!(waits[1], waits[0] + BETWEEN_TURNS_OF_THE_SILENT);
    assert_eq!(waits.last(), Some(&LONGEST_HOLD));
    hangs.end(&Outcome::Delivered);
}

#[test]
fn the_turns_at_a_receiver_that_answers_are_nearer_each_other_than_at_one_that_is_silent() {
    let (mut lane, now) = (Lane::new(NonZeroUsize::MIN, None), Instant::now());
    lane.begin(now, Duration::ZERO);
    let mut apart = |after: Duration| {
        let turns = [(); 2].map(|()| lane.turn(now + after, Duration::ZERO));
        turns[1].saturating_sub(turns[0])
    };
    assert_eq!(apart(Duration::from_millis(1)), BETWEEN_TURNS);
    assert_eq!(apart(Duration::from_millis(500)), BETWEEN_TURNS_OF_THE_SILENT);
}

/// Attempts that end so, at so many hosts, each of a notification of its own.
async fn visit_many(gate: &Arc<Gate>, hosts: usize, outcome: &Outcome) {
    for number in 1000..1000 + hosts as u128 {
        pass(gate, number, &format!("{number}:443")).await.end(outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_that_are_idle_are_forgotten_when_there_are_many() {
    let gate = gate(8, 8);
    let kept = pass(&gate, u128::MAX, "kept:443").await;
    visit_many(&gate, MOST_LANES, &Outcome::Delivered).await;
    assert!(gate.lanes().len() <= MOST_LANES + 2);
    assert!(gate.lanes().contains_key(&Place::Notification(notification(u128::MAX))));
    kept.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn however_many_others_there_are_a_receiver_that_is_left_alone_stays_so_and_is_forgotten_in_time() {
    let gate = gate(8, 8);
    pass(&gate, 1, "slow:443").await.end(&deferred(CauseCode::RateLimited, None));
    sleep(2 * SECOND).await;
    pass(&gate, 2, "busy:443").await.end(&deferred(CauseCode::RateLimited, Some(60 * SECOND)));
    fail(&gate, 5, 3, "gone:443", CauseCode::Connect).await;
    visit_many(&gate, MOST_LANES, &Outcome::Delivered).await;
    drop(pass(&gate, 1, "slow:443").await);
    for (number, host, expected) in [
        (1, "slow:443", CauseCode::RateLimited),
        (2, "busy:443", CauseCode::RateLimited),
        (3, "gone:443", CauseCode::CircuitOpen),
    ] {
        assert_eq!(hold(&gate, number, host).await.code, expected, "{host}");
    }
    sleep(REMEMBERED).await;
    visit_many(&gate, MOST_LANES, &Outcome::Delivered).await;
    assert_eq!((gate.open_circuits(), gate.in_peace()), (0, 0));
    let lanes = gate.lanes();
    assert!((1..=3).all(|number| !lanes.contains_key(&Place::Notification(notification(number)))));
}

#[tokio::test(start_paused = true)]
async fn even_of_receivers_that_fail_no_more_than_a_bound_are_remembered() {
    let gate = gate(8, 8);
    visit_many(&gate, MOST_REMEMBERED * 3 / 4, &deferred(CauseCode::Connect, None)).await;
    assert!(gate.lanes().len() <= MOST_REMEMBERED + MOST_LANES / 4);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_takes_a_place_of_the_host_that_it_leads_to_until_the_attempt_ends() {
    let gate = gate(8, 2);
    let mut led = Vec::new();
    for (number, host) in [(1, "a:443"), (2, "b:443")] {
        let pass = pass(&gate, number, host).await;
        assert!(pass.may_follow("victim:443".to_owned()).await);
        assert!(pass.may_follow("victim:443".to_owned()).await, "it has a place there");
        assert!(pass.may_follow(host.to_owned()).await, "back to where it began");
        led.push(pass);
    }
    sleep(SECOND).await;
    let third = pass(&gate, 3, "c:443").await;
    assert!(!third.may_follow("victim:443".to_owned()).await);
    assert_eq!(third.refused().map(|hold| hold.code), Some(CauseCode::ReceiverBusy));
    assert_eq!(hold(&gate, 4, "victim:443").await.code, CauseCode::ReceiverBusy);
    led.pop().expect("two").end(&Outcome::Delivered);
    assert!(third.may_follow("victim:443".to_owned()).await);
    drop((led, third));
    assert!(gate.lanes().values().all(|lane| lane.is_idle(Duration::ZERO)), "all places are free again");
}

#[tokio::test(start_paused = true)]
async fn what_became_of_a_redirected_attempt_is_said_of_the_host_that_it_led_to() {
    let gate = gate(8, 8);
    for number in 0..5 {
        let pass = pass(&gate, number, "a:443").await;
        assert!(pass.may_follow("b:443".to_owned()).await && pass.may_follow("gone:443".to_owned()).await);
        pass.end(&deferred(CauseCode::Connect, None));
    }
    for host in ["a:443", "b:443"] {
        pass(&gate, 9, host).await.end(&Outcome::Delivered);
    }
    assert_eq!(hold(&gate, 9, "gone:443").await.code, CauseCode::CircuitOpen);
    let from_a = pass(&gate, 9, "a:443").await;
    assert!(!from_a.may_follow("gone:443".to_owned()).await);
    assert_eq!(from_a.refused().map(|hold| hold.code), Some(CauseCode::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_says_for_how_long_leaves_its_notification_in_peace_and_counts_as_one() {
    let gate = gate(8, 8);
    let wish = Some(30 * SECOND);
    pass(&gate, 1, "busy:443").await.end(&deferred(CauseCode::Http5xx, wish));
    let held = hold(&gate, 1, "busy:443").await;
    assert_eq!(held.code, CauseCode::RateLimited);
    assert!(held.wait >= 29 * SECOND, "{held:?}");
    pass(&gate, 2, "busy:443").await.end(&Outcome::Delivered);
    for _ in 1..5 {
        sleep(31 * SECOND).await;
        pass(&gate, 1, "busy:443").await.end(&deferred(CauseCode::Http5xx, wish));
    }
    assert_eq!(hold(&gate, 1, "busy:443").await.code, CauseCode::CircuitOpen, "the fifth in a row");
}

/// How long so many attempts take to begin, one after the other as soon as each may. Without an outcome they end as if cut
/// off.
async fn time_to_begin(gate: &Arc<Gate>, count: u32, outcome: Option<&Outcome>) -> Duration {
    let (began, mut left) = (Instant::now(), count);
    while left > 0 {
        match gate.enter(&visit(1, &to("one:443"))).await {
            Entry::Pass(pass) => {
                left -= 1;
                if let Some(outcome) = outcome {
                    pass.end(outcome);
                }
            }
            Entry::Hold(hold) => sleep(hold.wait).await,
        }
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refused_what_came_too_fast_gets_less_and_by_and_by_more_again() {
    let gate = gate(8, 8);
    for _ in 0..300 {
        time_to_begin(&gate, 1, Some(&Outcome::Delivered)).await;
        sleep(SECOND / 10).await;
    }
    assert_eq!(time_to_begin(&gate, 50, None).await, Duration::ZERO, "nothing is known of a limit");
    sleep(30 * SECOND).await;
    for _ in 0..300 {
        time_to_begin(&gate, 1, Some(&Outcome::Delivered)).await;
        sleep(SECOND / 10).await;
    }
    time_to_begin(&gate, 1, Some(&deferred(CauseCode::RateLimited, None))).await;
    sleep(2 * SECOND).await;
    let slowed = time_to_begin(&gate, 50, None).await;
    assert!(slowed >= 8 * SECOND, "{slowed:?} for 50 after ten a second were refused");
    pass(&gate, 2, "one:443").await.end(&Outcome::Delivered);
    time_to_begin(&gate, 200, Some(&Outcome::Delivered)).await;
    assert_eq!(time_to_begin(&gate, 50, None).await, Duration::ZERO, "it is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_host_with_a_rate_has_it_over_all_its_notifications() {
    let limits = GateLimits { rate_per_host: NonZeroU32::new(300), ..GateLimits::default() };
    let gate = Arc::new(Gate::new(limits));
    let mut at_once = 0;
    for number in 0..20 {
        match gate.enter(&visit(number, &to("one:443"))).await {
            Entry::Pass(pass) => {
                at_once += 1;
                pass.end(&Outcome::Delivered);
            }
            Entry::Hold(hold) => assert_eq!(hold.code, CauseCode::RateLimited),
        }
    }
    assert_eq!(at_once, 5, "those of a second");
    pass(&gate, 1, "other:443").await.end(&Outcome::Delivered);
    let paced = Receiver { pace: Some(Pace::every(SECOND)), ..to("other:443") };
    let Entry::Pass(first) = gate.enter(&visit(2, &paced)).await else { panic!("the first of a second") };
    first.end(&Outcome::Delivered);
    let Entry::Hold(held) = gate.enter(&visit(2, &paced)).await else {
        panic!("its own pace counts as well")
    };
    assert_eq!(held.code, CauseCode::RateLimited);
}

const TERMS: LeaseTerms = LeaseTerms { attempt: Duration::from_secs(10), spare: Duration::from_secs(6) };

fn in_fleet() -> Arc<Gate> {
    let limits =
        GateLimits { circuit_failures: NonZeroU32::new(5).expect("not zero"), ..GateLimits::default() };
    Arc::new(Gate::in_fleet(limits, TERMS))
}

/// Answers what the gate asks for now as a store would that has so many slots of each receiver left.
fn answer(gate: &Gate, left: u32) -> usize {
    let wishlist = gate.wishlist(true);
    let asks = wishlist.call().asks;
    let granted = asks.iter().map(|ask| {
        let held = ask.wanted.min(left).max(ask.held);
        Granted { held, share: held, is_contended: false }
    });
    answered(gate, &wishlist, granted.collect());
    asks.len()
}

fn answered(gate: &Gate, wishlist: &Wishlist, granted: Vec<Granted>) {
    gate.answered(wishlist, &SlotAnswer { granted, ..SlotAnswer::default() }, Instant::now());
}

fn asks(gate: &Gate) -> Vec<SlotAsk> {
    gate.wishlist(true).call().asks
}

/// A pass by way of the store.
async fn leased(gate: &Arc<Gate>, number: u128) -> Pass {
    let (pass, ()) = tokio::join!(pass(gate, number, "one:443"), async {
        gate.wanted().await;
        answer(gate, 64);
    });
    pass
}

#[tokio::test(start_paused = true)]
async fn a_receiver_with_slots_needs_no_word_from_the_store() {
    let gate = in_fleet();
    leased(&gate, 1).await.end(&Outcome::Delivered);
    for _ in 0..100 {
        let passes = [pass(&gate, 1, "one:443").await, pass(&gate, 1, "one:443").await];
        assert!(gate.wishlist(false).is_empty());
        for pass in passes {
            pass.end(&Outcome::Delivered);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_word_from_the_store_leases_go_on_to_their_ends_and_then_all_is_held() {
    let gate = in_fleet();
    leased(&gate, 1).await.end(&Outcome::Delivered);
    for _ in 0..2 {
        sleep(TERMS.spare / 2).await;
        pass(&gate, 1, "one:443").await.end(&Outcome::Delivered);
        gate.not_answered(&gate.wishlist(true));
    }
    sleep(Duration::from_millis(1)).await;
    let held = hold(&gate, 1, "one:443").await;
    assert_eq!(held.code, CauseCode::ReceiverBusy);
    sleep(TERMS.attempt).await;
    gate.not_answered(&gate.wishlist(true));
    assert_eq!(gate.holdings().notifications, 0, "it is over");
    hold(&gate, 1, "one:443").await;
    assert_eq!(answer(&gate, 64), 2);
    pass(&gate, 1, "one:443").await.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_use_is_renewed_before_it_is_needed_and_one_without_use_is_given_back() {
    let gate = in_fleet();
    leased(&gate, 1).await.end(&Outcome::Delivered);
    let slots = gate.holdings().notifications;
    assert!(slots > 0);
    for _ in 0..10 {
        assert_eq!(answer(&gate, 64), 0, "too early");
        sleep(TERMS.spare / 3).await;
        pass(&gate, 1, "one:443").await.end(&Outcome::Delivered);
        assert_eq!(answer(&gate, 64), 2);
    }
    sleep(TERMS.spare).await;
    let farewell: Vec<_> = asks(&gate).iter().map(|ask| (ask.held, ask.wanted)).collect();
    assert_eq!(farewell, [(0, 0), (0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn slots_that_others_ask_for_are_given_up_as_attempts_end_and_used_no_more() {
    let gate = in_fleet();
    let mut passes = vec![leased(&gate, 1).await];
    for _ in 0..3 {
        passes.push(pass(&gate, 1, "one:443").await);
    }
    sleep(TERMS.spare / 3).await;
    let wishlist = gate.wishlist(true);
    let granted = |ask: &SlotAsk| Granted { held: ask.held, share: 2, is_contended: true };
    answered(&gate, &wishlist, wishlist.call().asks.iter().map(granted).collect());
    assert_eq!(gate.holdings().notifications, 4, "attempts are not cut off for it");
    for pass in passes.drain(..2) {
        pass.end(&Outcome::Delivered);
    }
    assert_eq!(gate.holdings().notifications, 2);
    assert_eq!(hold(&gate, 1, "one:443").await.code, CauseCode::ReceiverBusy);
    let told: Vec<_> = asks(&gate).iter().map(|ask| ask.held).collect();
    assert_eq!(told, [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn of_an_attempt_that_outlasts_its_lease_nothing_more_is_done() {
    let gate = in_fleet();
    let pass = leased(&gate, 1).await;
    let (woken, done) = (Notify::new(), AtomicUsize::new(0));
    let mut attempt = std::pin::pin!(pass.guard(async {
        done.fetch_add(1, Ordering::SeqCst);
        woken.notified().await;
        done.fetch_add(1, Ordering::SeqCst);
    }));
    assert!(tokio::time::timeout(SECOND, &mut attempt).await.is_err());
    // Stopped, and then both at once: what it waited for has come, and its slot is another's.
    tokio::time::advance(TERMS.lease()).await;
    woken.notify_one();
    assert_eq!(attempt.await, None);
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_slots_is_not_waited_for_again_and_again() {
    let gate = in_fleet();
    let (held, ()) = tokio::join!(hold(&gate, 1, "one:443"), async {
        gate.wanted().await;
        answer(&gate, 0);
    });
    assert_eq!(held.code, CauseCode::ReceiverBusy);
    let began = Instant::now();
    for _ in 0..10 {
        hold(&gate, 1, "one:443").await;
        assert!(gate.wishlist(false).is_empty(), "once a second will do");
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(answer(&gate, 64), 2);
    pass(&gate, 1, "one:443").await.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_notification_with_a_rate_keeps_to_it_and_what_is_over_is_held_until_its_turn() {
    let gate = gate(64, 64);
    let to = Receiver {
        host: Some("one:443".into()),
        channel: None,
        pace: Some(Pace::per_minute(NonZeroU32::new(300).expect("not zero"))),
    };
    let began = Instant::now();
    let mut at_once = 0;
    let mut waits = Vec::new();
    for _ in 0..20 {
        match gate.enter(&visit(1, &to)).await {
            Entry::Pass(pass) => {
                at_once += 1;
                pass.end(&Outcome::Delivered);
            }
            Entry::Hold(hold) => {
                assert_eq!(hold.code, CauseCode::RateLimited);
                waits.push(hold.wait);
            }
        }
    }
    assert_eq!((at_once, began.elapsed()), (5, Duration::ZERO), "those of a second");
    assert!(waits.windows(2).all(|pair| pair[1] == pair[0] + SECOND / 5), "{waits:?}");
    pass(&gate, 2, "one:443").await.end(&Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn retries_leave_places_to_first_attempts_and_are_held_for_no_fault_of_their_receivers() {
    let limits = GateLimits { retries: NonZeroUsize::new(2).expect("not zero"), ..GateLimits::default() };
    let gate = Arc::new(Gate::new(limits));
    let hosts = ["a:443", "b:443", "c:443"].map(to);
    let retry = |number: usize| Visit {
        retry_of: Some(MethodName::Webhook),
        ..visit(number as u128, &hosts[number])
    };
    let mut storm = Vec::new();
    for number in 0..2 {
        let Entry::Pass(pass) = gate.enter(&retry(number)).await else { panic!("there is room") };
        storm.push(pass);
    }
    sleep(SECOND).await;
    let Entry::Hold(held) = gate.enter(&retry(2)).await else { panic!("over their share") };
    assert_eq!(held.code, CauseCode::RetriesBusy);
    pass(&gate, 2, "c:443").await.end(&Outcome::Delivered);
    let other = Visit { retry_of: Some(MethodName::Slack), ..visit(2, &hosts[2]) };
    assert!(matches!(gate.enter(&other).await, Entry::Pass(_)), "another method's worker has its own places");
    drop(storm);
    assert!(matches!(gate.enter(&retry(2)).await, Entry::Pass(_)));
}

#[tokio::test(start_paused = true)]
async fn on_probation_one_attempt_finds_out_and_after_its_failure_nobody_follows() {
    let gate = gate(8, 8);
    let to = to("one:443");
    let visit = Visit { on_probation: true, ..visit(1, &to) };
    let Entry::Pass(probe) = gate.enter(&visit).await else { panic!("the first goes") };
    let followers = (0..3).map(|_| gate.enter(&visit));
    let followers = futures_util::future::join_all(followers);
    let (followers, ()) = tokio::join!(followers, async {
        sleep(Duration::from_millis(50)).await;
        probe.end(&Outcome::Rejected { cause: Cause::new(CauseCode::Blocked, "seen in a test") });
    });
    for follower in followers {
        assert!(matches!(follower, Entry::Hold(_)), "{follower:?}");
    }
    sleep(6 * SECOND).await;
    let Entry::Pass(probe) = gate.enter(&visit).await else { panic!("set on probation once more") };
    let held = gate.enter(&visit).await;
    assert!(matches!(held, Entry::Hold(_)), "{held:?}");
    probe.end(&Outcome::Delivered);
    assert!(matches!(gate.enter(&visit).await, Entry::Pass(_)));
}

/// What a store keeps for the processes of a fleet, without its leases' ends.
#[derive(Default)]
struct Ledger {
    held: HashMap<String, Vec<Asker>>,
    health: HashMap<String, Health>,
}

impl Ledger {
    /// One round of each process.
    fn round(&mut self, gates: &[Arc<Gate>]) {
        for me in 0..gates.len() {
            self.serve(gates, me, true);
        }
    }

    fn serve(&mut self, gates: &[Arc<Gate>], me: usize, all: bool) {
        let (wishlist, now) = (gates[me].wishlist(all), gates[0].at(Instant::now()));
        let call = wishlist.call();
        for seen in &call.seen {
            self.health.entry(seen.receiver.clone()).or_default().hear(seen.sighting, now, seen.to_open);
        }
        let granted = call.asks.iter().map(|ask| {
            let askers = self.held.entry(ask.receiver.clone()).or_default();
            askers.resize(gates.len(), Asker::default());
            // A wish of before is forgotten.
            askers.iter_mut().filter(|asker| asker.held == 0).for_each(|asker| asker.wanted = 0);
            askers[me] = Asker { held: ask.held, wanted: ask.wanted };
            let granted = grant(ask.cap, askers, me, 0);
            askers[me].held = granted.held;
            granted
        });
        let granted = granted.collect();
        let health = self.health.iter().map(|(receiver, health)| ReceiverHealth {
            receiver: receiver.clone(),
            health: health.from(now),
        });
        let answer = SlotAnswer { granted, health: health.collect(), heard: 0 };
        gates[me].answered(&wishlist, &answer, Instant::now());
    }

    /// An attempt by process `me`, which is answered at once where it asks.
    async fn enter(&mut self, gates: &[Arc<Gate>], me: usize) -> Entry {
        let to = to("one:443");
        let visit = visit(1, &to);
        let mut entering = std::pin::pin!(gates[me].enter(&visit));
        loop {
            tokio::select! {
                biased;
                () = gates[me].wanted() => self.serve(gates, me, false),
                entry = &mut entering => return entry,
            }
        }
    }

    async fn pass(&mut self, gates: &[Arc<Gate>], me: usize) -> Pass {
        match self.enter(gates, me).await {
            Entry::Pass(pass) => pass,
            Entry::Hold(hold) => panic!("held: {hold:?}"),
        }
    }

    async fn hold(&mut self, gates: &[Arc<Gate>], me: usize) -> Hold {
        match self.enter(gates, me).await {
            Entry::Pass(_) => panic!("it may begin"),
            Entry::Hold(hold) => hold,
        }
    }
}

fn three() -> (Ledger, [Arc<Gate>; 3]) {
    (Ledger::default(), [in_fleet(), in_fleet(), in_fleet()])
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asked_one_process_for_peace_has_it_of_all_after_a_round() {
    let (mut ledger, gates) = three();
    for me in 0..3 {
        ledger.pass(&gates, me).await.end(&Outcome::Delivered);
    }
    let began = Instant::now();
    ledger.pass(&gates, 0).await.end(&deferred(CauseCode::RateLimited, Some(30 * SECOND)));
    sleep(SECOND).await;
    ledger.round(&gates);
    for me in 0..3 {
        let held = ledger.hold(&gates, me).await;
        assert_eq!(held.code, CauseCode::RateLimited);
        assert!(began.elapsed() + held.wait >= 30 * SECOND, "{held:?} is too early");
    }
    sleep(31 * SECOND).await;
    ledger.round(&gates);
    for me in 0..3 {
        ledger.pass(&gates, me).await.end(&Outcome::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_count_over_all_processes_and_one_probe_of_the_fleet_closes_for_all() {
    let (mut ledger, gates) = three();
    let fails = deferred(CauseCode::Connect, None);
    for me in [0, 1, 2, 0, 1] {
        ledger.pass(&gates, me).await.end(&fails);
        ledger.round(&gates);
    }
    for me in 0..3 {
        ledger.serve(&gates, me, true);
        assert_eq!(ledger.hold(&gates, me).await.code, CauseCode::CircuitOpen);
        assert!(gates[me].open_circuits() > 0);
    }
    sleep(6 * SECOND).await;
    // It fails: the pause is longer for all, whoever would be next.
    let probe = ledger.pass(&gates, 1).await;
    for me in 0..3 {
        assert_eq!(ledger.hold(&gates, me).await.code, CauseCode::CircuitOpen, "one at a time");
    }
    probe.end(&fails);
    ledger.round(&gates);
    ledger.round(&gates);
    sleep(6 * SECOND).await;
    for me in 0..3 {
        assert_eq!(ledger.hold(&gates, me).await.code, CauseCode::CircuitOpen, "ten seconds this time");
    }
    sleep(5 * SECOND).await;
    ledger.round(&gates);
    // Who was refused the one slot asks for it again in the next round.
    let probe = loop {
        match ledger.enter(&gates, 2).await {
            Entry::Pass(pass) => break pass,
            Entry::Hold(hold) => {
                ledger.round(&gates);
                sleep(hold.wait).await;
            }
        }
    };
    probe.end(&Outcome::Delivered);
    ledger.round(&gates);
    ledger.round(&gates);
    for (me, gate) in gates.iter().enumerate() {
        assert_eq!(gate.open_circuits(), 0);
        ledger.pass(&gates, me).await.end(&Outcome::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn without_word_from_the_store_a_process_leaves_a_receiver_alone_by_what_it_knows_and_tells_it_later() {
    let (mut ledger, gates) = three();
    for me in 0..2 {
        ledger.pass(&gates, me).await.end(&Outcome::Delivered);
    }
    for _ in 0..5 {
        let Entry::Pass(pass) = gates[0].enter(&visit(1, &to("one:443"))).await else {
            panic!("it has slots")
        };
        pass.end(&deferred(CauseCode::Connect, None));
        gates[0].not_answered(&gates[0].wishlist(true));
    }
    assert_eq!(hold(&gates[0], 1, "one:443").await.code, CauseCode::CircuitOpen);
    assert_eq!(gates[1].open_circuits(), 0);
    ledger.round(&gates);
    assert_eq!(gates[1].open_circuits(), 2, "its notification's and its host's");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_not_there_hears_of_a_receiver_when_it_first_asks_for_it() {
    let (mut ledger, gates) = three();
    ledger.pass(&gates, 0).await.end(&deferred(CauseCode::RateLimited, Some(30 * SECOND)));
    ledger.round(&gates[..1]);
    assert_eq!(ledger.hold(&gates, 2).await.code, CauseCode::RateLimited);
}
