//! The wiring: opens what the settings name, starts the workers and the API, and stops them in
//! order.
//!
//! Stopping: the API takes nothing new and answers what it has, while the workers finish what is in hand, up
//! to the drain limits of both; then the broker and the store are closed, which ends whoever still waits for them. What
//! was not finished is durable and goes on at the next start. All of it takes 20 s more than the longer drain at most.
//! A second signal ends the process at once, which is as safe. One that comes while a store that is away is waited for
//! ends the wait.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use bellbuoy_api::{Api, Auth, Closed, Limits, Mailer, Reach, Readiness, ServerLimits, Trial};
use bellbuoy_broker::{Broker, BrokerUrl};
use bellbuoy_domain::{DeliveryId, Registry};
use bellbuoy_methods::{AddressRules, Attempt, Callbacks, Methods, Outbound};
use bellbuoy_store::Store;
use bellbuoy_telemetry::{Gauge, Metrics};
use bellbuoy_workers::{
    Deliver, DeliverLimits, Digests, Fanout, FanoutLimits, Gate, GateLimits, LeaseTerms, Record,
    RecordLimits, Retention, Slots, Vital, Wishes, deliver_role, supervise,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    certificates,
    commands::say,
    config::{Config, Role},
    open,
    queues::ShownQueues,
    series,
    standing::Standing,
};

/// The version that is shown and sent.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an attempt may take over its deadline: the rest of an answer that is read, and a busy machine.
const OVER_DEADLINE: Duration = Duration::from_secs(2);

/// What workers may take over the drain limit, to end what the drain cut off.
const OVER_DRAIN: Duration = Duration::from_secs(2);

/// How long a shutdown waits for those whom the closed broker ended, and for the store to close.
const CLOSING: Duration = Duration::from_secs(2);

/// How long a shutdown waits for the store to take slots back; then they end by themselves.
const GIVING_BACK: Duration = Duration::from_secs(2);

/// How often the queues and the gate are looked at for the metrics.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// `bellbuoy serve`.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let Some(fleet) = Fleet::start_unless(config, &mut signals).await? else { return Ok(()) };
        say(&fleet.greeting());
        signals.next().await;
        signals.end_at_the_next();
        fleet.stop().await;
        Ok(())
    });
    // Nobody waits for a name server that some thread still asks.
    runtime.shutdown_background();
    ended
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Everything that runs in this process.
pub(crate) struct Fleet {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) router: axum::Router,
    token_file: Option<PathBuf>,
    broker: Broker,
    store: Store,
    intake: CancellationToken,
    work: CancellationToken,
    api: tokio::task::JoinHandle<std::io::Result<()>>,
    workers: JoinSet<()>,
    slots: Option<Arc<Slots>>,
    drain: Duration,
}

impl Fleet {
    /// Starts it, unless a signal comes first; then there is none, and what was begun is left as by a crash.
    pub(crate) async fn start_unless(config: Config, signals: &mut Signals) -> anyhow::Result<Option<Self>> {
        tokio::select! {
            biased;
            () = signals.next() => {
                info!("stopped before the start was over");
                Ok(None)
            }
            started = Self::start(config) => started.map(Some),
        }
    }

    async fn start(config: Config) -> anyhow::Result<Self> {
        bellbuoy_telemetry::init_log(&config.log_filter, config.log_format);
        open::data_directory(&config)?;
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!("can't listen on {}; set `listen` (BELLBUOY_LISTEN) to a free address", config.listen)
        })?;
        let url = format!("http://{}", listener.local_addr()?);
        let (token, token_file) = open::admin_token(&config)?;
        let limits = ServerLimits { connections: config.connections, ..ServerLimits::default() };
        let (listener, early) = Early::answer(listener, limits.clone())?;
        let broker = open::broker(&config)?;
        let store = open::store(&config).await?;
        early.end().await;
        let registry = Registry { title: config.registry_title.clone(), url: config.registry_url.clone() };
        let outbound = open::outbound(&config)?;
        let reach = reach(&outbound);
        let methods = Methods::new(outbound, registry.clone(), store.clone())?;
        let methods = Arc::new(match callbacks(&config, &url) {
            Some(callbacks) => methods.with_callbacks(callbacks),
            None => methods,
        });
        let metrics = Arc::new(Metrics::new());
        metrics.set(Gauge::BuildInfo, &[VERSION], 1.0);
        series::start_at_zero(&metrics, config.shards);
        let mut auth = Auth::new([&token])?.with_readonly_superusers(config.readonly_superusers.clone());
        if config.open_metrics {
            auth = auth.with_open_metrics();
        }
        if let Some(registry) = open::registry_tokens(&config, &methods).await? {
            auth = auth.with_registry(registry);
        }

        let (intake, work) = (CancellationToken::new(), CancellationToken::new());
        let mut crew = Crew {
            broker: broker.clone(),
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: work.clone(),
            workers: JoinSet::new(),
            readiness: Readiness::default(),
            stalled_after: config.stalled_after,
            slots: None,
        };
        crew.start(&config, &methods);
        crew.look_at_topology(&config);
        let following = certificates::follow(config.clone(), Arc::clone(&methods), work.clone());
        crew.workers.spawn(following);
        let api = Api {
            broker: broker.clone(),
            shards: config.shards,
            store: store.clone(),
            metrics,
            auth,
            registry,
            public_url: config.public_url.clone().unwrap_or_else(|| url.clone()),
            read_only: config.read_only,
            may_skip_verification: config.allow_skip_verification,
            reach,
            trial: trial(Arc::clone(&methods)),
            github_secret: config.github_secret.as_ref().map(|secret| secret.reveal().to_owned()),
            mailer: mailer(methods),
            limits: Limits::default(),
            readiness: crew.readiness,
            version: VERSION.to_owned(),
        };
        let serves_api = config.roles.contains(&Role::Api);
        if serves_api && config.smtp.host.is_some() && config.public_url.is_none() {
            warn!("`public_url` is not set, so the links of confirmation mails lead to {url}");
        }
        let router = if serves_api {
            let browsers_know_us_as = api.public_url.clone();
            bellbuoy_console::over(api.router(), browsers_know_us_as)
        } else {
            api.probes()
        };
        let serving = bellbuoy_api::serve(listener, router.clone(), intake.clone(), limits);
        let api = tokio::spawn(serving);
        info!("bellbuoy {VERSION} listens on {url}, its data is in {}", config.data_dir.display());
        let Crew { workers, slots, .. } = crew;
        let drain = config.drain;
        Ok(Self { url, token, router, token_file, broker, store, intake, work, api, workers, slots, drain })
    }

    fn greeting(&self) -> String {
        let token = self.token_file.as_ref().map_or_else(
            || "The admin token is the one in the settings.".to_owned(),
            |path| format!("The admin token is in {}.", path.display()),
        );
        format!("Bellbuoy {VERSION} listens on {}. {token}", self.url)
    }

    pub(crate) async fn stop(mut self) {
        info!("stopping: no new events are taken");
        self.broker.stop_counting_returns();
        self.intake.cancel();
        self.work.cancel();
        let limit = self.drain + OVER_DRAIN;
        let (api, workers) = tokio::join!(self.api, timeout(limit, end_of(&mut self.workers)));
        match api {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the API did not end in order: {error}"),
            Err(error) => warn!("the API did not end in order: {error}"),
        }
        if workers.is_err() {
            let count = self.workers.len();
            warn!("{count} workers did not end within {limit:?}; what they have in hand goes back");
        }
        // Too late is no harm, here and below.
        if let Some(slots) = &self.slots {
            let _ = timeout(GIVING_BACK, slots.give_back()).await;
        }
        self.broker.close().await;
        let _ = timeout(CLOSING, end_of(&mut self.workers)).await;
        let _ = timeout(CLOSING, self.store.close()).await;
        info!("stopped; what was not delivered yet goes on at the next start");
    }
}

async fn end_of(workers: &mut JoinSet<()>) {
    while workers.join_next().await.is_some() {}
}

/// The methods' own mailer, for mails that are no deliveries.
fn mailer(methods: Arc<Methods>) -> Mailer {
    Mailer::new(move |to, letter| {
        let methods = Arc::clone(&methods);
        async move { methods.mail(&to, &letter, jiff::Timestamp::now()).await.map_err(|cause| cause.to_string()) }
    })
}

/// The receivers that the methods may dial, as far as a URL shows it.
fn reach(outbound: &Outbound) -> Reach {
    let (hosts, ports) = (AddressRules::new(&outbound.allow, &outbound.deny), outbound.ports.clone());
    Reach::new(move |url| {
        if hosts.allow_url(url) { ports.closed_port_of(url).map(Closed::Port) } else { Some(Closed::Host) }
    })
}

/// Where receivers call back. A process that serves no API knows no address of one but the public one.
fn callbacks(config: &Config, url: &str) -> Option<Callbacks> {
    let own = config.roles.contains(&Role::Api).then(|| url.to_owned());
    let Some(public_url) = config.public_url.clone().or(own) else {
        warn!("`public_url` is not set: receivers of Docker Hub's payload are told of no place to call back");
        return None;
    };
    Some(Callbacks { public_url, patience: config.callback_wait })
}

/// Tries an endpoint by one attempt that leaves no trace.
fn trial(methods: Arc<Methods>) -> Trial {
    Trial::new(move |notification, event, now| {
        let methods = Arc::clone(&methods);
        async move {
            let checked = notification.check().map_err(|error| error.to_string())?;
            let delivery = DeliveryId::derive(&event.source, &event.id, notification.id);
            let attempt = Attempt {
                delivery,
                number: 1,
                event: &event,
                notification: &notification,
                checked: &checked,
                now,
            };
            let report = methods.attempt(attempt).await;
            report.outcome.cause().map_or(Ok(()), |cause| Err(cause.to_string()))
        }
    })
}

/// Answers probes on the process's own port until it has its store. Dropped, it ends as well.
struct Early {
    stop: DropGuard,
    answering: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Early {
    fn answer(listener: TcpListener, limits: ServerLimits) -> anyhow::Result<(TcpListener, Self)> {
        let listener = listener.into_std()?;
        let same_port = TcpListener::from_std(listener.try_clone()?)?;
        let stop = CancellationToken::new();
        let serving = bellbuoy_api::serve(same_port, bellbuoy_api::waiting(), stop.clone(), limits);
        let early = Self { stop: stop.drop_guard(), answering: tokio::spawn(serving) };
        Ok((TcpListener::from_std(listener)?, early))
    }

    /// Connections that come from now on are for those who can serve them.
    async fn end(self) {
        drop(self.stop);
        // Whatever it ended with, the listener's other half goes on.
        let _ = self.answering.await;
    }
}

/// The workers while they are started.
struct Crew {
    broker: Broker,
    store: Store,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    workers: JoinSet<()>,
    readiness: Readiness,
    stalled_after: Duration,
    slots: Option<Arc<Slots>>,
}

impl Crew {
    fn start(&mut self, config: &Config, methods: &Arc<Methods>) {
        let wishes = Arc::new(Wishes::new(self.store.clone()));
        let gate = Arc::new(gate(config));
        for role in &config.roles {
            match role {
                Role::Api => {}
                Role::Fanout => self.start_fanout(config, &wishes),
                Role::Deliver => {
                    self.start_deliver(config, methods, &wishes, &gate);
                    self.start_slots(config, &gate);
                }
                Role::Record => self.start_recorder(config),
            }
        }
        self.watch(gate);
    }

    /// What stands on RabbitMQ, if it is one.
    fn look_at_topology(&mut self, config: &Config) {
        let BrokerUrl::RabbitMq(url) = &config.broker else { return };
        let standing = Arc::new(Standing::new(url.clone(), open::rabbitmq_options(config)));
        self.workers.spawn(Arc::clone(&standing).follow(self.broker.clone(), self.shutdown.clone()));
        let readiness = std::mem::take(&mut self.readiness);
        self.readiness = readiness.with("topology", move || standing.check());
    }

    fn start_fanout(&mut self, config: &Config, wishes: &Arc<Wishes>) {
        let vital = self.vital("fanout");
        let fanout = Arc::new(Fanout {
            broker: self.broker.clone(),
            store: self.store.clone(),
            wishes: Arc::clone(wishes),
            metrics: Arc::clone(&self.metrics),
            vital: Arc::clone(&vital),
            shards: config.shards,
            limits: FanoutLimits::default(),
        });
        self.supervise("fanout", vital, move |shutdown| Arc::clone(&fanout).run(shutdown));
        let vital = self.vital("digest");
        let digests = Arc::new(Digests {
            broker: self.broker.clone(),
            store: self.store.clone(),
            metrics: Arc::clone(&self.metrics),
            vital: Arc::clone(&vital),
            shards: config.shards,
        });
        self.supervise("digest", vital, move |shutdown| Arc::clone(&digests).run(shutdown));
    }

    fn start_deliver(
        &mut self,
        config: &Config,
        methods: &Arc<Methods>,
        wishes: &Arc<Wishes>,
        gate: &Arc<Gate>,
    ) {
        for method in config.methods.iter().copied() {
            let role = deliver_role(method);
            let vital = self.vital_of(role, self.stalled_after.max(longest_attempt(config)));
            let deliver = Arc::new(Deliver {
                method,
                broker: self.broker.clone(),
                wishes: Arc::clone(wishes),
                methods: Arc::clone(methods),
                gate: Arc::clone(gate),
                policy: config.retry.clone(),
                metrics: Arc::clone(&self.metrics),
                vital: Arc::clone(&vital),
                shards: config.shards,
                limits: DeliverLimits { in_flight: config.in_flight, drain: config.drain },
            });
            self.supervise(role, vital, move |shutdown| Arc::clone(&deliver).run(shutdown));
        }
    }

    fn start_slots(&mut self, config: &Config, gate: &Arc<Gate>) {
        if !config.is_of_a_fleet() {
            return;
        }
        let vital = self.vital("slots");
        let slots = Arc::new(Slots {
            gate: Arc::clone(gate),
            store: self.store.clone(),
            process: Uuid::new_v4(),
            metrics: Arc::clone(&self.metrics),
            vital: Arc::clone(&vital),
        });
        self.slots = Some(Arc::clone(&slots));
        self.supervise("slots", vital, move |shutdown| Arc::clone(&slots).run(shutdown));
    }

    // Workers, each with a sign of life of its own.
    fn start_recorder(&mut self, config: &Config) {
        let record = self.recorder("record", config);
        let vital = Arc::clone(&record.vital);
        self.supervise("record", vital, move |shutdown| Arc::clone(&record).run_outcomes(shutdown));
        let record = self.recorder("archive", config);
        let vital = Arc::clone(&record.vital);
        self.supervise("archive", vital, move |shutdown| Arc::clone(&record).run_dead_letters(shutdown));
        let record = self.recorder("retention", config);
        let vital = Arc::clone(&record.vital);
        self.supervise("retention", vital, move |shutdown| Arc::clone(&record).run_retention(shutdown));
        let record = self.recorder("chains", config);
        let vital = Arc::clone(&record.vital);
        self.supervise("chains", vital, move |shutdown| Arc::clone(&record).run_chains(shutdown));
        let record = self.recorder("probation", config);
        let vital = Arc::clone(&record.vital);
        self.supervise("probation", vital, move |shutdown| Arc::clone(&record).run_probation(shutdown));
    }

    fn recorder(&mut self, role: &'static str, config: &Config) -> Arc<Record> {
        Arc::new(Record {
            vital: self.vital(role),
            broker: self.broker.clone(),
            store: self.store.clone(),
            metrics: Arc::clone(&self.metrics),
            limits: RecordLimits {
                failures: config.failures,
                back_after: config.back_after,
                ..RecordLimits::default()
            },
            shards: config.shards,
            retention: Retention { keep: config.keep, keep_audit: config.keep_audit, ..Retention::default() },
        })
    }

    fn vital(&mut self, name: &'static str) -> Arc<Vital> {
        self.vital_of(name, self.stalled_after)
    }

    fn vital_of(&mut self, name: &'static str, stalled_after: Duration) -> Arc<Vital> {
        let vital = Arc::new(Vital::stalled_after(stalled_after));
        let seen = Arc::clone(&vital);
        let readiness = std::mem::take(&mut self.readiness);
        self.readiness = readiness.with(name, move || seen.check());
        vital
    }

    fn supervise<F>(
        &mut self,
        role: &'static str,
        vital: Arc<Vital>,
        worker: impl Fn(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), bellbuoy_workers::WorkerError>> + Send + 'static,
    {
        series::start_worker(&self.metrics, role);
        let (metrics, shutdown) = (Arc::clone(&self.metrics), self.shutdown.clone());
        let stop = shutdown.clone();
        self.workers.spawn(async move {
            supervise(role, vital, metrics, shutdown, move || worker(stop.clone())).await;
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 receivers")]
    fn watch(&mut self, gate: Arc<Gate>) {
        let (broker, metrics, shutdown) =
            (self.broker.clone(), Arc::clone(&self.metrics), self.shutdown.clone());
        self.workers.spawn(async move {
            let mut shown = ShownQueues::default();
            loop {
                shown.show(&broker.depths(), &metrics);
                if let Some(now) = broker.connections() {
                    let figure = |holds| if holds { 1.0 } else { 0.0 };
                    metrics.set(Gauge::BrokerConnected, &["publish"], figure(now.publishing));
                    metrics.set(Gauge::BrokerConnected, &["consume"], figure(now.consuming));
                    metrics.set(Gauge::BrokerBlocked, &[], figure(now.blocked));
                }
                metrics.set(Gauge::CircuitsOpen, &[], gate.open_circuits() as f64);
                metrics.set(Gauge::ReceiversInPeace, &[], gate.in_peace() as f64);
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
    }
}

fn gate(config: &Config) -> Gate {
    let limits = GateLimits {
        per_notification: config.per_notification,
        per_host: config.per_host,
        circuit_failures: config.circuit_failures,
        retries: GateLimits::retries_of(config.in_flight),
        rate: config.rate,
        rate_per_host: config.rate_per_host,
    };
    if !config.is_of_a_fleet() {
        return Gate::new(limits);
    }
    Gate::in_fleet(limits, LeaseTerms { attempt: longest_attempt(config), spare: config.slot_lease })
}

fn longest_attempt(config: &Config) -> Duration {
    config.deadline.max(config.smtp.deadline) + OVER_DEADLINE
}

/// The signals that ask the process to stop. They are heard from when it is made: before that they kill it, or, if it is
/// the first of its container, do nothing at all.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Has the next one end the process at once.
    pub(crate) fn end_at_the_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            warn!("second signal: stopping at once; what was in hand goes on at the next start");
            #[expect(clippy::disallowed_methods, reason = "asked for, and as safe as a crash")]
            std::process::exit(1);
        });
    }
}
