//! The settings: one TOML file, each key also from the environment, all mistakes found at once.
//!
//! A key `limits.in_flight` is `BELLBUOY_LIMITS__IN_FLIGHT` in the environment, which wins over the
//! file. `KEY_FILE` in either place names a file that holds the value. What Kubernetes tells there of a Service of our
//! name is passed over. Nothing here reads the
//! process's environment: the caller hands it in.

mod keys;
mod parse;
mod source;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use bellbuoy_broker::{BrokerUrl, Shards};
use bellbuoy_domain::{AccountName, EmailAddress, MethodName, RetryPolicy};
use bellbuoy_methods::{
    SmtpSecurity,
    http::{PortRules, Proxy},
};
use bellbuoy_store::SecretKeys;
use bellbuoy_telemetry::{LogFilter, LogFormat};
use ipnet::IpNet;

pub(crate) use self::keys::{KEYS, Key};
pub(crate) use self::parse::is_token;
pub(crate) use self::source::Setting;
use self::source::Source;

/// What methods should be.
const METHODS: &str = "methods such as webhook,quay_notification";

/// What a broker's address should be.
const BROKER_URL: &str = "`embedded:` or amqp[s]://user:password@host:port,host:port/vhost";

/// A value that must not be shown: it prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(String);

impl Hidden {
    /// The value itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••••")
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes events, answers the API.
    Api,
    /// Expands events into deliveries.
    Fanout,
    /// Makes attempts.
    Deliver,
    /// Writes history and dead letters down.
    Record,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 4] = [Self::Api, Self::Fanout, Self::Deliver, Self::Record];

    const EXPECTED: &str = "some of api,fanout,deliver,record";

    fn parse(word: &str) -> Option<Self> {
        match word {
            "api" => Some(Self::Api),
            "fanout" => Some(Self::Fanout),
            "deliver" => Some(Self::Deliver),
            "record" => Some(Self::Record),
            _ => None,
        }
    }
}

/// Where history and notifications are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// A file in the data directory.
    Sqlite,
    /// A database; the URL holds its password.
    Postgres(Hidden),
}

impl StoreUrl {
    const EXPECTED: &str = "`sqlite:` or postgres://user:password@host:port/database";

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("sqlite", "") => Some(Self::Sqlite),
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => {
                Some(Self::Postgres(Hidden(text.to_owned())))
            }
            _ => None,
        }
    }
}

/// What the program runs by. Each member's key is in [`KEYS`], with what it means.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) roles: Vec<Role>,
    pub(crate) methods: Vec<MethodName>,
    pub(crate) public_url: Option<String>,
    pub(crate) registry_url: String,
    pub(crate) registry_title: String,
    pub(crate) broker: BrokerUrl,
    pub(crate) broker_ca: Option<PathBuf>,
    pub(crate) broker_certificate: Option<PathBuf>,
    pub(crate) broker_key: Option<PathBuf>,
    pub(crate) heartbeat: Duration,
    pub(crate) delay_tolerance: u8,
    pub(crate) store: StoreUrl,
    pub(crate) secret_keys: SecretKeys,
    pub(crate) delivery_limit: NonZeroU32,
    pub(crate) admin_token: Option<Hidden>,
    pub(crate) registry_tokens: Option<RegistryTokensConfig>,
    pub(crate) open_metrics: bool,
    pub(crate) readonly_superusers: Vec<AccountName>,
    pub(crate) read_only: bool,
    pub(crate) github_secret: Option<Hidden>,
    pub(crate) allow: Vec<IpNet>,
    pub(crate) deny: Vec<IpNet>,
    pub(crate) ports: PortRules,
    pub(crate) name_servers: Vec<SocketAddr>,
    pub(crate) deadline: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) tls_timeout: Duration,
    pub(crate) head_timeout: Duration,
    pub(crate) connections_per_host: NonZeroUsize,
    pub(crate) allow_skip_verification: bool,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) max_response_bytes: usize,
    pub(crate) max_header_bytes: usize,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) extra_ca: Option<PathBuf>,
    pub(crate) smtp: SmtpConfig,
    pub(crate) hipchat_url: Option<String>,
    pub(crate) flowdock_url: Option<String>,
    pub(crate) callback_wait: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) in_flight: NonZeroUsize,
    pub(crate) per_notification: NonZeroUsize,
    pub(crate) per_host: NonZeroUsize,
    pub(crate) circuit_failures: NonZeroU32,
    pub(crate) slot_lease: Duration,
    pub(crate) rate: Option<NonZeroU32>,
    pub(crate) rate_per_host: Option<NonZeroU32>,
    pub(crate) shards: Shards,
    pub(crate) drain: Duration,
    pub(crate) stalled_after: Duration,
    pub(crate) connections: NonZeroUsize,
    pub(crate) failures: u32,
    pub(crate) back_after: Option<Duration>,
    pub(crate) keep: Duration,
    pub(crate) keep_audit: Duration,
    pub(crate) log_filter: LogFilter,
    pub(crate) log_format: LogFormat,
    /// Every key with its text and where that came from, for `config show`.
    pub(crate) settings: Vec<Setting>,
}

/// The mail server.
#[derive(Debug, Clone)]
pub(crate) struct SmtpConfig {
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
    pub(crate) security: SmtpSecurity,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Hidden>,
    pub(crate) sender: Option<EmailAddress>,
    pub(crate) hello: Option<String>,
    pub(crate) deadline: Duration,
    pub(crate) connections: NonZeroUsize,
}

impl SmtpConfig {
    fn read<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> Self {
        source.both_or_neither("smtp.host", "smtp.from");
        source.both_or_neither("smtp.user", "smtp.password");
        let smtp = Self {
            host: source.optional("smtp.host", parse::HOST, parse::host),
            port: source.get("smtp.port", "a port from 1 to 65535", |text| {
                text.parse().ok().filter(|port| *port > 0)
            }),
            security: source.get("smtp.security", "starttls, tls or none", parse::smtp_security),
            user: source.optional("smtp.user", "a user's name", parse::one_line),
            password: source.optional("smtp.password", "a password", |text| Some(Hidden(text.to_owned()))),
            sender: source.optional("smtp.from", "an address such as bells@example.com", EmailAddress::parse),
            hello: source.optional("smtp.hello", parse::HOST, parse::host),
            deadline: source.get("smtp.deadline_seconds", parse::SECONDS, parse::seconds),
            connections: source.get("smtp.connections", "a whole number from 1", |text| text.parse().ok()),
        };
        if smtp.user.is_some() && smtp.security == SmtpSecurity::None {
            let expected = "starttls or tls, because a password is not sent in the clear".to_owned();
            source.refuse("smtp.security", expected);
        }
        smtp
    }
}

/// A setting that will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingError {
    /// The file is not TOML.
    #[error("{path} is not TOML: {problem}")]
    NotToml {
        /// The file.
        path: String,
        /// Where and why.
        problem: String,
    },
    /// No setting has that name.
    #[error("{place} is not a setting{}", suggestion.as_ref().map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
    Unknown {
        /// As it was written.
        place: String,
        /// The nearest name.
        suggestion: Option<String>,
    },
    /// Its value is not of the kind it should be.
    #[error("{place} is `{value}`, but should be {expected}")]
    Invalid {
        /// As it was written.
        place: String,
        /// What stands there; dots for a secret.
        value: String,
        /// What should.
        expected: String,
    },
    /// The file that should hold its value can't be read.
    #[error("{place} names the file {file}, which can't be read: {problem}")]
    NoFile {
        /// As it was written.
        place: String,
        /// The file.
        file: String,
        /// What the system said.
        problem: String,
    },
    /// One is there and what it needs is not.
    #[error("`{present}` is set, but `{missing}` is not; set both or neither")]
    Half {
        /// Which is.
        present: &'static str,
        /// Which is not.
        missing: &'static str,
    },
}

/// The configuration file, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    /// Its path, for messages.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// Reads the settings from a file, if there is one, and from the environment's variables.
///
/// `read_file` reads the files that `..._FILE` keys name.
///
/// # Errors
///
/// Every mistake there is, each naming key, value and remedy.
pub(crate) fn load(
    file: Option<&ConfigFile>,
    environment: &BTreeMap<String, String>,
    read_file: impl Fn(&str) -> std::io::Result<String>,
) -> Result<Config, Vec<SettingError>> {
    let mut source = Source::new(file, environment, read_file);
    let config = Config {
        listen: source.get("listen", "an address and port such as 127.0.0.1:8080", |text| text.parse().ok()),
        data_dir: source.get("data_dir", "a directory", |text| Some(PathBuf::from(text))),
        roles: source.get("roles", Role::EXPECTED, roles),
        methods: source.get("methods", METHODS, methods),
        public_url: source.optional(
            "public_url",
            "a URL such as https://bellbuoy.example.com",
            parse::base_url,
        ),
        registry_url: source.get(
            "registry.url",
            "a URL such as https://registry.example.com",
            parse::base_url,
        ),
        registry_title: source.get("registry.title", "a title", |text| Some(text.to_owned())),
        broker: source.get("broker.url", BROKER_URL, |text| text.parse().ok()),
        broker_ca: source.optional("broker.ca", parse::PATH, |text| Some(PathBuf::from(text))),
        broker_certificate: source
            .optional("broker.client_certificate", parse::PATH, |text| Some(PathBuf::from(text))),
        broker_key: source.optional("broker.client_key", parse::PATH, |text| Some(PathBuf::from(text))),
        heartbeat: heartbeat(&mut source),
        delay_tolerance: delay_tolerance(&mut source),
        store: source.get("store.url", StoreUrl::EXPECTED, StoreUrl::parse),
        secret_keys: secret_keys(&mut source),
        delivery_limit: source
            .get("broker.delivery_limit", "a whole number from 1", |text| text.parse().ok()),
        admin_token: source.optional(
            "auth.admin_token",
            "a token of at least 16 visible ASCII characters",
            |text| is_token(text).then(|| Hidden(text.to_owned())),
        ),
        registry_tokens: RegistryTokensConfig::read(&mut source),
        open_metrics: source.get("auth.open_metrics", "true or false", |text| text.parse().ok()),
        readonly_superusers: source.get("auth.readonly_superusers", parse::ACCOUNTS, parse::accounts),
        read_only: source.get("api.read_only", "true or false", |text| text.parse().ok()),
        github_secret: source
            .optional("ingest.github_secret", "a text", |text| Some(Hidden(text.to_owned()))),
        allow: source.get("outbound.allow", parse::NETWORKS, parse::networks),
        deny: source.get("outbound.deny", parse::NETWORKS, parse::networks),
        ports: source.get("outbound.ports", parse::PORTS, |text| text.parse().ok()),
        name_servers: source.get("outbound.name_servers", parse::NAME_SERVERS, parse::name_servers),
        deadline: source.get("outbound.deadline_seconds", parse::SECONDS, parse::seconds),
        connect_timeout: source.get("outbound.connect_timeout_seconds", parse::SECONDS, parse::seconds),
        tls_timeout: source.get("outbound.tls_timeout_seconds", parse::SECONDS, parse::seconds),
        head_timeout: source.get("outbound.head_timeout_seconds", parse::SECONDS, parse::seconds),
        connections_per_host: source.get("outbound.connections_per_host", parse::COUNT, parse::count),
        allow_skip_verification: source
            .get("outbound.allow_skip_verification", "true or false", |text| text.parse().ok()),
        proxy: proxy(&mut source),
        max_response_bytes: source.get("outbound.max_response_bytes", parse::BYTES, parse::bytes),
        max_header_bytes: source.get(
            "outbound.max_header_bytes",
            "a whole number of bytes from 8192",
            |text| parse::bytes(text).filter(|bytes| *bytes >= 8192),
        ),
        client_certificate: source
            .optional("outbound.client_certificate", parse::PATH, |text| Some(PathBuf::from(text))),
        client_key: source.optional("outbound.client_key", parse::PATH, |text| Some(PathBuf::from(text))),
        extra_ca: source.optional("outbound.extra_ca", parse::PATH, |text| Some(PathBuf::from(text))),
        smtp: SmtpConfig::read(&mut source),
        hipchat_url: source.optional("hipchat.base_url", parse::SERVICE, parse::base_url),
        flowdock_url: source.optional("flowdock.base_url", parse::SERVICE, parse::base_url),
        callback_wait: source.get("callbacks.wait_seconds", parse::SECONDS, parse::seconds),
        retry: retry(&mut source),
        in_flight: source.get("limits.in_flight", parse::COUNT, parse::count),
        per_notification: source.get("limits.per_notification", parse::COUNT, parse::count),
        per_host: source.get("limits.per_host", parse::COUNT, parse::count),
        circuit_failures: source.get("limits.circuit_failures", parse::COUNT, parse::count),
        rate: source.optional("limits.rate", parse::RATE, parse::rate),
        rate_per_host: source.optional("limits.rate_per_host", parse::RATE, parse::rate),
        slot_lease: source.get("limits.slot_lease_seconds", parse::SECONDS, parse::seconds),
        shards: Shards::new(source.get("limits.shards", "a whole number from 1 to 64", |text| {
            text.parse().ok().filter(|count: &NonZeroU16| count.get() <= 64)
        })),
        drain: source.get("limits.drain_seconds", parse::SECONDS, parse::seconds),
        stalled_after: source.get("limits.stalled_after_seconds", parse::SECONDS, parse::seconds),
        connections: source.get("limits.connections", "a whole number from 1", |text| text.parse().ok()),
        failures: source
            .get("limits.failures", "a whole number from 1", |text| text.parse().ok().filter(|n| *n > 0)),
        back_after: source.optional("limits.back_after_seconds", parse::SECONDS, parse::seconds),
        keep: source.get("history.keep_days", "a whole number of days from 1 to 3650", parse::days),
        keep_audit: source.get("history.audit_days", "a whole number of days from 1 to 3650", parse::days),
        log_filter: source.get("log.filter", parse::LOG_FILTER, |text| text.parse().ok()),
        log_format: source.get("log.format", "auto, text or json", parse::log_format),
        settings: source.settings(),
    };
    check_embedded(&mut source, &config);
    check_store(&mut source, &config);
    whole_sets(&mut source);
    source.finish(config)
}

fn heartbeat<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> Duration {
    source.get("broker.heartbeat_seconds", "a whole number of seconds from 1 to 600", |text| {
        parse::seconds(text).filter(|seconds| seconds.as_secs() <= 600)
    })
}

fn roles(text: &str) -> Option<Vec<Role>> {
    parse::set(text, Role::parse)
}

fn methods(text: &str) -> Option<Vec<MethodName>> {
    parse::set(text, |name| name.parse().ok())
}

/// The text of a flag that stands for `roles`, if that takes it.
pub(crate) fn roles_flag(text: &str) -> Result<String, String> {
    roles(text).map(|_| text.to_owned()).ok_or_else(|| format!("should be {}", Role::EXPECTED))
}

/// The text of a flag that stands for `methods`, if that takes it.
pub(crate) fn methods_flag(text: &str) -> Result<String, String> {
    methods(text).map(|_| text.to_owned()).ok_or_else(|| format!("should be {METHODS}"))
}

fn delay_tolerance<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> u8 {
    source.get("broker.delay_tolerance_percent", "a whole number of percent from 0 to 10", |text| {
        text.parse().ok().filter(|percent| *percent <= 10)
    })
}

fn secret_keys<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> SecretKeys {
    source.optional("store.secret_key", parse::SECRET_KEYS, SecretKeys::parse).unwrap_or_default()
}

fn proxy<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> Option<Proxy> {
    let proxy = source.optional("outbound.proxy", parse::PROXY, Proxy::parse);
    // Its exceptions are looked at even without it, so that a mistake in them shows at once.
    let any = Proxy::parse("http://localhost")?;
    let exceptions = source.get("outbound.no_proxy", parse::NO_PROXY, |text| {
        let items: Vec<String> = parse::words(text);
        any.clone().exempting(items.iter().map(String::as_str)).map(|_| items)
    });
    proxy.and_then(|proxy| proxy.exempting(exceptions.iter().map(String::as_str)))
}

impl Config {
    /// Whether other processes may serve the same receivers: not those that the embedded broker or the store in a
    /// file keeps out.
    pub(crate) fn is_of_a_fleet(&self) -> bool {
        self.broker != BrokerUrl::Embedded && self.store != StoreUrl::Sqlite
    }
}

/// Refuses what a broker in the process itself can't do.
fn check_embedded<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>, config: &Config) {
    if config.broker == BrokerUrl::Embedded && config.roles.len() < Role::ALL.len() {
        source.refuse(
            "roles",
            "all of api,fanout,deliver,record, because the embedded broker serves one process".to_owned(),
        );
    }
    if config.broker == BrokerUrl::Embedded && config.shards != Shards::ONE {
        source.refuse(
            "limits.shards",
            "1, because the embedded broker has no queue leaders to spread over".to_owned(),
        );
    }
}

/// Refuses parameters of a URL that would be ignored, a misspelt password among them.
fn check_store<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>, config: &Config) {
    let StoreUrl::Postgres(url) = &config.store else { return };
    if let Some(name) = parse::unknown_store_parameter(url.reveal()) {
        let known = parse::STORE_PARAMETERS.join(", ");
        source.refuse("store.url", format!("without the parameter `{name}`; known are {known}"));
    }
}

/// Settings that say nothing without each other.
fn whole_sets<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) {
    source.both_or_neither("auth.registry_issuer", "auth.registry_keys");
    source.both_or_neither("auth.registry_audience", "auth.registry_keys");
    source.both_or_neither("broker.client_certificate", "broker.client_key");
    source.both_or_neither("outbound.client_certificate", "outbound.client_key");
}

/// Whose registry tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryTokensConfig {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) keys: KeyDocument,
}

/// Where public keys are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyDocument {
    /// A file of ours.
    File(PathBuf),
    /// The URL of a document of the issuer's.
    Url(String),
}

impl RegistryTokensConfig {
    fn read<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> Option<Self> {
        let issuer = source.optional("auth.registry_issuer", "a text", parse::one_line);
        let audience = source.optional("auth.registry_audience", "a text", parse::one_line);
        let keys = source.optional("auth.registry_keys", parse::KEYS, parse::key_document);
        Some(Self { issuer: issuer?, audience: audience?, keys: keys? })
    }
}

fn retry<F: Fn(&str) -> std::io::Result<String>>(source: &mut Source<'_, F>) -> RetryPolicy {
    let steps = source.get("retry.steps", parse::STEPS, parse::steps);
    let longest_hint = source.get("retry.longest_hint_seconds", parse::SECONDS, parse::seconds);
    let attempts =
        source.get("retry.client_error_attempts", "a whole number from 1", |text| text.parse().ok());
    RetryPolicy::new(steps, longest_hint, attempts).unwrap_or_else(|problem| {
        source.refuse("retry.steps", problem.to_string());
        RetryPolicy::default()
    })
}

#[cfg(test)]
mod tests;

/// The example file: every setting with what it means and its default, commented out with `#: `.
pub(crate) fn example() -> String {
    let mut lines = vec![
        "# Every setting of Bellbuoy with its default. A line that begins with `#: ` is one to uncomment."
            .to_owned(),
        "# Each can also be set in the environment: `limits.in_flight` is BELLBUOY_LIMITS__IN_FLIGHT."
            .to_owned(),
        "# A key with `_file` at its end (a variable with `_FILE`) names a file that holds the value."
            .to_owned(),
    ];
    let mut table = "";
    for key in KEYS {
        let (in_table, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if in_table != table {
            table = in_table;
            lines.extend([String::new(), format!("[{table}]")]);
        }
        lines.extend([String::new(), format!("# {}", key.meaning), format!("#: {name} = {:?}", key.default)]);
    }
    lines.join("\n") + "\n"
}
