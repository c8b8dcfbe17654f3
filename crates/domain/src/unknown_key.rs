//! Keys that nothing reads, misspelt ones among them: found where they are written, with what was meant perhaps.

use serde_json::{Map, Value};

/// A key of a notification's settings or filter that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct UnknownKey {
    path: String,
    problem: String,
}

impl UnknownKey {
    /// Where it stands, such as `config.authorisation`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The keys of an object, each by its name alone: what is not known means nothing to `reader`.
pub(crate) struct Keys<'a> {
    /// The member of a notification whose keys they are, such as `config`.
    pub(crate) of: &'static str,
    /// Who reads them, such as `the method slack`.
    pub(crate) reader: &'a str,
    pub(crate) known: &'static [&'static str],
}

impl Keys<'_> {
    /// Refuses the first key that is not known, but for those that are in `kept` with the same value.
    pub(crate) fn check(
        &self,
        written: &Map<String, Value>,
        kept: &Map<String, Value>,
    ) -> Result<(), UnknownKey> {
        let is_new = |name: &&str| kept.get(*name) != written.get(*name);
        self.unknown_of(written).find(is_new).map_or(Ok(()), |name| Err(self.fault(name)))
    }

    /// Those that are not known.
    pub(crate) fn unknown_of<'a>(&self, written: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        let known = self.known;
        written.keys().map(String::as_str).filter(move |name| !known.contains(name))
    }

    fn fault(&self, name: &str) -> UnknownKey {
        let hint = match nearest(name, self.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", self.known.join(", ")),
        };
        let shown: String = name.chars().filter(|letter| !letter.is_control()).take(80).collect();
        UnknownKey {
            path: format!("{}.{shown}", self.of),
            problem: format!("means nothing to {}; {hint}", self.reader),
        }
    }
}

/// The known name that shares the most with what was written, if that is most of it. Case does not count, nor what stands
/// after the first 80 letters.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // What is longer is like none of them, and comparing it costs.
    let name: String = name.chars().take(80).flat_map(char::to_lowercase).collect();
    let (distance, near) = known.into_iter().map(|known| (distance(&name, known), known)).min()?;
    (distance <= near.len() / 3).then_some(near)
}

/// How many letters are to be put in, left out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_unknown_key_is_named_with_the_nearest_known_one_or_all_of_them() {
        let keys =
            Keys { of: "config", reader: "the method x", known: &["url", "authorization", "hmac_secret"] };
        let all = "known are url, authorization, hmac_secret";
        for (name, hint) in [
            ("authorisation", "did you mean `authorization`?"),
            ("HMAC_Secert", "did you mean `hmac_secret`?"),
            ("Url", "did you mean `url`?"),
            ("token", all),
            ("", all),
            ("é\n", all),
        ] {
            let written = json!({"url": 1, name: 2, "other": 3});
            let fault =
                keys.check(written.as_object().expect("an object"), &Map::new()).expect_err("unknown");
            let path = format!("config.{}", name.trim());
            assert_eq!(fault.path(), path);
            assert_eq!(fault.to_string(), format!("`{path}` means nothing to the method x; {hint}"));
        }
    }

    #[test]
    fn what_is_kept_with_the_same_value_is_taken() {
        let keys = Keys { of: "filter", reader: "a filter", known: &["tags"] };
        let of = |value: Value| value.as_object().expect("an object").clone();
        let kept = of(json!({"tag": ["v*"]}));
        assert_eq!(keys.check(&of(json!({"tags": ["a"], "tag": ["v*"]})), &kept), Ok(()));
        let changed = keys.check(&of(json!({"tag": ["w*"]})), &kept).expect_err("another value");
        assert_eq!(changed.to_string(), "`filter.tag` means nothing to a filter; did you mean `tags`?");
    }
}
