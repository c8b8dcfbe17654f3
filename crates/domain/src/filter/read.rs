//! How a filter's lines are read, and what they may cost.

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder, bytes};
use serde_json::Value;

use super::{Condition, FilterError, Pattern, Test, shown, shown_json};
use crate::{severity::Severity, template::Path};

/// Longest expression or pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// Most patterns of `tags`, and most values of `in`.
const MAX_ITEMS: usize = 100;

/// How deep an expression, or that of a glob, may be nested. A pair of braces in a glob counts as up to three.
const MAX_NESTED: u32 = 50;

/// Largest compiled expression, in bytes: with it a match costs at most some microseconds per letter.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// A line of the filter, if it says something.
pub(super) struct Line<'a> {
    pub(super) name: &'static str,
    pub(super) written: Option<&'a Value>,
}

impl Line<'_> {
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, FilterError> {
        let read = self.written.map(read).transpose();
        read.map_err(|problem| FilterError { line: self.name, problem })
    }
}

pub(crate) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

pub(super) fn reference(written: &Value) -> Result<Regex, String> {
    match written {
        Value::String(expression) => compile(expression),
        _ => Err("should be a string with a regular expression".to_owned()),
    }
}

pub(super) fn level(written: &Value) -> Result<Severity, String> {
    let level = whole_number(written).and_then(Severity::at);
    level.ok_or_else(|| {
        format!(
            "is {}, but should be 0 (Critical), 1 (High), 2 (Medium), 3 (Low), 4 (Negligible) or 5 (Unknown)",
            shown_json(written)
        )
    })
}

pub(super) fn days(written: &Value) -> Result<u32, String> {
    let days = whole_number(written).and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0);
    days.ok_or_else(|| format!("is {}, but should be a whole number of days above 0", shown_json(written)))
}

/// A number, or a text that holds one, as Quay's automation clients send it.
pub(crate) fn whole_number(written: &Value) -> Option<u64> {
    match written {
        Value::String(digits) => digits.trim().parse().ok(),
        other => other.as_u64(),
    }
}

pub(super) fn tags(written: &Value) -> Result<Vec<Pattern>, String> {
    let patterns = match written {
        Value::String(_) => std::slice::from_ref(written),
        Value::Array(patterns) => patterns.as_slice(),
        _ => return Err("should be a list of patterns".to_owned()),
    };
    if patterns.len() > MAX_ITEMS {
        return Err(format!("has {} patterns, but may have at most {MAX_ITEMS}", patterns.len()));
    }
    patterns.iter().map(pattern).collect()
}

fn pattern(written: &Value) -> Result<Pattern, String> {
    let Some(pattern) = written.as_str().filter(|pattern| !pattern.is_empty()) else {
        return Err(format!("has {}, but a pattern should be a string", shown_json(written)));
    };
    match pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        Some(expression) => compile(expression).map(Pattern::Regex),
        None if pattern.len() > MAX_PATTERN_BYTES => {
            Err(format!("has a pattern longer than {MAX_PATTERN_BYTES} bytes"))
        }
        None => glob(pattern).map(Pattern::Glob),
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let unusable = |why: String| format!("has a pattern that can't be used: {why}");
    let glob = GlobBuilder::new(pattern).build().map_err(|error| unusable(error.to_string()))?;
    // `compile_matcher` panics where the glob's expression does not compile, so that is tried first.
    bytes::RegexBuilder::new(glob.regex())
        .size_limit(MAX_COMPILED_BYTES)
        .nest_limit(MAX_NESTED)
        .build()
        .map_err(|_| unusable(format!("{} is too large, or nested too deep", shown(pattern))))?;
    Ok(glob.compile_matcher())
}

pub(super) fn condition(written: &Value) -> Result<Condition, String> {
    let Value::Object(members) = written else {
        return Err(
            "should be an object with `path` and one of `equals`, `in`, `matches`, `exists`".to_owned()
        );
    };
    let Some(expression) = members.get("path").and_then(Value::as_str) else {
        return Err("needs `path`, a path expression such as `vulnerability.priority`".to_owned());
    };
    let path =
        Path::parse(expression).map_err(|error| format!("has the path {}: {error}", shown(expression)))?;
    let mut tests = members.iter().filter(|(name, _)| *name != "path");
    let (Some((name, wanted)), None) = (tests.next(), tests.next()) else {
        return Err("needs `path` and exactly one of `equals`, `in`, `matches`, `exists`".to_owned());
    };
    let test = test(name, wanted)?;
    Ok(Condition { written: expression.chars().take(80).collect(), path, test })
}

fn test(name: &str, wanted: &Value) -> Result<Test, String> {
    match (name, wanted) {
        ("equals", wanted) => Ok(Test::Equals(wanted.clone())),
        ("in", Value::Array(wanted)) if wanted.len() <= MAX_ITEMS => Ok(Test::In(wanted.clone())),
        ("in", _) => Err(format!("has `in`, which should be a list of at most {MAX_ITEMS} values")),
        ("matches", Value::String(expression)) => compile(expression).map(Test::Matches),
        ("matches", _) => Err("has `matches`, which should be a regular expression".to_owned()),
        ("exists", Value::Bool(wanted)) => Ok(Test::Exists(*wanted)),
        ("exists", _) => Err("has `exists`, which should be true or false".to_owned()),
        (other, _) => {
            Err(format!("has {}, but knows only `path`, `equals`, `in`, `matches`, `exists`", shown(other)))
        }
    }
}

/// Compiles an expression whose matching takes time linear in the text.
fn compile(expression: &str) -> Result<Regex, String> {
    if expression.len() > MAX_PATTERN_BYTES {
        return Err(format!("has a regular expression longer than {MAX_PATTERN_BYTES} bytes"));
    }
    RegexBuilder::new(expression)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .nest_limit(MAX_NESTED)
        .build()
        .map_err(|error| {
            let error = error.to_string();
            // The last line says what is wrong; those before draw where.
            let problem = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("has the regular expression {}, which can't be used: {problem}", shown(expression))
        })
}
