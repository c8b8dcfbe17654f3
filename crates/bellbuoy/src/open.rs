//! From settings to what they name: the broker, the store, the rules of the outbound client, the
//! admin token.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use bellbuoy_api::RegistryTokens;
use bellbuoy_broker::{Broker, BrokerOptions, BrokerUrl, EmbeddedOptions, RabbitMqOptions, Tls, Topology};
use bellbuoy_domain::MethodName;
use bellbuoy_methods::{
    ClientIdentity, Methods, Outbound, Services, Smtp,
    http::{NameServers, Resolver},
};
use bellbuoy_store::{OpenError, Store};
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tracing::warn;

use crate::{
    config::{Config, KeyDocument, Role, StoreUrl, is_token},
    note::Note,
    serve::VERSION,
};

/// The first and the longest wait between two looks for a store that is out of reach.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

// A database that is out of reach is waited for: an exit would only be a restart without a pause.
pub(crate) async fn store(config: &Config) -> anyhow::Result<Store> {
    let url = match &config.store {
        StoreUrl::Sqlite => {
            let store = Store::open_sqlite(&config.data_dir.join("store.db")).await?;
            return sealed(store, config).await;
        }
        StoreUrl::Postgres(url) => url.reveal(),
    };
    let mut wait = FIRST_WAIT;
    loop {
        match Store::open(url).await {
            Err(error @ OpenError::Unreachable { .. }) => {
                warn!("waiting for the store, next look in {wait:?}: {:#}", anyhow::Error::from(error));
            }
            opened => return sealed(opened?, config).await,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The store with the settings' keys, all of which it needs; what it keeps in the open is said.
async fn sealed(store: Store, config: &Config) -> anyhow::Result<Store> {
    let store = store.with_secret_keys(config.secret_keys.clone());
    let sealings = store.sealings().await?;
    if let Some(missing) = sealings.iter().find(|sealing| !sealing.readable) {
        anyhow::bail!(
            "{} notifications are sealed with key {}, which `store.secret_key` does not hold; add that key behind the first",
            missing.notifications,
            missing.key.as_deref().unwrap_or_default()
        );
    }
    let first = config.secret_keys.names().next();
    let old = sealings
        .iter()
        .filter(|sealing| sealing.key.as_deref() != first)
        .map(|sealing| sealing.notifications);
    match (first, old.sum::<u64>()) {
        (None, _) => warn!("{UNSEALED}"),
        (Some(_), 0) => {}
        (Some(first), old) => warn!(
            "the secrets of {old} notifications are not sealed with key {first} yet; `bellbuoy secrets rewrite` does it"
        ),
    }
    Ok(store)
}

/// What is said where secrets are stored as they are.
pub(crate) const UNSEALED: &str =
    "webhooks' secrets are stored unencrypted; set `store.secret_key` to a key of `bellbuoy secrets new-key`";

pub(crate) fn outbound(config: &Config) -> anyhow::Result<Outbound> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("can't read {}", path.display()));
    let client_identity = match (&config.client_certificate, &config.client_key) {
        (Some(certificate), Some(key)) => {
            Some(ClientIdentity { cert_pem: read(certificate)?, key_pem: read(key)? })
        }
        _ => None,
    };
    Ok(Outbound {
        allow: config.allow.clone(),
        deny: config.deny.clone(),
        ports: config.ports.clone(),
        deadline: config.deadline,
        connect_timeout: config.connect_timeout,
        tls_timeout: config.tls_timeout,
        head_timeout: config.head_timeout,
        pool_idle_per_host: config.per_host.get(),
        connections_per_host: config.connections_per_host.get(),
        allow_skip_verification: config.allow_skip_verification,
        proxy: config.proxy.clone(),
        max_response_bytes: config.max_response_bytes,
        max_header_bytes: config.max_header_bytes,
        client_identity,
        extra_ca_pem: config.extra_ca.as_deref().map(read).transpose()?,
        user_agent: format!("bellbuoy/{VERSION}"),
        services: services(config),
        resolver: if config.name_servers.is_empty() {
            Resolver::System
        } else {
            Resolver::NameServers(NameServers::new(&config.name_servers)?)
        },
        ..Outbound::default()
    })
}

fn services(config: &Config) -> Services {
    let settings = &config.smtp;
    let login = settings.user.clone().zip(settings.password.as_ref());
    let smtp = settings.host.clone().zip(settings.sender.clone()).map(|(host, sender)| Smtp {
        host,
        sender,
        port: settings.port,
        security: settings.security,
        login: login.map(|(user, password)| (user, password.reveal().to_owned())),
        hello: settings.hello.clone(),
        deadline: settings.deadline,
        connections: settings.connections.get(),
    });
    Services { smtp, hipchat_url: config.hipchat_url.clone(), flowdock_url: config.flowdock_url.clone() }
}

/// The registry's own tokens, as far as the settings want them taken. A file of keys has to be right from the start; a
/// server of keys may be away, now and later.
pub(crate) async fn registry_tokens(
    config: &Config,
    methods: &Arc<Methods>,
) -> anyhow::Result<Option<RegistryTokens>> {
    let Some(settings) = &config.registry_tokens else { return Ok(None) };
    let (issuer, audience) = (&settings.issuer, &settings.audience);
    match settings.keys.clone() {
        KeyDocument::File(path) => {
            let name = path.display().to_string();
            let tokens = RegistryTokens::new(issuer, audience, move || read_keys(path.clone()));
            let loaded = tokens.load().await;
            loaded.map_err(|problem| {
                anyhow::anyhow!("{name} is no file of public keys: {problem}; see `auth.registry_keys`")
            })?;
            Ok(Some(tokens))
        }
        KeyDocument::Url(url) => {
            let methods = Arc::clone(methods);
            let tokens = RegistryTokens::new(issuer, audience, move || {
                let (methods, url) = (Arc::clone(&methods), url.clone());
                async move {
                    let fetched = methods.fetch(&url, Timestamp::now()).await;
                    fetched.map_err(|cause| cause.to_string())
                }
            });
            Ok(Some(tokens))
        }
    }
}

/// Nobody's keys are larger.
const LARGEST_KEYS: u64 = 1 << 20;

async fn read_keys(path: PathBuf) -> Result<Vec<u8>, String> {
    let read = async {
        let file = tokio::fs::File::open(&path).await?;
        let mut document = Vec::new();
        file.take(LARGEST_KEYS).read_to_end(&mut document).await?;
        Ok::<_, std::io::Error>(document)
    };
    read.await.map_err(|error| format!("can't read {}: {error}", path.display()))
}

/// Makes the directory that the embedded broker, the embedded store or a token of our own needs.
pub(crate) fn data_directory(config: &Config) -> anyhow::Result<()> {
    let embedded = config.broker == BrokerUrl::Embedded || config.store == StoreUrl::Sqlite;
    if !embedded && !makes_token(config) {
        return Ok(());
    }
    let path = &config.data_dir;
    if embedded {
        Note::refuse(path)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
        format!("can't make the data directory {}; set `data_dir` (BELLBUOY_DATA_DIR)", path.display())
    })
}

fn makes_token(config: &Config) -> bool {
    config.admin_token.is_none() && config.roles.contains(&Role::Api)
}

// The token of the settings, or the one that was made at the first start, and where that is kept.
pub(crate) fn admin_token(config: &Config) -> anyhow::Result<(String, Option<PathBuf>)> {
    if let Some(token) = &config.admin_token {
        return Ok((token.reveal().to_owned(), None));
    }
    if !makes_token(config) {
        // Nobody knows it: without the API there is nothing that it would open but /metrics.
        return Ok((new_token(), None));
    }
    let path = config.data_dir.join("admin-token");
    Ok((kept_token(&path)?, Some(path)))
}

/// The token in this file, which is made if there is none.
fn kept_token(path: &Path) -> anyhow::Result<String> {
    let read = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            keep(path, &new_token()).with_context(|| format!("can't keep a token in {}", path.display()))?;
            fs::read_to_string(path)
        }
        read => read,
    };
    let text = read.with_context(|| format!("can't read {}", path.display()))?;
    let token = text.trim();
    anyhow::ensure!(
        is_token(token),
        "{} holds no token of at least 16 visible ASCII characters; delete it and a new one is made",
        path.display()
    );
    Ok(token.to_owned())
}

// Under another name first: a full disk, or a kill, leaves the whole token or none. One that another process has put
// there meanwhile stays.
fn keep(path: &Path, token: &str) -> std::io::Result<()> {
    let scratch = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let kept =
        write_synced(&scratch, token).and_then(|()| named(fs::hard_link(&scratch, path), &scratch, path));
    let _ = fs::remove_file(&scratch); // Nobody reads it.
    kept?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

// Where the file system has no hard links, which each says in its own way, the name is looked for before it is given: two
// processes that start for the first time in the same moment can miss each other there.
fn named(linked: std::io::Result<()>, scratch: &Path, path: &Path) -> std::io::Result<()> {
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(_) if !path.try_exists()? => fs::rename(scratch, path),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_synced(path: &Path, token: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}

fn new_token() -> String {
    format!("bba_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Opens the broker. RabbitMQ may be away, now and later: workers wait for it.
pub(crate) fn broker(config: &Config) -> anyhow::Result<Broker> {
    let embedded = EmbeddedOptions { delivery_limit: config.delivery_limit, ..EmbeddedOptions::default() };
    let options = BrokerOptions { embedded, rabbitmq: rabbitmq_options(config) };
    Ok(Broker::open(&config.broker, &config.data_dir, &options)?)
}

/// How RabbitMQ is spoken to, and what has to stand there: the queues of every method, whichever of
/// them this process serves.
pub(crate) fn rabbitmq_options(config: &Config) -> RabbitMqOptions {
    let methods: Vec<_> = MethodName::ALL.iter().map(|method| method.name()).collect();
    let identity = config.broker_certificate.clone().zip(config.broker_key.clone());
    RabbitMqOptions {
        tls: Tls { ca: config.broker_ca.clone(), identity },
        heartbeat: config.heartbeat,
        delay_tolerance_percent: config.delay_tolerance,
        topology: Topology::new(&methods, config.shards),
        ..RabbitMqOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_kept_whole_for_its_owner_alone_and_one_that_is_there_stays() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("admin-token");
        let token = kept_token(&path).expect("made");
        assert!(is_token(&token), "{token}");
        keep(&path, &new_token()).expect("another was first");
        assert_eq!(kept_token(&path).expect("read"), token);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn where_there_are_no_hard_links_a_token_is_kept_all_the_same_and_one_that_is_there_stays() {
        let folder = tempfile::tempdir().expect("a directory");
        let (scratch, path) = (folder.path().join("scratch"), folder.path().join("admin-token"));
        for token in ["the first token", "another token"] {
            fs::write(&scratch, token).expect("written");
            let refused = Err(ErrorKind::PermissionDenied.into());
            named(refused, &scratch, &path).expect("there is a token");
        }
        assert_eq!(fs::read_to_string(&path).expect("read"), "the first token");
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused_by_its_path_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("admin-token");
        for text in ["", "\n", "short\n", "two words and more of them\n"] {
            fs::write(&path, text).expect("written");
            let said = kept_token(&path).expect_err("refused").to_string();
            let path = path.to_str().expect("text");
            assert!(said.starts_with(path) && said.ends_with("delete it and a new one is made"), "{said}");
        }
    }
}
