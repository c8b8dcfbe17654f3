//! What a setting's text means. `None` where it means nothing.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

use bellbuoy_domain::AccountName;
use bellbuoy_methods::SmtpSecurity;
use bellbuoy_telemetry::LogFormat;
use ipnet::IpNet;

use super::KeyDocument;

pub(super) const SECONDS: &str = "a whole number of seconds from 1 to 86400";
pub(super) const BYTES: &str = "a whole number of bytes from 1";
pub(super) const NETWORKS: &str = "networks such as 127.0.0.0/8,10.1.0.0/16";
pub(super) const PORTS: &str = "ports and ranges from 1 to 65535, such as 80,443,1024-65535";
pub(super) const NAME_SERVERS: &str = "addresses such as 10.0.0.53 or 10.0.0.53:5353,[fd00::53]:53";
pub(super) const STEPS: &str = "waits such as 5s,5m,2h, each with its unit: ms, s, m, h or d";
pub(super) const COUNT: &str = "a whole number from 1";
pub(super) const RATE: &str = "a whole number from 1 to 60000, of attempts a minute";
pub(super) const PATH: &str = "a file";
pub(super) const ACCOUNTS: &str = "names of accounts such as ann,bob";
pub(super) const KEYS: &str = "a file, or a URL such as https://auth.example.com/jwks.json";
pub(super) const HOST: &str = "a host's name or address, such as mail.example.com";
pub(super) const SECRET_KEYS: &str =
    "keys separated by commas, each 32 bytes in base64 or hex, as `bellbuoy secrets new-key` makes them";
pub(super) const PROXY: &str =
    "a URL such as http://user:password@proxy.example.com:3128, socks5://... or socks5h://...";
pub(super) const NO_PROXY: &str = "hosts, addresses and networks such as corp.example.com,10.0.0.0/8";
pub(super) const LOG_FILTER: &str = "a level (off, error, warn, info, debug or trace), or levels of targets such as info,bellbuoy_workers=debug";
pub(super) const SERVICE: &str = "a URL such as https://chat.example.com";

/// The parameters of a PostgreSQL URL that the store's driver knows, beside `options[...]`. It logs the values of others.
pub(super) const STORE_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

const DAY: u64 = 86_400;

pub(super) fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|seconds| (1..=DAY).contains(seconds)).map(Duration::from_secs)
}

pub(super) fn days(text: &str) -> Option<Duration> {
    text.parse()
        .ok()
        .filter(|days| (1..=3650).contains(days))
        .map(|days: u64| Duration::from_secs(days * DAY))
}

/// What can't be 0 by its type.
pub(super) fn count<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

pub(super) fn rate(text: &str) -> Option<NonZeroU32> {
    text.parse().ok().filter(|count: &NonZeroU32| count.get() <= 60_000)
}

pub(super) fn bytes(text: &str) -> Option<usize> {
    text.parse().ok().filter(|bytes| *bytes > 0)
}

pub(super) fn base_url(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    plain.then(|| text.trim_end_matches('/').to_owned())
}

/// The first parameter of a PostgreSQL URL that is not known: its name, or dots if it has none, for what stands without
/// `=` may be a value. What is no URL is left to the driver.
pub(super) fn unknown_store_parameter(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let names = url.query()?.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('='));
    let is_known = |name: &str| STORE_PARAMETERS.contains(&name) || name.starts_with("options[");
    names.map(|pair| pair.map_or("...", |(name, _)| name)).find(|name| !is_known(name)).map(str::to_owned)
}

/// A URL without a user, or the path of a file.
pub(super) fn key_document(text: &str) -> Option<KeyDocument> {
    if !text.contains("://") {
        return Some(KeyDocument::File(PathBuf::from(text)));
    }
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none();
    plain.then(|| KeyDocument::Url(text.to_owned()))
}

/// Names of accounts.
pub(super) fn accounts(text: &str) -> Option<Vec<AccountName>> {
    list(text, |name| AccountName::parse(name).ok())
}

/// A network, or a lone address as a network of one.
pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    list(text, |item| item.parse().ok().or_else(|| Some(IpNet::from(item.parse::<std::net::IpAddr>().ok()?))))
}

/// Addresses, with a port where it is not DNS's own.
pub(super) fn name_servers(text: &str) -> Option<Vec<SocketAddr>> {
    const DNS: u16 = 53;
    list(text, |item| item.parse().ok().or_else(|| Some(SocketAddr::new(item.parse().ok()?, DNS))))
}

pub(super) fn steps(text: &str) -> Option<Vec<Duration>> {
    list(text, wait)
}

/// A name or an address, without scheme, port or brackets.
pub(super) fn host(text: &str) -> Option<String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let address = text.parse::<std::net::Ipv6Addr>().is_ok();
    (text.bytes().all(letter) && (address || !text.contains(':'))).then(|| text.to_owned())
}

pub(super) fn one_line(text: &str) -> Option<String> {
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

pub(super) fn smtp_security(text: &str) -> Option<SmtpSecurity> {
    match text {
        "starttls" => Some(SmtpSecurity::StartTls),
        "tls" => Some(SmtpSecurity::Tls),
        "none" => Some(SmtpSecurity::None),
        _ => None,
    }
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "auto" => Some(LogFormat::Auto),
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

/// Long enough not to be guessed, and fit for a header.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn wait(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY * 1000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Distinct items, at least one.
pub(super) fn set<T: PartialEq>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items = list(text, item)?;
    let distinct = (0..items.len()).all(|place| !items[..place].contains(&items[place]));
    (distinct && !items.is_empty()).then_some(items)
}

/// What stands between commas.
pub(super) fn words(text: &str) -> Vec<String> {
    list(text, |word| Some(word.to_owned())).unwrap_or_default()
}

fn list<T>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(item).collect()
}
