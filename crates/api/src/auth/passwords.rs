//! Passwords: kept as Argon2id hashes, checked away from the async threads, guessed slowly.

use std::{net::IpAddr, sync::Arc, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use bellbuoy_domain::{AccountKind, AccountName};
use bellbuoy_store::{Account, StoreError};
use tokio::{sync::Semaphore, task::spawn_blocking, time::Instant, time::timeout};
use tracing::error;

use super::Refused;
use crate::{App, guesses::Guesses, problem::Problem, server::Peer};

/// Fewest and most characters of a password. The most bounds what is hashed.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

/// How many are hashed at once; each takes 19 MiB and some hundredths of a second of a core.
const AT_ONCE: usize = 2;

/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// What hashing takes.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    of_account: Guesses,
    from_address: Guesses,
}

impl Passwords {
    /// So many guesses at once or over a minute: of one account's password wherever they come from, and from one
    /// address of whosesoever.
    pub(crate) fn new(of_account: u32, from_address: u32) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            of_account: Guesses::new(of_account),
            from_address: Guesses::new(from_address),
        }
    }

    /// The hash of a password, in the PHC string format, with a salt of its own.
    ///
    /// # Errors
    ///
    /// When it is too short or too long (400), or its turn does not come (503).
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        if !LENGTH.contains(&password.chars().count()) {
            let (least, most) = (LENGTH.start(), LENGTH.end());
            return Err(Problem::bad(format!("`password` should have {least} to {most} characters")));
        }
        let hashed = self.run(move || hashed(&password)).await.ok_or_else(busy)?;
        hashed.ok_or_else(Problem::internal)
    }

    /// Whether `password` is what `hash` was made of; `None` when its turn does not come. Without a hash it is not,
    /// and that takes as long.
    async fn fits(&self, password: String, hash: Option<String>) -> Option<bool> {
        if !LENGTH.contains(&password.chars().count()) {
            return Some(false);
        }
        self.run(move || match &hash {
            Some(hash) => is_of(&password, hash),
            None => hashed(&password).is_none(),
        })
        .await
    }

    /// Takes back that a guess was counted: it was none, or nobody knows.
    fn give_back(&self, user: &str, address: Option<IpAddr>) {
        self.of_account.back(user);
        if let Some(address) = address {
            self.from_address.back(address);
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()?;
        // The turn is given back when the work is done, not when whoever waits for it goes.
        let done = spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.inspect_err(|panic| error!("hashing a password failed: {panic}")).ok()
    }
}

fn busy() -> Problem {
    Problem::unavailable("too many passwords are checked at once; try again")
}

fn hashed(password: &str) -> Option<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.inspect_err(|problem| error!("can't hash a password: {problem}")).ok().map(|hash| hash.to_string())
}

fn is_of(password: &str, hash: &str) -> bool {
    match PasswordHash::new(hash) {
        Ok(hash) => Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
        Err(problem) => {
            error!("a stored password hash can't be read: {problem}");
            false
        }
    }
}

/// An account, and the hash of the password that was shown to be its own.
pub(crate) struct Shown {
    pub(crate) account: Account,
    pub(crate) password: String,
}

/// The account of that name and password. An account that is not there, is disabled or has no password is told from
/// a wrong password by nothing, time included.
pub(crate) async fn sign_in(
    app: &App,
    peer: Option<Peer>,
    user: &str,
    password: String,
) -> Result<Shown, Refused> {
    let (passwords, now) = (&app.passwords, Instant::now());
    let address = peer.map(|Peer(address)| address);
    // Taken before they are known to be wrong, so that no number of guesses at once gets past. Nobody is welcome here
    // for having been right before: else whoever has an account could guess at everybody's.
    let taken = address.map_or(Ok(()), |address| passwords.from_address.wrong(address, now));
    taken.and_then(|()| passwords.of_account.wrong(user, now)).map_err(Refused::TooMany)?;
    let Some((known, fits)) = check(app, user, password).await else {
        passwords.give_back(user, address);
        return Err(Refused::Unknowable);
    };
    let Some(known) = known.filter(|_| fits) else {
        // It is a guess of a credential like any other, too.
        let counted = address.map_or(Ok(()), |address| app.guesses.wrong(address, now));
        return Err(counted.map_or_else(Refused::TooMany, |()| Refused::Wrong));
    };
    passwords.give_back(user, address);
    Ok(known)
}

/// The account of that name that has a password, and whether this is it; `None` when that can't be found out just now.
async fn check(app: &App, user: &str, password: String) -> Option<(Option<Shown>, bool)> {
    let found = find(app, user).await.inspect_err(|problem| error!("can't look an account up: {problem}"));
    let known = found.ok()?;
    let hash = known.as_ref().map(|known| known.password.clone());
    Some((known, app.passwords.fits(password, hash).await?))
}

async fn find(app: &App, user: &str) -> Result<Option<Shown>, StoreError> {
    let Ok(name) = AccountName::parse(user) else { return Ok(None) };
    let account = app.api.store.account(&name).await?;
    let account = account.filter(|account| account.enabled && account.kind == AccountKind::User);
    let Some(account) = account else { return Ok(None) };
    let password = app.api.store.password(&account.name).await?;
    Ok(password.map(|password| Shown { account, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone_and_no_hash_is_seen_twice() {
        let passwords = Passwords::new(1, 1);
        let hash = async |password: &str| passwords.hash(password.to_owned()).await;
        let (one, again) =
            (hash("correct horse").await.expect("one"), hash("correct horse").await.expect("one"));
        assert!(one.starts_with("$argon2id$") && one != again, "{one}");
        for (password, hash, expected) in [
            ("correct horse", Some(one.clone()), true),
            ("correct horse", Some(again), true),
            ("Correct horse", Some(one.clone()), false),
            ("", Some(one.clone()), false),
            ("correct horse", None, false),
            ("correct horse", Some("no hash".to_owned()), false),
        ] {
            let fits = passwords.fits(password.to_owned(), hash.clone()).await;
            assert_eq!(fits, Some(expected), "{password} {hash:?}");
        }
        let (short, long) = ("x".repeat(LENGTH.start() - 1), "x".repeat(LENGTH.end() + 1));
        assert!(hash(&short).await.is_err() && hash(&long).await.is_err());
        assert_eq!(passwords.fits(long, Some(one)).await, Some(false));
    }
}
