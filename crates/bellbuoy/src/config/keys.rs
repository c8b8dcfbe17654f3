//! Every setting: its key, its default, what it means. The example file and the documentation
//! are this table.

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in the file.
    pub(crate) name: &'static str,
    /// What it is if nobody says otherwise; empty for nothing.
    pub(crate) default: &'static str,
    /// Whether its value must not be shown.
    pub(crate) secret: bool,
    /// What it means, with its unit.
    pub(crate) meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, secret: false, meaning }
}

const fn secret(name: &'static str, meaning: &'static str) -> Key {
    Key { name, default: "", secret: true, meaning }
}

/// All of them, in the order of the documentation.
pub(crate) const KEYS: &[Key] = &[
    key("listen", "127.0.0.1:8080", "Address and port of the API. Port 0 takes a free one."),
    key(
        "data_dir",
        "bellbuoy-data",
        "Directory of the embedded broker and store; made if it is not there, readable by its owner only.",
    ),
    key(
        "roles",
        "api,fanout,deliver,record",
        "What this process does. All of it on the embedded broker; in a fleet some of it, any number of times.",
    ),
    key(
        "methods",
        "webhook,quay_notification,email,slack,mattermost,rocketchat,teams,discord,hipchat,flowdock",
        "Which methods the deliver role serves.",
    ),
    key(
        "public_url",
        "",
        "Base URL under which clients reach the API. Without it, http:// and the address listened on.",
    ),
    key(
        "registry.url",
        "http://localhost:5000",
        "Public base URL of the registry: its host stands in image references, and links in payloads begin with it.",
    ),
    key("registry.title", "Registry", "What people call the registry."),
    key(
        "broker.url",
        "embedded:",
        "The broker. `embedded:` is durable, in the data directory, for one process; amqp[s]://user:password@host:port,host:port/vhost is RabbitMQ 3.10 or later.",
    ),
    key("broker.ca", "", "PEM file of certificates that RabbitMQ's may be signed by, beside the platform's."),
    key("broker.client_certificate", "", "PEM file of the certificate shown to RabbitMQ."),
    key("broker.client_key", "", "PEM file of that certificate's key."),
    key(
        "broker.heartbeat_seconds",
        "10",
        "How long RabbitMQ may be silent; after twice that a connection is given up, and made anew with the next node.",
    ),
    key(
        "broker.delay_tolerance_percent",
        "1",
        "How late a wait on RabbitMQ may end, in percent of it, where that is more than a second, but no more than 20 s. 0 keeps waits of any length to the second, by up to half as many hops more; never is one early.",
    ),
    key(
        "broker.delivery_limit",
        "5",
        "How often a message may be in the hands of a dying worker before it becomes a dead letter.",
    ),
    key(
        "store.url",
        "sqlite:",
        "The store. `sqlite:` is a file in the data directory; postgres://user:password@host:port/database is PostgreSQL 14 or later, with parameters such as ?sslmode=verify-full.",
    ),
    secret(
        "store.secret_key",
        "Keys that webhooks' settings and secrets are encrypted with in the store, separated by commas: 32 bytes each, in base64 or hex (`bellbuoy secrets new-key` makes one). The first writes, all read; the same in every process. Without one they are stored as they are.",
    ),
    secret(
        "auth.admin_token",
        "The token that may do everything. Without it, one is made at the first start and kept in the data directory, in the file `admin-token`.",
    ),
    key(
        "auth.registry_issuer",
        "",
        "The issuer (`iss`) whose registry tokens are taken: what the Docker registry token specification describes, RS256, ES256 or EdDSA. What a token grants on a repository it grants here: `*` its notifications. Set all three of auth.registry_*, or none.",
    ),
    key("auth.registry_audience", "", "The audience (`aud`) that those tokens have to be for."),
    key(
        "auth.registry_keys",
        "",
        "The public keys that they are signed with: a file of PEM, a JWK or a JWK set, or the URL of a JWK set, which outbound.* has to allow. Read again every five minutes, and for a key that is not known.",
    ),
    key(
        "auth.open_metrics",
        "false",
        "Whether /metrics answers without a token, and /readyz says why it fails.",
    ),
    key(
        "auth.readonly_superusers",
        "",
        "Accounts, separated by commas, that are shown whatever a superuser is shown, within the scopes of their credentials, and change no more than others: Quay's GLOBAL_READONLY_SUPER_USERS.",
    ),
    key(
        "api.read_only",
        "false",
        "Whether the API takes events, callbacks and logins only: whatever else is not a GET is answered 503, as by a Quay that is read-only. Delivering goes on.",
    ),
    secret(
        "ingest.github_secret",
        "The secret of the webhooks by which GitHub reports packages. With it, what it signs needs no token.",
    ),
    key(
        "outbound.allow",
        "",
        "Networks that deliveries may reach although they are not public, such as 10.1.0.0/16. The most specific network decides. In a fleet the API's processes need this too: they take no notification for an address that it does not open.",
    ),
    key(
        "outbound.deny",
        "",
        "Networks that deliveries may not reach although they are public, or although a wider one is allowed. They are closed to mail as well.",
    ),
    key(
        "outbound.ports",
        "80,443,1024-65535",
        "Ports of receivers that deliveries may go to. Where a range holds the port of a database, a broker or the like (6379, 5432, 11211 and so on), that is closed unless it is named by itself. In a fleet the API's processes need this too: they take no notification for a port that it closes.",
    ),
    key(
        "outbound.name_servers",
        "",
        "Name servers that look up the hosts of receivers, such as 10.0.0.53 or 10.0.0.53:5353,[fd00::53]:53; all are asked at once. Without, the system's resolver does, at most 64 names at a time, so that name servers that stay silent can keep other receivers waiting.",
    ),
    key(
        "outbound.deadline_seconds",
        "15",
        "The most that one attempt takes, from the look-up of the name to the last byte of the answer.",
    ),
    key(
        "outbound.connect_timeout_seconds",
        "5",
        "The most that looking a name up takes, and again the most that connecting takes.",
    ),
    key("outbound.tls_timeout_seconds", "5", "The most that a TLS handshake takes."),
    key(
        "outbound.head_timeout_seconds",
        "15",
        "The most that the head of an answer takes, from when its request has a connection.",
    ),
    key(
        "outbound.max_response_bytes",
        "1048576",
        "Largest answer that is read; a larger one is a failed attempt.",
    ),
    key(
        "outbound.max_header_bytes",
        "65536",
        "Largest head of an answer that is read; a larger one is a failed attempt.",
    ),
    key(
        "outbound.connections_per_host",
        "128",
        "Most connections to one host and port, in use or not, per process.",
    ),
    key(
        "outbound.client_certificate",
        "",
        "PEM file of the certificate shown to receivers that ask for one. This file, its key and outbound.extra_ca are read again when they change.",
    ),
    key("outbound.client_key", "", "PEM file of that certificate's key."),
    key("outbound.extra_ca", "", "PEM file of certificates trusted beside the platform's."),
    key(
        "outbound.allow_skip_verification",
        "false",
        "Whether a webhook may say `skip_tls_verification`, so that its receiver's certificate is not checked. Never for all.",
    ),
    secret(
        "outbound.proxy",
        "Proxy that receivers are reached through: http://user:password@host:port (CONNECT), socks5:// (names are looked up here) or socks5h:// (by the proxy). docs/webhooks.md says what the network rules can check then. Mail does not go through it.",
    ),
    key(
        "outbound.no_proxy",
        "",
        "What goes past the proxy: hosts with all below them, addresses, networks, or `*`.",
    ),
    key(
        "smtp.host",
        "",
        "The mail server, by name or address. It may be private, but not where outbound.deny closes, nor link-local. Without one, mails wait until there is.",
    ),
    key("smtp.port", "587", "The mail server's port: 587 with starttls, 465 with tls."),
    key(
        "smtp.security",
        "starttls",
        "How the connection to the mail server is made safe: starttls, tls (from the first byte) or none. Its certificate may be signed by one of outbound.extra_ca.",
    ),
    key("smtp.user", "", "The user to log in as; nobody if empty."),
    secret("smtp.password", "That user's password."),
    key("smtp.from", "", "Address that mails are from, such as bells@example.com."),
    key("smtp.hello", "", "What this machine calls itself to the mail server; its own name if empty."),
    key("smtp.deadline_seconds", "30", "The most that sending one mail takes, connecting included."),
    key("smtp.connections", "8", "Most connections to the mail server, per process."),
    key(
        "hipchat.base_url",
        "",
        "Base URL of a server that speaks HipChat's protocol. The service itself has closed: without this, its deliveries become dead letters at once.",
    ),
    key(
        "flowdock.base_url",
        "",
        "Base URL of a server that speaks Flowdock's protocol. The service itself has closed: without this, its deliveries become dead letters at once.",
    ),
    key(
        "callbacks.wait_seconds",
        "86400",
        "How long a receiver of Docker Hub's payload may take to call back, from its last request on; then its chain of webhooks ends.",
    ),
    key(
        "retry.steps",
        "5s,5m,30m,2h,5h,10h,14h,20h,24h",
        "Wait after the first failed attempt, the second, and so on; each is drawn between half and all of it. One attempt more than steps, then the delivery is given up.",
    ),
    key("retry.longest_hint_seconds", "86400", "The longest wait that a receiver's Retry-After can ask for."),
    key(
        "retry.client_error_attempts",
        "3",
        "Attempts on a client error (4xx, but for 401, 403, 407, 408, 409, 425 and 429) before the delivery is given up.",
    ),
    key(
        "limits.in_flight",
        "256",
        "Most attempts in flight, per method and process; of those, three quarters at most follow an earlier one.",
    ),
    key(
        "limits.per_notification",
        "32",
        "Most attempts in flight for one notification, over all processes; what is over waits its turn in the broker.",
    ),
    key(
        "limits.per_host",
        "64",
        "Most attempts in flight to one host and port, over all processes, whichever notifications they are for.",
    ),
    key(
        "limits.rate",
        "",
        "Most attempts a minute for one notification, over all processes; what is over waits its turn in the broker. Nothing for none. A webhook's own `rate` comes first, and a chat service's pace of one a second.",
    ),
    key(
        "limits.rate_per_host",
        "",
        "Most attempts a minute to one host and port, over all processes, whichever notifications they are for; a mail server is one too. Nothing for none.",
    ),
    key(
        "limits.circuit_failures",
        "20",
        "Attempts in a row that a receiver leaves unanswered (or answers with 5xx) before it is tried by one at a time, and all else for it is held.",
    ),
    key(
        "limits.slot_lease_seconds",
        "15",
        "How long a process of a fleet makes attempts without word from the store, which shares the two limits above among the processes. When one dies, its part is free for the others after that time and the longest deadline of an attempt.",
    ),
    key(
        "limits.shards",
        "1",
        "Queues on RabbitMQ that each method's deliveries are spread over, by notification, for more than one queue leader can carry; the same in every process. Raise it at any time, after `bellbuoy topology apply`; lower it when the queues beyond are empty.",
    ),
    key(
        "limits.drain_seconds",
        "20",
        "How long a shutdown waits for attempts in flight; what outlives it is delivered again later. All of a shutdown takes up to 20 s more, and up to 40 s where this is short.",
    ),
    key(
        "limits.stalled_after_seconds",
        "90",
        "How long a worker with work in hand may make no progress before /readyz and the metric bellbuoy_worker_up say that it has stalled; never sooner than the longest attempt.",
    ),
    key("limits.connections", "4096", "Most open connections to the API."),
    key(
        "limits.failures",
        "20",
        "Deliveries in a row that end in dead letters before their notification is disabled.",
    ),
    key(
        "limits.back_after_seconds",
        "",
        "How long after a notification was disabled because its deliveries kept failing it is set on probation by itself: one delivery finds out whether it works again. Nothing for never; its owner can reset it at any time.",
    ),
    key("history.keep_days", "30", "How long ended deliveries, their events and dead letters are kept."),
    key("history.audit_days", "365", "How long it is kept who changed what."),
    key(
        "log.filter",
        "info",
        "Which log lines are written, in the syntax of RUST_LOG: a level (off, error, warn, info, debug, trace), or levels of targets such as info,bellbuoy_workers=debug.",
    ),
    key("log.format", "auto", "auto (text on a terminal, JSON elsewhere), text or json."),
];
