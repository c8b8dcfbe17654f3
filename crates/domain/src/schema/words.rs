//! Words and names that stand in what the API takes and answers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    AccountName, EmailAddress, Format, Grain, Grantee, HttpMethod, InAppKind, KeyKind, Kind, MethodName,
    NamespaceName, RepositoryName, SignatureStyle, TargetKind, TeamName, name::MAX_BYTES,
};

/// Closed sets of words: each is what its `ALL` holds.
macro_rules! word_schemas {
    ($($type:ident),*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let words: Vec<&str> = Self::ALL.iter().map(|word| word.name()).collect();
                json_schema!({"type": "string", "enum": words})
            }
        })*
    };
}
word_schemas!(Format, Grain, HttpMethod, KeyKind, Kind, MethodName, SignatureStyle, TargetKind);

/// An event's kind, or what the app itself tells of.
impl JsonSchema for InAppKind {
    fn schema_name() -> Cow<'static, str> {
        "InAppKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let events = Kind::ALL.iter().copied().map(Self::Event);
        let words: Vec<&str> = events.chain([Self::NotificationDisabled]).map(Self::name).collect();
        json_schema!({"type": "string", "enum": words})
    }
}

/// Words of small letters and digits, as one name between two slashes has them.
const COMPONENT: &str = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*";

/// Names as texts: what each parses.
macro_rules! name_schemas {
    ($($type:ident: $longest:expr, $pattern:expr, $about:literal;)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "maxLength": $longest,
                    "pattern": format!("^{}$", $pattern),
                    "description": $about,
                })
            }
        })*
    };
}
name_schemas! {
    RepositoryName: MAX_BYTES, format!("{COMPONENT}(?:/{COMPONENT})*"), "A repository's name, with its namespace.";
    NamespaceName: MAX_BYTES, COMPONENT, "The name of a user or an organization.";
    TeamName: MAX_BYTES, COMPONENT, "A team's name within its organization.";
    AccountName: 2 * MAX_BYTES + 1, format!(r"{COMPONENT}(?:\+{COMPONENT})?"),
        "The name of a user or an organization or, as OWNER+NAME, of a robot.";
    Grantee: 2 * MAX_BYTES + 1, format!(r"{COMPONENT}(?:[/+]{COMPONENT})?"),
        "An account's name or, as ORGANIZATION/TEAM, a team's.";
}

impl JsonSchema for EmailAddress {
    fn schema_name() -> Cow<'static, str> {
        "EmailAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "email", "maxLength": Self::MAX_BYTES})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes<T: JsonSchema>(text: &str) -> bool {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>();
        jsonschema::is_valid(schema.as_value(), &text.into())
    }

    #[test]
    fn a_name_s_schema_takes_what_its_parser_takes() {
        let long = "a".repeat(MAX_BYTES + 1);
        for text in [
            "acme",
            "acme/api",
            "acme/team/api",
            "acme+ci",
            "acme/dev",
            "a.b/c_d/e__f/g--h",
            "library/ubuntu-22.04",
            "acme2",
            "acme+ci/dev",
            "acme+ci+x",
            "",
            "/",
            "a/",
            "/a",
            "+",
            "a+",
            "a//b",
            "Acme",
            "a..b",
            "a._b",
            "-a",
            "a-",
            "a b",
            "é",
            "a\n",
            "../etc",
            long.as_str(),
        ] {
            assert_eq!(takes::<RepositoryName>(text), RepositoryName::parse(text).is_ok(), "{text:?}");
            assert_eq!(takes::<NamespaceName>(text), NamespaceName::parse(text).is_ok(), "{text:?}");
            assert_eq!(takes::<TeamName>(text), TeamName::parse(text).is_ok(), "{text:?}");
            if text != long {
                assert_eq!(takes::<AccountName>(text), AccountName::parse(text).is_ok(), "{text:?}");
                assert_eq!(takes::<Grantee>(text), Grantee::parse(text).is_ok(), "{text:?}");
            }
        }
    }
}
