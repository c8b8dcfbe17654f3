//! A webhook's settings beside its URL and template: how a request looks, who it says it is from, and
//! which answer means that it was taken.
//!
//! What is secret of them is no part of the settings: [`Secrets::take`](crate::Secrets::take) leaves [`MASK`](crate::MASK) in its place.

use std::{num::NonZeroU32, ops::RangeInclusive};

use serde_json::{Map, Value};

use crate::{
    Format, Grain, MAX_CHAIN, MethodName, dtr,
    method::{Settings, is_webhook_url},
    pem,
    secret::HEADERS,
};

/// The version of these settings. Members are added to it; a member that changes its meaning makes
/// another.
pub const WEBHOOK_VERSION: u64 = 1;

/// Most headers of an owner's own, plain and secret together.
pub(crate) const MAX_HEADERS: usize = 20;

/// Longest name and value of a header, in bytes.
pub(crate) const MAX_HEADER_NAME: usize = 100;
pub(crate) const MAX_HEADER_VALUE: usize = 4096;

/// Highest `rate`, a thousand a second.
pub(crate) const MAX_RATE: u32 = 60_000;

/// Headers that are the connection's or ours; also what begins with one that ends in `-`.
pub(crate) const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
    "proxy-",
    "webhook-",
    "bellbuoy-",
    "traceparent",
    "x-hub-signature-256",
    "x-signature",
];

/// A webhook's settings beside its URL and template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// `one_request_per`, if it is said; else the format decides.
    pub grain: Option<Grain>,
    /// `http_method`.
    pub method: HttpMethod,
    /// `headers`, in their order. Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The names of `secret_headers`, in lower case; their values are with the secrets.
    pub secret_headers: Vec<String>,
    /// How the request says who it is from.
    pub authorization: Authorization,
    /// `success_statuses`, if they are said; else the format decides.
    pub success: Option<SuccessStatuses>,
    /// `follow_redirects`: of 307 and 308, which keep the method and the body.
    pub follow_redirects: bool,
    /// `signatures`.
    pub signatures: Vec<SignatureStyle>,
    /// `rate`: the most attempts a minute.
    pub rate: Option<NonZeroU32>,
    /// `dtr_type`: the type that the payload names for a repository's life.
    pub dtr_type: Option<String>,
    /// `chain`: where the same goes after the receiver before has called back that all went well.
    pub chain: Vec<String>,
    /// How the receiver's server is known, and how we are to it.
    pub tls: TlsOptions,
}

/// A webhook's own TLS, beside the operator's. The certificates are PEM, looked at from outside only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// `extra_ca`: authorities that are trusted for this receiver beside all others.
    pub extra_ca: Option<String>,
    /// `client_certificate`: shown to this receiver instead of the operator's; its key is the secret `client_key`.
    pub client_certificate: Option<String>,
    /// `skip_tls_verification`: any certificate will do, where the operator permits it.
    pub skip_verification: bool,
}

impl TlsOptions {
    /// Whether the operator's own TLS is all that is wanted.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// An HTTP method that a request may be sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpMethod {
    /// Without a body: for receivers that are triggered by the URL alone.
    Get,
    /// The usual one.
    Post,
    /// For receivers that store what they get under its URL.
    Put,
    /// Likewise.
    Patch,
}

impl HttpMethod {
    /// Every method.
    pub const ALL: &[Self] = &[Self::Get, Self::Post, Self::Put, Self::Patch];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// What stands in a request's `Authorization`. The credential itself is with the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing.
    None,
    /// `Bearer` and the secret `bearer_token`.
    Bearer,
    /// `Basic` and this name with the secret `password`.
    Basic(String),
    /// The secret `authorization` as it is, as Harbor sends it.
    Verbatim,
}

/// A way to sign requests that receivers know how to check: HMAC-SHA256 but for `v1a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureStyle {
    /// `webhook-signature: v1,...`, of id, time and body, by the key of `secret`.
    StandardWebhooks,
    /// `webhook-signature: v1a,...`, of the same, by ed25519 and `signing_key`; beside `v1` in the same header.
    Asymmetric,
    /// `X-Hub-Signature-256: sha256=HEX`, of the body, as GitHub signs.
    Hub,
    /// `X-Signature: sha256=HEX`, of the body, as Flux's generic-hmac receivers check.
    Flux,
}

impl SignatureStyle {
    /// Every style.
    pub const ALL: &[Self] = &[Self::StandardWebhooks, Self::Asymmetric, Self::Hub, Self::Flux];

    /// The word for it in `signatures`.
    pub fn name(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "standard-webhooks",
            Self::Asymmetric => "standard-webhooks-v1a",
            Self::Hub => "x-hub-signature-256",
            Self::Flux => "x-signature",
        }
    }
}

/// Which answers mean that a request was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessStatuses(Vec<RangeInclusive<u16>>);

impl SuccessStatuses {
    /// Those of a format whose owner says nothing: 2xx; for Docker Hub's also 302, by which its most
    /// used receiver answers everything that it takes.
    pub fn usual(format: Format) -> Self {
        match format {
            Format::DockerHub => Self(vec![200..=299, 302..=302]),
            _ => Self(vec![200..=299]),
        }
    }

    /// Whether a status is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// A setting that will not do. Never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`config.{name}` {problem}")]
pub struct OptionError {
    name: String,
    problem: String,
}

impl OptionError {
    pub(crate) fn new(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { name: name.into(), problem: problem.into() }
    }
}

impl WebhookOptions {
    /// Reads the settings; absent, null and empty ones are the usual ones.
    ///
    /// # Errors
    ///
    /// Names the first that will not do.
    pub fn parse(config: &Map<String, Value>) -> Result<Self, OptionError> {
        Self::read(Settings::new(MethodName::Webhook, config))
    }

    pub(crate) fn read(config: Settings<'_>) -> Result<Self, OptionError> {
        check_version(config)?;
        let (headers, secret_headers) = (headers(config)?, secret_headers(config)?);
        if headers.len() + secret_headers.len() > MAX_HEADERS {
            return Err(OptionError::new(
                "headers",
                format!("are more than {MAX_HEADERS} with `secret_headers`"),
            ));
        }
        Ok(Self {
            grain: word(config, "one_request_per", Grain::ALL, Grain::name)?,
            method: word(config, "http_method", HttpMethod::ALL, HttpMethod::name)?
                .unwrap_or(HttpMethod::Post),
            headers,
            secret_headers,
            authorization: authorization(config)?,
            success: success(config)?,
            follow_redirects: flag(config, "follow_redirects")?,
            signatures: signatures(config)?,
            rate: rate(config)?,
            dtr_type: dtr_type(config)?,
            chain: chain(config)?,
            tls: tls(config)?,
        })
    }

    /// Refuses what the payload format can't do.
    ///
    /// # Errors
    ///
    /// Names the setting.
    pub fn check_format(&self, format: Format) -> Result<(), OptionError> {
        if self.grain == Some(Grain::Event) && format.names_one_tag() {
            let problem =
                format!("can't be \"event\": a payload in format `{format}` names one tag; leave it out");
            return Err(OptionError::new("one_request_per", problem));
        }
        if self.dtr_type.is_some() && format != Format::Dtr {
            return Err(OptionError::new(
                "dtr_type",
                format!("is for format `dtr` alone, but the format is `{format}`"),
            ));
        }
        if !self.chain.is_empty() && format != Format::DockerHub {
            let problem = format!(
                "is for format `dockerhub` alone, whose receivers call back, but the format is `{format}`"
            );
            return Err(OptionError::new("chain", problem));
        }
        Ok(())
    }
}

fn check_version(config: Settings<'_>) -> Result<(), OptionError> {
    match config.get("version") {
        None | Some(Value::Null) => Ok(()),
        Some(version) if version.as_u64() == Some(WEBHOOK_VERSION) => Ok(()),
        Some(other) => {
            let problem = format!("is {}, but this program reads version {WEBHOOK_VERSION}", shown(other));
            Err(OptionError::new("version", problem))
        }
    }
}

/// One of a closed set of words; `None` if it is absent, null or empty. Case does not count.
fn word<T: Copy>(
    config: Settings<'_>,
    name: &'static str,
    all: &[T],
    spelled: fn(T) -> &'static str,
) -> Result<Option<T>, OptionError> {
    let Some(text) = text(config, name)? else { return Ok(None) };
    one_of(name, text, all, spelled).map(Some)
}

fn one_of<T: Copy>(
    name: &str,
    text: &str,
    all: &[T],
    spelled: fn(T) -> &'static str,
) -> Result<T, OptionError> {
    let known = || all.iter().map(|one| spelled(*one)).collect::<Vec<_>>().join(", ");
    all.iter().copied().find(|one| spelled(*one).eq_ignore_ascii_case(text)).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        OptionError::new(name, format!("is {shown:?}, but should be one of {}", known()))
    })
}

fn text<'a>(config: Settings<'a>, name: &'static str) -> Result<Option<&'a str>, OptionError> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(OptionError::new(name, "should be a string")),
    }
}

fn flag(config: Settings<'_>, name: &'static str) -> Result<bool, OptionError> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(OptionError::new(name, "should be true or false")),
    }
}

fn rate(config: Settings<'_>) -> Result<Option<NonZeroU32>, OptionError> {
    let count = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|count| *count <= MAX_RATE);
    match config.get("rate") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match count(value).and_then(NonZeroU32::new) {
            Some(count) => Ok(Some(count)),
            None => Err(OptionError::new(
                "rate",
                format!(
                    "is {}, but should be a whole number from 1 to {MAX_RATE}: attempts a minute",
                    shown(value)
                ),
            )),
        },
    }
}

fn list<'a>(config: Settings<'a>, name: &'static str) -> Result<Option<&'a [Value]>, OptionError> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(OptionError::new(name, "should be an array")),
    }
}

fn object<'a>(
    config: Settings<'a>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, OptionError> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(OptionError::new(name, "should be an object: names of headers and their values")),
    }
}

fn headers(config: Settings<'_>) -> Result<Vec<(String, String)>, OptionError> {
    let header = |(name, value): (&String, &Value)| {
        let path = format!("headers.{}", shortened(name));
        let name = header_name(name).map_err(|problem| OptionError::new(&path, problem))?;
        if name == "cookie" {
            return Err(OptionError::new(
                path,
                "is a credential; put it into `secret_headers`, where it is never shown",
            ));
        }
        let value = value.as_str().ok_or_else(|| OptionError::new(&path, "should be a string"))?;
        check_header_value(value).map_err(|problem| OptionError::new(&path, problem))?;
        Ok((name, value.to_owned()))
    };
    object(config, "headers")?.into_iter().flatten().map(header).collect()
}

fn secret_headers(config: Settings<'_>) -> Result<Vec<String>, OptionError> {
    let header = |(name, value): (&String, &Value)| {
        let path = format!("{HEADERS}.{}", shortened(name));
        // Its secret, or the mask that stands for it.
        if !value.is_string() {
            return Err(OptionError::new(path, "should be a string"));
        }
        header_name(name).map_err(|problem| OptionError::new(path, problem))
    };
    object(config, HEADERS)?.into_iter().flatten().map(header).collect()
}

/// A header's name in lower case, if an owner may set it.
fn header_name(name: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_HEADER_NAME || !name.bytes().all(is_token) {
        return Err("is no header's name".to_owned());
    }
    let name = name.to_ascii_lowercase();
    if name == "authorization" {
        return Err("goes into `bearer_token`, `username` and `password`, or `authorization`".to_owned());
    }
    let reserved = |reserved: &&str| match reserved.strip_suffix('-') {
        Some(_) => name.starts_with(*reserved),
        None => name == **reserved,
    };
    if RESERVED.iter().any(reserved) {
        return Err("is a header that Bellbuoy itself or the connection sets".to_owned());
    }
    Ok(name)
}

/// Refuses what could end a header, or would be read in another charset.
pub(crate) fn check_header_value(value: &str) -> Result<(), String> {
    if value.len() > MAX_HEADER_VALUE {
        return Err(format!("is longer than {MAX_HEADER_VALUE} bytes"));
    }
    let is_visible = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    if !value.bytes().all(is_visible) {
        return Err("holds control characters or letters outside ASCII, which no header can carry".to_owned());
    }
    Ok(())
}

fn authorization(config: Settings<'_>) -> Result<Authorization, OptionError> {
    let user = text(config, "username")?;
    let given = |name: &'static str| text(config, name).map(|text| text.is_some());
    match (given("bearer_token")?, user, given("password")?, given("authorization")?) {
        (false, None, false, false) => Ok(Authorization::None),
        (true, None, false, false) => Ok(Authorization::Bearer),
        (false, None, false, true) => Ok(Authorization::Verbatim),
        (false, Some(user), true, false) => {
            check_header_value(user).map_err(|problem| OptionError::new("username", problem))?;
            if user.contains(':') {
                return Err(OptionError::new(
                    "username",
                    "holds a colon, which ends the name in basic authentication",
                ));
            }
            Ok(Authorization::Basic(user.to_owned()))
        }
        (false, Some(_), false, false) => Err(OptionError::new("password", "is missing beside `username`")),
        (false, None, true, false) => Err(OptionError::new("username", "is missing beside `password`")),
        _ => Err(OptionError::new(
            "authorization",
            "is given in several ways; choose one of `bearer_token`, `username` and `password`, or `authorization`",
        )),
    }
}

/// `["2xx", 302, "400-403"]`.
fn success(config: Settings<'_>) -> Result<Option<SuccessStatuses>, OptionError> {
    let Some(items) = list(config, "success_statuses")? else { return Ok(None) };
    if items.is_empty() || items.len() > MAX_HEADERS {
        return Err(OptionError::new("success_statuses", format!("should hold 1 to {MAX_HEADERS} statuses")));
    }
    let range = |(index, item): (usize, &Value)| {
        statuses(item).ok_or_else(|| {
            let problem = format!(
                "is {}, but should be a status from 200 to 499 such as 302, or several such as \"2xx\" or \"200-204\"",
                shown(item)
            );
            OptionError::new(format!("success_statuses[{index}]"), problem)
        })
    };
    items.iter().enumerate().map(range).collect::<Result<_, _>>().map(|ranges| Some(SuccessStatuses(ranges)))
}

fn statuses(item: &Value) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (200..500).contains(status));
    match item {
        Value::Number(status) => number(&status.to_string()).map(|status| status..=status),
        Value::String(text) => match (text.as_str(), text.split_once('-')) {
            ("2xx", _) => Some(200..=299),
            ("3xx", _) => Some(300..=399),
            ("4xx", _) => Some(400..=499),
            (_, Some((first, last))) => {
                Some(number(first)?..=number(last)?).filter(|range| !range.is_empty())
            }
            (one, None) => number(one).map(|status| status..=status),
        },
        _ => None,
    }
}

fn signatures(config: Settings<'_>) -> Result<Vec<SignatureStyle>, OptionError> {
    let Some(items) = list(config, "signatures")? else { return Ok(vec![SignatureStyle::StandardWebhooks]) };
    let style = |item: &Value| match item.as_str() {
        Some(text) => one_of("signatures", text, SignatureStyle::ALL, SignatureStyle::name),
        None => Err(OptionError::new("signatures", "should be an array of strings")),
    };
    let mut styles = Vec::new();
    for style in items.iter().map(style) {
        let style = style?;
        if !styles.contains(&style) {
            styles.push(style);
        }
    }
    Ok(styles)
}

fn tls(config: Settings<'_>) -> Result<TlsOptions, OptionError> {
    let certificates = |name: &'static str| -> Result<Option<String>, OptionError> {
        let Some(pem) = text(config, name)? else { return Ok(None) };
        pem::check_certificates(pem).map_err(|problem| OptionError::new(name, problem))?;
        Ok(Some(pem.to_owned()))
    };
    let tls = TlsOptions {
        extra_ca: certificates("extra_ca")?,
        client_certificate: certificates("client_certificate")?,
        skip_verification: flag(config, "skip_tls_verification")?,
    };
    // Its value is with the secrets; here stands its mask, or itself.
    match (&tls.client_certificate, text(config, "client_key")?) {
        (Some(_), None) => Err(OptionError::new("client_key", "is missing beside `client_certificate`")),
        (None, Some(_)) => Err(OptionError::new("client_certificate", "is missing beside `client_key`")),
        _ => Ok(tls),
    }
}

/// Refuses certificates that an owner writes and that hold none inside their wrapping. Those of `kept` stay as they are.
///
/// # Errors
///
/// Names the setting.
pub fn check_certificates(
    written: &Map<String, Value>,
    kept: &Map<String, Value>,
) -> Result<(), OptionError> {
    for name in ["extra_ca", "client_certificate"] {
        let new = written.get(name).filter(|pem| kept.get(name) != Some(*pem));
        let pem = new.and_then(Value::as_str).unwrap_or_default();
        pem::check_contents(pem).map_err(|problem| OptionError::new(name, problem))?;
    }
    Ok(())
}

fn dtr_type(config: Settings<'_>) -> Result<Option<String>, OptionError> {
    match text(config, "dtr_type")? {
        None => Ok(None),
        Some(name) if name == dtr::REPO_EVENT => Ok(Some(name.to_owned())),
        Some(_) => Err(OptionError::new("dtr_type", format!("can only be {:?}", dtr::REPO_EVENT))),
    }
}

fn chain(config: Settings<'_>) -> Result<Vec<String>, OptionError> {
    let Some(items) = list(config, "chain")? else { return Ok(Vec::new()) };
    if items.len() > MAX_CHAIN {
        return Err(OptionError::new("chain", format!("should hold up to {MAX_CHAIN} URLs")));
    }
    let url = |(index, item): (usize, &Value)| {
        let url = item.as_str().filter(|url| is_webhook_url(url));
        url.map(str::to_owned).ok_or_else(|| {
            let problem = "should be a URL like `url`: http or https, with a host, without user and password";
            OptionError::new(format!("chain[{index}]"), problem)
        })
    };
    items.iter().enumerate().map(url).collect()
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

fn shortened(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(40).collect()
}
