//! How often one address may guess a token, and anybody an account's password: a bucket of guesses for each, in a
//! fixed number of places.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Places for buckets. Two that share one share their guesses; the hash is seeded at start, so
/// that nobody can choose with whom.
const PLACES: usize = 4096;

/// In which time a bucket fills.
const MINUTE: Duration = Duration::from_mins(1);

/// How long an address that presented a right token is let in with it, whatever else comes from
/// there: behind a proxy, strangers have the same address and must not shut everybody out.
const WELCOME: Duration = Duration::from_hours(1);

/// Whose guesses are counted together.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) enum Guesser<'a> {
    /// Those from one network.
    Network(u128),
    /// Those about one thing, such as an account's password.
    About(&'a str),
}

impl From<IpAddr> for Guesser<'_> {
    fn from(address: IpAddr) -> Self {
        Self::Network(network(address))
    }
}

impl<'a> From<&'a str> for Guesser<'a> {
    fn from(thing: &'a str) -> Self {
        Self::About(thing)
    }
}

/// No further guess now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Until the next one.
    pub(crate) wait: Duration,
}

/// The buckets.
pub(crate) struct Guesses {
    places: Mutex<Box<[Bucket]>>,
    seed: RandomState,
    /// In which time one guess comes back.
    each: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// When all guesses are back.
    full_at: Option<Instant>,
    welcome_until: Option<Instant>,
}

impl Guesses {
    /// `per_minute` guesses at once or over a minute; at least one.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            places: Mutex::new(vec![Bucket::default(); PLACES].into()),
            seed: RandomState::new(),
            each: MINUTE / per_minute.max(1),
        }
    }

    /// A right one came from `guesser`.
    ///
    /// # Errors
    ///
    /// When too many wrong ones came from there and no right one within the hour: that this one is
    /// right may then be a guesser's luck.
    pub(crate) fn right<'a>(&self, guesser: impl Into<Guesser<'a>>, now: Instant) -> Result<(), TooMany> {
        self.at(guesser, |bucket| {
            if bucket.welcome_until.is_none_or(|until| until < now) {
                bucket.room(self.each, now)?;
            }
            bucket.welcome_until = Some(now + WELCOME);
            Ok(())
        })
    }

    /// A wrong one came from `guesser`.
    ///
    /// # Errors
    ///
    /// When too many did.
    pub(crate) fn wrong<'a>(&self, guesser: impl Into<Guesser<'a>>, now: Instant) -> Result<(), TooMany> {
        self.at(guesser, |bucket| {
            bucket.full_at = Some(bucket.room(self.each, now)? + self.each);
            Ok(())
        })
    }

    /// What was counted as wrong was right.
    pub(crate) fn back<'a>(&self, guesser: impl Into<Guesser<'a>>) {
        self.at(guesser, |bucket| {
            bucket.full_at = bucket.full_at.and_then(|full_at| full_at.checked_sub(self.each));
        });
    }

    fn at<'a, T>(&self, guesser: impl Into<Guesser<'a>>, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.seed.hash_one(guesser.into()) % PLACES as u64;
        act(&mut places[usize::try_from(place).unwrap_or_default()])
    }
}

impl Bucket {
    /// Since when its guesses come back, if one more may be taken.
    fn room(&self, each: Duration, now: Instant) -> Result<Instant, TooMany> {
        let full_at = self.full_at.unwrap_or(now).max(now);
        let over = (full_at + each).saturating_duration_since(now + MINUTE);
        if over.is_zero() { Ok(full_at) } else { Err(TooMany { wait: over }) }
    }
}

/// Whose guesses are counted together: an IPv4 address, or the /64 that an IPv6 host may choose from.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guesses").field("each", &self.each).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Wrong guesses from `from` until one is refused, and the wait then.
    fn spend(guesses: &Guesses, from: IpAddr, now: Instant) -> (u32, Duration) {
        for taken in 0..10_000 {
            if let Err(TooMany { wait }) = guesses.wrong(from, now) {
                return (taken, wait);
            }
        }
        panic!("no limit")
    }

    #[test]
    fn a_minutes_guesses_are_taken_at_once_and_come_back_one_by_one() {
        let (guesses, now) = (Guesses::new(100), Instant::now());
        let each = MINUTE / 100;
        assert_eq!(spend(&guesses, address("192.0.2.1"), now), (100, each));
        assert_eq!(spend(&guesses, address("192.0.2.1"), now + each * 3), (3, each));
        assert_eq!(spend(&guesses, address("192.0.2.1"), now + 2 * MINUTE).0, 100);
        assert_eq!(spend(&Guesses::new(0), address("192.0.2.1"), now).0, 1);
    }

    #[test]
    fn a_lucky_guess_is_not_let_in_and_an_old_friend_is() {
        let (guesses, now) = (Guesses::new(100), Instant::now());
        let (stranger, friend) = (address("192.0.2.1"), address("192.0.2.2"));
        guesses.right(friend, now).expect("let in");
        for from in [stranger, friend] {
            assert_eq!(spend(&guesses, from, now).0, 100);
        }
        assert_eq!(guesses.right(stranger, now), Err(TooMany { wait: MINUTE / 100 }));
        guesses.right(friend, now).expect("let in");
        guesses.right(stranger, now + MINUTE / 100).expect("one is back");
    }

    #[test]
    fn what_turns_out_right_is_given_back_and_what_is_about_another_thing_counts_apart() {
        let (guesses, now) = (Guesses::new(3), Instant::now());
        for _ in 0..10 {
            guesses.wrong("ann", now).expect("room");
            guesses.back("ann");
        }
        for _ in 0..3 {
            guesses.wrong("ann", now).expect("room");
        }
        assert!(guesses.wrong("ann", now).is_err());
        guesses.wrong("bob", now).expect("its own");
        guesses.wrong(address("192.0.2.7"), now).expect("its own");
    }

    #[test]
    fn an_ipv6_host_gets_no_more_by_changing_its_address() {
        let (guesses, now) = (Guesses::new(100), Instant::now());
        let hosts = (0..200).map(|host| address(&format!("2001:db8::{host:x}")));
        assert_eq!(hosts.filter(|host| guesses.wrong(*host, now).is_ok()).count(), 100);
        guesses.wrong(address("2001:db8:0:1::1"), now).expect("another network");
        assert_eq!(network(address("::ffff:192.0.2.1")), network(address("192.0.2.1")));
    }
}
