//! `bellbuoy migrate`: from one machine's directory to a fleet's broker and store.
//!
//! First every row is copied, and found again column by column; then every message is moved. So no message is there
//! before the notification that it is for. Rows are the same by their keys and a message is let go here when it is
//! durable there, so that the whole can be broken off anywhere and run again.

mod counts;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use bellbuoy_broker::{AmqpUrl, Broker, BrokerUrl, EmbeddedOptions, QueueCount, QueueDepth, Removal};
use bellbuoy_store::{Comparison, CopiedTable, Store};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use self::{
    counts::{Tally, Verdict},
    report::{Report, TableRow},
};
use super::{Misuse, complain, words::count};
use crate::{
    cli::ConfigArgs,
    config::{Config, StoreUrl},
    note::{Destination, Note},
    open, serve,
};

/// How long RabbitMQ may take to let us in.
const CONNECT: Duration = Duration::from_secs(15);

/// How long RabbitMQ's counts may take to show what it has confirmed.
const SETTLE: Duration = Duration::from_secs(10);

/// What is listed since a time, up to the first row that is older: new rows are the last to come.
const LISTED_BY_TIME: [&str; 2] = ["events", "dead_letters"];

const AGAIN: Duration = Duration::from_millis(100);

/// Carry everything from one machine's data directory over to RabbitMQ and PostgreSQL.
///
/// Copies notifications, in-app items, events seen, history, dead letters and all else that is kept from the directory to
/// `store.url`, and compares every row; then moves all messages to `broker.url`, where waits go on for what is left of
/// them. The old process must have been stopped, and none of the fleet's may run yet; what must stand on RabbitMQ is made by
/// `bellbuoy topology apply`. Can be broken off at any time and run again: nothing is lost, and no row comes twice. Up to 1024
/// messages that were on their way can, under the same ids, by which they do no harm.
///
/// The directory keeps its rows, but no messages, and `serve` does not run on it any more.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  bellbuoy migrate --from bellbuoy-data --config fleet.toml --dry-run
  bellbuoy migrate --from bellbuoy-data --config fleet.toml")]
pub(crate) struct Migrate {
    /// Settings of the fleet.
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The data directory to leave.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Only say what would be carried over, and what is in the way.
    ///
    /// Opens both sides as `serve` would, which brings their schemas up to date, and changes nothing else.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Migrate, config: &Config) -> anyhow::Result<()> {
    let (broker, store) = fleet(config)?;
    serve::runtime()?.block_on(async {
        let mut report = Report::new(&args.from, args.dry_run);
        let ended = Migration::open(args, config, (broker, store)).await;
        let ended = match ended {
            Ok(migration) => migration.run(args.dry_run, &mut report).await,
            Err(error) => return Err(error),
        };
        report.print(args.json)?;
        ended?;
        if !args.dry_run {
            complain(&farewell(&args.from, config));
        }
        Ok(())
    })
}

/// Where to; not to another directory.
fn fleet(config: &Config) -> anyhow::Result<(&AmqpUrl, &str)> {
    match (&config.broker, &config.store) {
        (BrokerUrl::RabbitMq(broker), StoreUrl::Postgres(store)) => Ok((broker, store.reveal())),
        (BrokerUrl::Embedded, _) => {
            Err(Misuse("`broker.url` is `embedded:`; set it to the fleet's RabbitMQ".into()).into())
        }
        (_, StoreUrl::Sqlite) => {
            Err(Misuse("`store.url` is `sqlite:`; set it to the fleet's PostgreSQL".into()).into())
        }
    }
}

/// What to do in the end.
fn farewell(from: &Path, config: &Config) -> String {
    let shown = from.display();
    let token = from.join("admin-token");
    let token = if config.admin_token.is_none() && token.exists() {
        format!(
            "\nIts admin token is not in the settings: BELLBUOY_AUTH__ADMIN_TOKEN_FILE={} keeps it.",
            token.display()
        )
    } else {
        String::new()
    };
    format!(
        "Start `bellbuoy serve` with these settings; it goes on where the old one stopped. Keep {shown} until the fleet has \
         proved itself, then delete it: it holds a copy of everything, signing secrets too, and no messages.{token}"
    )
}

/// Both sides, opened.
struct Migration {
    directory: PathBuf,
    note: Option<Note>,
    to: Destination,
    // What the directory has; it may have run with half of a fleet.
    old_broker: Option<Removal>,
    old_store: Option<Store>,
    broker: Broker,
    store: Store,
}

impl Migration {
    async fn open(
        args: &Migrate,
        config: &Config,
        (broker, store): (&AmqpUrl, &str),
    ) -> anyhow::Result<Self> {
        let directory = args.from.as_path();
        let has = |name: &str| directory.join(name).is_file();
        if !has("broker.db") && !has("store.db") {
            bail!(
                "{} holds neither broker.db nor store.db; --from should be the `data_dir` of the Bellbuoy to carry over",
                directory.display()
            );
        }
        let to = destination(broker, store);
        let note = Note::read(directory)?;
        if let Some(note) = note.as_ref().filter(|note| note.to != to) {
            bail!(
                "a migration of {} to {} was begun at {}, but the settings say {to}; go on with the former, or see what \
                 was begun there before you delete the note in that directory",
                directory.display(),
                note.to,
                note.began_at
            );
        }
        check_topology(config, broker).await?;
        let in_use = || format!("can't open {}; stop the Bellbuoy that runs on it", directory.display());
        let embedded =
            EmbeddedOptions { delivery_limit: config.delivery_limit, ..EmbeddedOptions::default() };
        let open = if args.dry_run { Removal::look } else { Removal::open };
        let removal = || open(directory, &embedded).with_context(in_use);
        let old_broker = has("broker.db").then(removal).transpose()?;
        if let Some(old) = &old_broker {
            check_queues(config, old)?;
        }
        let old_store = if has("store.db") {
            let old = Store::open_sqlite(&directory.join("store.db")).await.with_context(in_use)?;
            Some(old.with_secret_keys(config.secret_keys.clone()))
        } else {
            None
        };
        let broker = Broker::open_rabbitmq(broker, &open::rabbitmq_options(config))?;
        connected(&broker).await?;
        let store = Store::open(store).await?.with_secret_keys(config.secret_keys.clone());
        Ok(Self { directory: directory.to_owned(), note, to, old_broker, old_store, broker, store })
    }

    async fn run(mut self, dry_run: bool, report: &mut Report) -> anyhow::Result<()> {
        let ended = if dry_run { self.look(report).await } else { self.carry(report).await };
        if let Some(old) = self.old_broker {
            old.close().await;
        }
        if let Some(old) = self.old_store {
            old.close().await;
        }
        self.broker.close().await;
        self.store.close().await;
        ended
    }

    /// Says what is to be done.
    async fn look(&mut self, report: &mut Report) -> anyhow::Result<()> {
        if let Some(old) = &self.old_broker {
            for depth in old.depths() {
                report.queue(&depth.queue, depth.ready, depth.delayed);
            }
        }
        let Some(old) = self.rows_to_copy(report) else { return Ok(()) };
        for table in CopiedTable::all() {
            let found = compare(table, old, &self.store).await?;
            report.table(TableRow { name: table.name(), copied: 0, found });
        }
        self.refuse_running_fleet().await?;
        self.refuse_other_rows(old).await
    }

    async fn carry(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let now = Timestamp::now;
        let mut note = self.note.clone().unwrap_or_else(|| Note::new(self.to.clone(), now()));
        if let Some(old) = self.rows_to_copy(report) {
            self.refuse_running_fleet().await?;
            self.refuse_other_rows(old).await?;
            note.write(&self.directory)?;
            self.copy(old, report).await?;
        }
        // From here on, what is there may move on; it is not compared again.
        note.copied_at = note.copied_at.or_else(|| Some(now()));
        note.write(&self.directory)?;
        self.move_messages(report).await?;
        note.finished_at = note.finished_at.or_else(|| Some(now()));
        note.write(&self.directory)
    }

    /// The old store, unless its rows were copied and found there already.
    fn rows_to_copy(&self, report: &mut Report) -> Option<&Store> {
        if let Some(at) = self.note.as_ref().and_then(|note| note.copied_at) {
            report.remark(format!("every row was copied and found there again at {at}"));
            return None;
        }
        if self.old_store.is_none() {
            report.remark("there is no store.db, so there are no rows to copy".to_owned());
        }
        self.old_store.as_ref()
    }

    /// Before anything is written: whether a fleet works there already. It would change rows between their copy and
    /// their comparison, and a copy that is begun again would bring back what it has deleted.
    async fn refuse_running_fleet(&self) -> anyhow::Result<()> {
        let counts = self.broker.count().await?;
        let Some(taken) = counts.iter().find(|count| count.consumers > 0) else { return Ok(()) };
        bail!(
            "queue {} of RabbitMQ at {} has a consumer, so that nothing was carried over; stop every process of the fleet \
             until this has ended",
            taken.queue,
            self.to.broker
        )
    }

    /// Before anything is written: whether the new store has other rows of the same keys, or rows of its own among which
    /// the old ones would stand out of order.
    async fn refuse_other_rows(&self, old: &Store) -> anyhow::Result<()> {
        for table in CopiedTable::all() {
            if table.is_empty(&self.store).await? {
                continue;
            }
            let found = compare(table, old, &self.store).await?;
            report::refuse_different(table.name(), &found, &self.to.store)?;
            if found.missing > 0 && LISTED_BY_TIME.contains(&table.name()) {
                let own = table.count(&self.store).await?.saturating_sub(found.same);
                report::refuse_own(table.name(), own, &self.to.store)?;
            }
        }
        Ok(())
    }

    async fn copy(&self, old: &Store, report: &mut Report) -> anyhow::Result<()> {
        let mut copied = Vec::new();
        for table in CopiedTable::all() {
            let bar = bar(table.count(old).await?, format!("copying {}", table.name()));
            let rows = table.copy(old, &self.store, |rows| bar.inc(rows)).await;
            bar.finish_and_clear();
            copied.push((table, rows.with_context(|| format!("table {} was not copied", table.name()))?));
        }
        for (table, copied) in copied {
            let found = compare(table, old, &self.store).await?;
            report.table(TableRow { name: table.name(), copied, found });
        }
        report.refuse_incomplete(&self.to.store)
    }

    async fn move_messages(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Some(old) = &mut self.old_broker else {
            report.remark("there is no broker.db, so there are no messages to move".to_owned());
            return Ok(());
        };
        let before = self.broker.count().await;
        let left = old.depths().iter().map(|depth| depth.ready + depth.delayed).sum();
        let bar = bar(left, "moving messages".to_owned());
        let mut tally = Tally::default();
        let ended = loop {
            match old.move_next(&self.broker).await {
                Ok(moved) if moved.is_empty() => break Ok(()),
                Ok(moved) => {
                    bar.inc(moved.iter().map(|moved| moved.ready + moved.delayed).sum());
                    tally.add(moved);
                }
                Err(error) => break Err(error),
            }
        };
        bar.finish_and_clear();
        for (queue, ready, delayed) in tally.queues() {
            report.queue(queue, ready, delayed);
        }
        ended.with_context(|| {
            let left: u64 = old.depths().iter().map(|depth| depth.ready + depth.delayed).sum();
            format!("broken off with {} left; run it again to go on", count(whole(left), "message"))
        })?;
        check_left(old)?;
        match before {
            Ok(before) => self.check_counts(&tally, &before, report).await,
            Err(error) => {
                report.remark(format!("every message was confirmed, but none could be counted: {error}"));
                Ok(())
            }
        }
    }

    /// Compares RabbitMQ's counts, which follow its confirms with a delay.
    async fn check_counts(
        &self,
        tally: &Tally,
        before: &[QueueCount],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLE;
        loop {
            let after = self.broker.count().await?;
            match tally.compare(before, &after) {
                Verdict::Same => return Ok(()),
                Verdict::InUse => {
                    report.remark(
                        "every message was confirmed; they can't be counted, for a fleet takes them already"
                            .to_owned(),
                    );
                    return Ok(());
                }
                Verdict::Differs(differences) if Instant::now() > until => {
                    report.differences(&differences);
                    bail!(
                        "RabbitMQ confirmed every message, but its counts differ:\n  - {}",
                        differences.join("\n  - ")
                    );
                }
                Verdict::Differs(_) => sleep(AGAIN).await,
            }
        }
    }
}

async fn compare(table: CopiedTable, old: &Store, new: &Store) -> anyhow::Result<Comparison> {
    let bar = bar(table.count(old).await?, format!("comparing {}", table.name()));
    let found = table.compare(old, new, |rows| bar.inc(rows)).await;
    bar.finish_and_clear();
    found.with_context(|| format!("table {} was not compared", table.name()))
}

/// Its own counts must agree with its file.
fn check_left(old: &Removal) -> anyhow::Result<()> {
    let left: Vec<_> = old.depths().into_iter().filter(|depth| depth.ready + depth.delayed > 0).collect();
    match left.first() {
        None => Ok(()),
        Some(depth) => bail!(
            "no message is left in broker.db, but queue {} counts {}; nothing was lost, and the file was damaged before",
            depth.queue,
            depth.ready + depth.delayed
        ),
    }
}

fn destination(broker: &AmqpUrl, store: &str) -> Destination {
    let broker = format!("{}/{}", broker.hosts(), broker.vhost());
    // Without user and password.
    let store = url::Url::parse(store).map_or_else(
        |_| "the database of `store.url`".to_owned(),
        |url| {
            let host = url.host_str().unwrap_or_default();
            format!("{host}:{}{}", url.port().unwrap_or(5432), url.path())
        },
    );
    Destination { broker, store }
}

async fn check_topology(config: &Config, broker: &AmqpUrl) -> anyhow::Result<()> {
    let options = open::rabbitmq_options(config);
    let found = options.topology.check(broker, &options).await?;
    let problems = [found.problems, found.left_behind].concat();
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "RabbitMQ at {} is not what Bellbuoy needs, so that nothing was carried over:\n  - {}",
        broker.hosts(),
        problems.join("\n  - ")
    )
}

/// A queue of another version, or of a method that this one lacks.
fn check_queues(config: &Config, old: &Removal) -> anyhow::Result<()> {
    let topology = open::rabbitmq_options(config).topology;
    let holds_any = |depth: &QueueDepth| depth.ready + depth.delayed > 0;
    for QueueDepth { queue, ready, delayed, .. } in old.depths().into_iter().filter(holds_any) {
        if !topology.queues().contains(&queue) {
            bail!(
                "queue {queue} of the directory holds {}, but this version has no such queue, so that nothing was \
                 carried over; let the version that has it deliver them first",
                count(whole(ready + delayed), "message")
            );
        }
    }
    Ok(())
}

async fn connected(broker: &Broker) -> anyhow::Result<()> {
    let until = Instant::now() + CONNECT;
    while let Err(error) = broker.ping().await {
        if Instant::now() > until {
            return Err(error.into());
        }
        sleep(AGAIN).await;
    }
    Ok(())
}

/// A bar on standard error, which draws nothing unless that is a terminal.
fn bar(length: u64, what: String) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg:24} {bar:40} {pos}/{len}  {per_sec}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what)
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
