//! The machine's own resolver, which holds a thread until it answers: for a dead name server half a minute.
//!
//! One name is looked up by one thread at a time, whoever wants it meanwhile; and what does not get a thread in time is
//! told so, since that is nobody's fault but ours.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};

use super::LookupError;

/// Most look-ups at a time; the others of tokio's 512 blocking threads stay free for files and the database.
const MAX_LOOKUPS: usize = 64;

/// All look-ups of this process.
static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(MAX_LOOKUPS, ask_system));

pub(super) async fn look_up(host: &str, limit: Duration) -> Result<Vec<IpAddr>, LookupError> {
    LOOKUPS.look_up(host, limit).await
}

fn ask_system(host: &str) -> io::Result<Vec<IpAddr>> {
    (host, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
}

type Ask = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Look-ups that are under way. Clones share them.
#[derive(Clone)]
struct Lookups {
    ask: Arc<Ask>,
    /// One permit for each thread. It is held until the thread is free, not until nobody waits any more.
    room: Arc<Semaphore>,
    flights: Arc<Mutex<HashMap<String, Told>>>,
}

/// How far a look-up is, told to all who wait for it.
type Told = Arc<watch::Sender<Stage>>;

enum Stage {
    Queued,
    Asking,
    Told(Result<Vec<IpAddr>, String>),
}

impl Lookups {
    fn new(most: usize, ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), room: Arc::new(Semaphore::new(most)), flights: Arc::default() }
    }

    async fn look_up(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, LookupError> {
        let mut flight = self.join(host);
        let told = timeout(limit, flight.wait_for(|stage| matches!(stage, Stage::Told(_)))).await;
        let told = told.map(|told| match told.as_deref() {
            Ok(Stage::Told(told)) => told.clone().map_err(LookupError::Failed),
            _ => Err(LookupError::Failed("the look-up was broken off".to_owned())),
        });
        told.unwrap_or_else(|_| match *flight.borrow() {
            Stage::Queued => Err(LookupError::NoRoom),
            _ => Err(LookupError::Silent),
        })
    }

    /// The look-up of `host` that is under way, or a new one.
    fn join(&self, host: &str) -> watch::Receiver<Stage> {
        match self.flights().entry(host.to_owned()) {
            Entry::Occupied(known) => known.get().subscribe(),
            Entry::Vacant(place) => {
                let (told, flight) = watch::channel(Stage::Queued);
                let told = Arc::clone(place.insert(Arc::new(told)));
                tokio::spawn(Flight { lookups: self.clone(), host: host.to_owned(), told }.fly());
                flight
            }
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}

/// One look-up. It is known to be under way until this is dropped.
struct Flight {
    lookups: Lookups,
    host: String,
    told: Told,
}

impl Flight {
    async fn fly(self) {
        let permit = loop {
            tokio::select! {
                permit = Arc::clone(&self.lookups.room).acquire_owned() => break permit,
                () = self.told.closed() => if self.is_unwanted() { return },
            }
        };
        self.told.send_replace(Stage::Asking);
        let (ask, host) = (Arc::clone(&self.lookups.ask), self.host.clone());
        let asked = spawn_blocking(move || {
            let _permit = permit;
            ask(&host)
        });
        let found = match asked.await {
            Ok(found) => found.map_err(|error| words(&error)),
            Err(error) => Err(error.to_string()),
        };
        // Whoever comes from now on asks anew.
        let told = Arc::clone(&self.told);
        drop(self);
        told.send_replace(Stage::Told(found));
    }

    /// Whether nobody waits for it any more, nor will: it is forgotten then.
    fn is_unwanted(&self) -> bool {
        let mut flights = self.lookups.flights();
        let is_unwanted = self.told.receiver_count() == 0;
        if is_unwanted {
            self.forget(&mut flights);
        }
        is_unwanted
    }

    fn forget(&self, flights: &mut HashMap<String, Told>) {
        if flights.get(&self.host).is_some_and(|told| Arc::ptr_eq(told, &self.told)) {
            flights.remove(&self.host);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.forget(&mut self.lookups.flights());
    }
}

/// What the system said, without the wrapping that the standard library puts around.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    };

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_mins(1);

    /// Look-ups that end as soon as their word comes by the channel, and how many there were.
    fn held(most: usize) -> (Lookups, SyncSender<()>, Arc<AtomicUsize>) {
        let (release, word): (_, Receiver<()>) = sync_channel(100);
        let (word, asked) = (Mutex::new(word), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let lookups = Lookups::new(most, move |_| {
            count.fetch_add(1, Relaxed);
            // Ended by the test that drops the other end, too.
            let _ = word.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok(vec![LOOPBACK])
        });
        (lookups, release, asked)
    }

    #[tokio::test]
    async fn one_name_has_one_thread_however_many_want_it() {
        let (lookups, release, asked) = held(8);
        assert_eq!(lookups.look_up("a.example", SHORT).await, Err(LookupError::Silent));
        assert_eq!(lookups.look_up("a.example", SHORT).await, Err(LookupError::Silent));
        let both =
            async { tokio::join!(lookups.look_up("a.example", LONG), lookups.look_up("a.example", LONG)) };
        let told = async { release.send(()).expect("it waits for the word") };
        let ((one, other), ()) = tokio::join!(both, told);
        assert_eq!((one, other), (Ok(vec![LOOPBACK]), Ok(vec![LOOPBACK])));
        assert_eq!(asked.load(Relaxed), 1);
        // What was told is not kept.
        release.send(()).expect("a place in the channel");
        assert_eq!(lookups.look_up("a.example", LONG).await, Ok(vec![LOOPBACK]));
        assert_eq!(asked.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn what_gets_no_thread_in_time_is_told_so_and_leaves_nothing_behind() {
        let (lookups, release, asked) = held(1);
        assert_eq!(lookups.look_up("silent.example", SHORT).await, Err(LookupError::Silent));
        assert_eq!(lookups.look_up("fine.example", SHORT).await, Err(LookupError::NoRoom));
        while lookups.flights().contains_key("fine.example") {
            tokio::task::yield_now().await; // Its flight has not seen yet that nobody waits.
        }
        for _ in 0..2 {
            release.send(()).expect("a place in the channel");
        }
        assert_eq!(lookups.look_up("other.example", LONG).await, Ok(vec![LOOPBACK]));
        assert_eq!(asked.load(Relaxed), 2, "nobody was asked for fine.example");
    }

    #[tokio::test]
    async fn a_look_up_that_panics_is_a_failed_one() {
        let lookups = Lookups::new(1, |_| panic!("no"));
        for _ in 0..2 {
            let told = lookups.look_up("a.example", LONG).await;
            assert!(matches!(told, Err(LookupError::Failed(_))), "{told:?}");
        }
    }
}
