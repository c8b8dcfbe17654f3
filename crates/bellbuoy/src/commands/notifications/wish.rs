//! A notification as its owner writes it on the command line.

use std::{io::Read, path::PathBuf};

use anyhow::Context;
use bellbuoy_domain::{Format, Kind, MethodName};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::commands::Misuse;

/// The most that is read of a file, in bytes: what the API takes.
const FILE_BYTES: u64 = 256 * 1024;

/// What the server says of a notification beside what its owner wrote.
const SERVERS: &[&str] =
    &["id", "state", "state_reason", "failures", "public_keys", "created_at", "updated_at"];

/// What is said of a new notification. Its scope stays as it is made.
#[derive(Debug, Args)]
pub(super) struct NewWish {
    /// Of a repository, such as `acme/api`.
    #[arg(long, value_name = "NAME", group = "scope")]
    repository: Option<String>,
    /// Of all repositories of a namespace.
    #[arg(long, value_name = "NAME", group = "scope")]
    namespace: Option<String>,
    /// Of the whole registry.
    #[arg(long, group = "scope")]
    registry: bool,
    #[command(flatten)]
    wish: Wish,
}

/// What can be said of a notification, new or not.
#[derive(Debug, Args)]
pub(super) struct Wish {
    /// Of what, such as `repo_push`; several with commas or by saying it again.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Post it there.
    #[arg(long, value_name = "URL", group = "to")]
    webhook: Option<String>,
    /// Put it into an in-app area: user:NAME, team:NAME or org:NAME.
    #[arg(long, value_name = "WHO:NAME", group = "to")]
    in_app: Option<InApp>,
    /// Deliver it so, by the settings of --config.
    #[arg(long, group = "to")]
    method: Option<MethodName>,
    /// The method's settings: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    config: Option<Map<String, Value>>,
    /// Only events that it lets pass: a JSON object, such as `{"tags": ["v*"]}`.
    #[arg(long, value_name = "JSON", value_parser = object)]
    filter: Option<Map<String, Value>>,
    /// What the payload looks like.
    #[arg(long)]
    format: Option<Format>,
    /// Its own retry schedule: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    retry: Option<Map<String, Value>>,
    /// What to call it.
    #[arg(long)]
    title: Option<String>,
    /// Begin with the JSON in a file, `-` for standard input; what else is given wins over it.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Whose in-app area.
#[derive(Debug, Clone)]
struct InApp {
    kind: String,
    name: String,
}

impl std::str::FromStr for InApp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once(':').ok_or("should be like user:alice or team:security")?;
        Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("should be a JSON object: {error}"))
}

/// A notification as the server shows it, without what is not its owner's to write.
fn written(mut shown: Map<String, Value>) -> Map<String, Value> {
    shown.retain(|name, _| !SERVERS.contains(&name.as_str()));
    shown
}

impl NewWish {
    /// Refuses what is not whole, before anything is asked of the server. A file may say everything.
    pub(super) fn check(&self) -> Result<(), Misuse> {
        if self.wish.from.is_some() {
            return Ok(());
        }
        let parts = [
            (self.scope().is_some(), "whose events: --repository, --namespace or --registry"),
            (!self.wish.kinds.is_empty(), "which kinds: --kind"),
            (self.wish.has_method(), "how it is told: --webhook, --in-app or --method"),
        ];
        let missing: Vec<_> =
            parts.into_iter().filter_map(|(is_said, part)| (!is_said).then_some(part)).collect();
        if missing.is_empty() { Ok(()) } else { Err(Misuse(format!("say {}", missing.join("; ")))) }
    }

    /// The body of a request that makes it.
    pub(super) fn body(&self) -> anyhow::Result<Value> {
        let mut body = self.wish.over(json!({}))?;
        if let Some(scope) = self.scope() {
            body["scope"] = scope;
        }
        Ok(body)
    }

    fn scope(&self) -> Option<Value> {
        match (&self.repository, &self.namespace, self.registry) {
            (Some(name), ..) => Some(json!({ "repository": name })),
            (_, Some(name), _) => Some(json!({ "namespace": name })),
            (_, _, true) => Some(json!({ "registry": true })),
            _ => None,
        }
    }
}

impl Wish {
    /// The body of a request: what the server shows of the notification, if there is one, then the
    /// file, then what is given by itself.
    pub(super) fn over(&self, shown: Value) -> anyhow::Result<Value> {
        let Value::Object(shown) = shown else { anyhow::bail!("the server's notification is no object") };
        let mut body = written(shown);
        body.extend(self.read_file()?);
        let members = [
            ("title", self.title.clone().map(Value::from)),
            ("kinds", (!self.kinds.is_empty()).then(|| json!(self.kinds))),
            ("filter", self.filter.clone().map(Value::from)),
            ("format", self.format.map(|format| format.name().into())),
            ("retry", self.retry.clone().map(Value::from)),
        ];
        body.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        self.put_method(&mut body);
        Ok(body.into())
    }

    /// Refuses a change of nothing.
    pub(super) fn check_not_empty(&self) -> anyhow::Result<()> {
        let is_empty = self.from.is_none() && self.over(json!({}))? == json!({});
        if is_empty { Err(Misuse("say what to change, such as --title".to_owned()).into()) } else { Ok(()) }
    }

    fn has_method(&self) -> bool {
        self.webhook.is_some() || self.in_app.is_some() || self.method.is_some()
    }

    fn put_method(&self, body: &mut Map<String, Value>) {
        let method = match (&self.webhook, &self.in_app) {
            (Some(_), _) => Some(MethodName::Webhook),
            (_, Some(_)) => Some(MethodName::QuayNotification),
            _ => self.method,
        };
        // Another method's settings make no sense for this one.
        if let Some(method) = method
            && body.insert("method".to_owned(), method.name().into()).is_some_and(|old| old != method.name())
        {
            body.remove("config");
        }
        if let Some(config) = &self.config {
            body.insert("config".to_owned(), config.clone().into());
        }
        let target = match (&self.webhook, &self.in_app) {
            (Some(url), _) => ("url", json!(url)),
            (_, Some(InApp { kind, name })) => ("target", json!({ "kind": kind, "name": name })),
            _ => return,
        };
        let config = body.entry("config").or_insert_with(|| json!({}));
        if let Value::Object(config) = config {
            config.insert(target.0.to_owned(), target.1);
        }
    }

    /// The file's members without the server's, so that what `show --json` printed can be given back.
    fn read_file(&self) -> anyhow::Result<Map<String, Value>> {
        let Some(path) = &self.from else { return Ok(Map::new()) };
        let source: Box<dyn Read> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?)
        };
        let mut text = String::new();
        source.take(FILE_BYTES + 1).read_to_string(&mut text)?;
        let shown = serde_json::from_str(&text);
        Ok(written(shown.with_context(|| format!("{} is not a JSON object", path.display()))?))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        new: NewWish,
    }

    fn parse_new(args: &[&str]) -> Result<NewWish, clap::Error> {
        Command::try_parse_from(["test"].iter().chain(args)).map(|command| command.new)
    }

    fn parse(args: &[&str]) -> Result<Wish, clap::Error> {
        parse_new(args).map(|new| new.wish)
    }

    fn body(args: &[&str]) -> Value {
        parse_new(args).expect("understood").body().expect("a body")
    }

    fn over(args: &[&str], base: Value) -> Value {
        parse(args).expect("understood").over(base).expect("a body")
    }

    #[test]
    fn what_is_given_becomes_the_body() {
        let args = [
            "--repository",
            "acme/api",
            "--kind",
            "repo_push,tag_delete",
            "--kind",
            "build_success",
            "--webhook",
            "https://ci.example.com/",
            "--config",
            r#"{"template": "{}"}"#,
            "--filter",
            r#"{"tags": ["v*"]}"#,
            "--format",
            "cloudevents",
            "--title",
            "Deploy",
        ];
        let expected = json!({
            "title": "Deploy", "scope": {"repository": "acme/api"},
            "kinds": ["repo_push", "tag_delete", "build_success"], "filter": {"tags": ["v*"]}, "method": "webhook",
            "config": {"template": "{}", "url": "https://ci.example.com/"}, "format": "cloudevents",
        });
        assert_eq!(body(&args), expected);
        let args = ["--registry", "--in-app", "team:red:ops"];
        let expected = json!({
            "scope": {"registry": true}, "method": "quay_notification",
            "config": {"target": {"kind": "team", "name": "red:ops"}},
        });
        assert_eq!(body(&args), expected);
    }

    #[test]
    fn a_change_leaves_the_rest_and_another_method_begins_afresh() {
        let old = json!({
            "id": "1", "state": "active", "state_reason": null, "failures": 0, "created_at": "x",
            "updated_at": "y", "title": null, "scope": {"registry": true}, "kinds": ["repo_push"],
            "method": "webhook", "config": {"url": "https://old.example.com/", "template": "{}"},
        });
        let moved = over(&["--webhook", "https://new.example.com/"], old.clone());
        let expected = json!({
            "title": null, "scope": {"registry": true}, "kinds": ["repo_push"], "method": "webhook",
            "config": {"url": "https://new.example.com/", "template": "{}"},
        });
        assert_eq!(moved, expected);
        let other = over(&["--in-app", "user:ann"], old);
        assert_eq!(other["config"], json!({"target": {"kind": "user", "name": "ann"}}));
    }

    #[test]
    fn a_file_is_read_over_and_a_mistake_in_it_is_left_for_the_server_to_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wish.json");
        std::fs::write(&path, r#"{"id": "1", "title": "From", "filtr": {}}"#).expect("a file");
        let path = path.to_str().expect("text");
        let body = over(&["--from", path, "--title", "Given"], json!({"method": "webhook"}));
        assert_eq!(body, json!({"method": "webhook", "title": "Given", "filtr": {}}));
        std::fs::write(path, "[]").expect("a file");
        for from in [path, "/nonexistent/wish.json"] {
            assert!(parse(&["--from", from]).expect("understood").over(json!({})).is_err());
        }
    }

    #[test]
    fn a_new_one_says_whose_which_and_how_or_leaves_it_to_a_file() {
        let check =
            |args: &[&str]| parse_new(args).expect("understood").check().map_err(|misuse| misuse.to_string());
        let parts = ["--registry", "--kind=repo_push", "--in-app=user:ann"];
        assert_eq!(check(&parts), Ok(()));
        assert_eq!(check(&["--from", "wish.json"]), Ok(()));
        for (left_out, named) in ["--namespace", "--kind", "--webhook"].into_iter().enumerate() {
            let others: Vec<_> =
                (0..3).filter(|place| *place != left_out).map(|place| parts[place]).collect();
            let said = check(&others).expect_err("not whole");
            assert!(said.contains(named) && !said.contains(';'), "{others:?}: {said}");
        }
        assert_eq!(check(&[]).expect_err("nothing").matches(';').count(), 2);
    }

    #[test]
    fn contradictions_and_changes_of_nothing_are_misuse() {
        for args in [
            &["--repository", "a/b", "--namespace", "a"][..],
            &["--registry", "--namespace", "a"],
            &["--webhook", "https://x/", "--in-app", "user:ann"],
            &["--webhook", "https://x/", "--method", "webhook"],
            &["--in-app", "ann"],
            &["--filter", "[]"],
            &["--kind", "nonsense"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        let nothing = parse(&[]).expect("understood").check_not_empty();
        assert!(nothing.is_err_and(|error| error.is::<Misuse>()));
        parse(&["--title", ""]).expect("understood").check_not_empty().expect("a change");
    }
}
