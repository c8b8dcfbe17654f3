//! Where settings' texts come from, and the list of mistakes.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use bellbuoy_domain::nearest;

use super::{ConfigFile, KEYS, Key, SettingError};

const PREFIX: &str = "BELLBUOY_";

/// What is shown of a secret.
const DOTS: &str = "••••••";

/// Where a setting's text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File {
        /// Its path.
        path: String,
    },
    /// The environment.
    Environment {
        /// The variable.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path } => f.write_str(path),
            Self::Environment { variable } => f.write_str(variable),
        }
    }
}

/// A setting as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Which.
    pub(crate) key: &'static Key,
    /// Its text; dots for a secret that is set.
    pub(crate) shown: String,
    /// Where it came from.
    pub(crate) origin: Origin,
}

struct Found {
    text: String,
    origin: Origin,
    place: String,
}

pub(super) struct Source<'a, F> {
    found: BTreeMap<&'static str, Found>,
    errors: RefCell<Vec<SettingError>>,
    file: Option<&'a ConfigFile>,
    environment: &'a BTreeMap<String, String>,
    read_file: F,
}

impl<'a, F: Fn(&str) -> std::io::Result<String>> Source<'a, F> {
    pub(super) fn new(
        file: Option<&'a ConfigFile>,
        environment: &'a BTreeMap<String, String>,
        read_file: F,
    ) -> Self {
        let mut source =
            Self { found: BTreeMap::new(), errors: RefCell::default(), file, environment, read_file };
        source.take_file();
        source.take_environment();
        source
    }

    fn take_file(&mut self) {
        let Some(file) = self.file else { return };
        match file.text.parse::<toml::Table>() {
            Ok(table) => self.take_table("", &table, &file.path),
            Err(problem) => self.errors.borrow_mut().push(SettingError::NotToml {
                path: file.path.clone(),
                problem: place_and_reason(&file.text, &problem),
            }),
        }
    }

    fn take_table(&mut self, prefix: &str, table: &toml::Table, path: &str) {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            let place = format!("`{name}` in {path}");
            let origin = Origin::File { path: path.to_owned() };
            match value {
                toml::Value::Table(inner) => self.take_table(&format!("{name}."), inner, path),
                toml::Value::Array(items) => {
                    let text = items.iter().map(plain).collect::<Vec<_>>().join(",");
                    self.take(&name, Found { text, origin, place });
                }
                other => self.take(&name, Found { text: plain(other), origin, place }),
            }
        }
    }

    fn take_environment(&mut self) {
        for (variable, text) in self.environment {
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if is_of_a_service(variable, text) {
                continue;
            }
            let name = name.replace("__", ".").to_lowercase();
            let place = format!("`{variable}`");
            let origin = Origin::Environment { variable: variable.clone() };
            self.take(&name, Found { text: text.clone(), origin, place });
        }
    }

    fn take(&mut self, name: &str, found: Found) {
        if let Some(key) = KEYS.iter().find(|key| key.name == name) {
            self.found.insert(key.name, found);
            return;
        }
        let from_file = name.strip_suffix("_file").and_then(|name| KEYS.iter().find(|key| key.name == name));
        if let Some(key) = from_file {
            match (self.read_file)(&found.text) {
                Ok(text) => {
                    self.found.insert(key.name, Found { text: text.trim_end().to_owned(), ..found });
                }
                Err(problem) => self.errors.borrow_mut().push(SettingError::NoFile {
                    place: found.place,
                    file: found.text,
                    problem: problem.to_string(),
                }),
            }
        } else {
            let suggestion = nearest(name, KEYS.iter().map(|key| key.name)).map(str::to_owned);
            self.errors.borrow_mut().push(SettingError::Unknown { place: found.place, suggestion });
        }
    }

    /// The value of a setting that always has one.
    pub(super) fn get<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let default = default_of(name);
        if let Some(found) = self.found.get(name) {
            if let Some(value) = parse(&found.text) {
                return value;
            }
            self.invalid(name, found, expected);
        }
        parse(default).expect("every default is valid, as a test holds")
    }

    /// The value of a setting that may have none; an empty text is none.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let found = self.found.get(name).filter(|found| !found.text.is_empty())?;
        let value = parse(&found.text);
        if value.is_none() {
            self.invalid(name, found, expected);
        }
        value
    }

    fn invalid(&self, name: &str, found: &Found, expected: &str) {
        self.errors.borrow_mut().push(SettingError::Invalid {
            place: found.place.clone(),
            value: shown(key(name), &found.text),
            expected: expected.to_owned(),
        });
    }

    /// A setting that is well formed and still will not do.
    pub(super) fn refuse(&mut self, name: &'static str, expected: String) {
        let (place, value) = match self.found.get(name) {
            Some(found) => (found.place.clone(), shown(key(name), &found.text)),
            None => (format!("`{name}`"), default_of(name).to_owned()),
        };
        self.errors.borrow_mut().push(SettingError::Invalid { place, value, expected });
    }

    pub(super) fn both_or_neither(&mut self, one: &'static str, other: &'static str) {
        let is_set = |name| self.found.get(name).is_some_and(|found: &Found| !found.text.is_empty());
        match (is_set(one), is_set(other)) {
            (true, false) => {
                self.errors.borrow_mut().push(SettingError::Half { present: one, missing: other });
            }
            (false, true) => {
                self.errors.borrow_mut().push(SettingError::Half { present: other, missing: one });
            }
            _ => {}
        }
    }

    /// Every setting as it was found.
    pub(super) fn settings(&self) -> Vec<Setting> {
        KEYS.iter()
            .map(|key| match self.found.get(key.name) {
                Some(found) => Setting { key, shown: shown(key, &found.text), origin: found.origin.clone() },
                None => Setting { key, shown: key.default.to_owned(), origin: Origin::Default },
            })
            .collect()
    }

    pub(super) fn finish<T>(self, config: T) -> Result<T, Vec<SettingError>> {
        let errors = self.errors.into_inner();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }
}

/// Whether Kubernetes tells it to every pod beside a Service of our name, or one that begins with it: where that is.
/// A `BELLBUOY_PORT` that holds no address is somebody's mistake.
pub(super) fn is_of_a_service(variable: &str, text: &str) -> bool {
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    let is_service = variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_");
    let is_port = variable.ends_with("_PORT") && text.contains("://")
        || variable.contains("_PORT_") && variable.split('_').any(is_protocol);
    // What has a section is a setting.
    (is_service || is_port) && !variable.contains("__")
}

fn key(name: &str) -> &'static Key {
    KEYS.iter()
        .find(|key| key.name == name)
        .expect("settings are asked for by names of the table, as a test holds")
}

fn default_of(name: &str) -> &'static str {
    key(name).default
}

/// Without the line itself, which may hold a secret.
fn place_and_reason(text: &str, problem: &toml::de::Error) -> String {
    let before = problem.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, problem.message().replace('\n', " "))
}

fn shown(key: &Key, text: &str) -> String {
    if key.secret && !text.is_empty() { DOTS.to_owned() } else { without_secrets(text) }
}

/// A text that may be a URL, without what stands before its `@`, and without the values of its query: PostgreSQL takes a
/// password in either place.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        // How PostgreSQL's own programs are told; we refuse it.
        return if text.contains("password=") { DOTS.to_owned() } else { text.to_owned() };
    };
    match rest.rsplit_once('@') {
        None => format!("{scheme}://{}", without_values(rest)),
        // It is in a password, or a password is around it.
        Some((before, _)) if before.contains('?') => format!("{scheme}://{DOTS}"),
        Some((_, place)) => format!("{scheme}://{DOTS}@{}", without_values(place)),
    }
}

fn without_values(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={DOTS}"),
        None => DOTS.to_owned(),
    };
    format!("{place}?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"))
}

fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
