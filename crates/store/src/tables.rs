//! Every table that holds state, as a copy carries it: one list, which a test compares with both schemas.
//!
//! `seq` is each database's own count of its rows. A row keeps its place in the order, not its number; a column that
//! holds the `seq` of another table's row is carried as what makes that row the same row.

use std::sync::LazyLock;

use crate::sql::{
    Column::{self, Bool, Bytes, Int, Text, Uuid},
    Many,
};

/// A table to be carried.
struct Plan {
    name: &'static str,
    /// Whether it counts its rows in `seq`; else it is read in the order of `key`.
    has_seq: bool,
    /// All columns but `seq`.
    columns: &'static [Stands],
    /// Those that make a row the same row, unique in every database.
    key: &'static [&'static str],
}

/// How a column stands in its table.
enum Stands {
    /// By itself.
    Plain(&'static str, Column),
    /// As the `seq` of a row of another table, which comes before in the list and has this key.
    Seq { column: &'static str, of: &'static str, key: &'static [(&'static str, Column)] },
}

use Stands::{Plain, Seq};

const EVENTS: Plan = Plan {
    name: "events",
    has_seq: true,
    columns: &[
        Plain("id", Text),
        Plain("source", Text),
        Plain("kind", Text),
        Plain("subject", Text),
        Plain("message", Uuid),
        Plain("accepted_at", Int),
        Plain("fanned_out", Bool),
        Plain("body", Bytes),
    ],
    key: &["id", "source"],
};

const NOTIFICATIONS: Plan = Plan {
    name: "notifications",
    has_seq: false,
    columns: &[
        Plain("id", Uuid),
        Plain("title", Text),
        Plain("scope", Text),
        Plain("scope_name", Text),
        Plain("kinds", Text),
        Plain("event_config", Text),
        Plain("method", Text),
        Plain("config", Text),
        Plain("secret", Text),
        Plain("format", Text),
        Plain("retry", Text),
        Plain("state", Text),
        Plain("state_reason", Text),
        Plain("failures", Int),
        Plain("created_at", Int),
        Plain("updated_at", Int),
        Plain("author", Uuid),
        Plain("succeeded_at", Int),
        Plain("back_at", Int),
    ],
    key: &["id"],
};

const DELIVERIES: Plan = Plan {
    name: "deliveries",
    has_seq: true,
    columns: &[
        Plain("id", Uuid),
        Seq { column: "event_seq", of: "events", key: &[("id", Text), ("source", Text)] },
        Plain("notification", Uuid),
        Plain("method", Text),
        Plain("source", Text),
        Plain("event", Text),
        Plain("kind", Text),
        Plain("subject", Text),
        Plain("accepted_at", Int),
        Plain("progress", Int),
        Plain("state", Text),
        Plain("attempts", Int),
        Plain("next_due_at", Int),
        Plain("updated_at", Int),
        Plain("cause_code", Text),
        Plain("cause_detail", Text),
        Plain("status", Int),
    ],
    key: &["id"],
};

const ATTEMPTS: Plan = Plan {
    name: "attempts",
    has_seq: false,
    columns: &[
        Seq { column: "delivery_seq", of: "deliveries", key: &[("id", Uuid)] },
        Plain("attempt", Int),
        Plain("started_at", Int),
        Plain("duration_ms", Int),
        Plain("outcome", Text),
        Plain("cause_code", Text),
        Plain("cause_detail", Text),
        Plain("status", Int),
    ],
    key: &["delivery_seq", "attempt"],
};

const DEAD_LETTERS: Plan = Plan {
    name: "dead_letters",
    has_seq: true,
    columns: &[
        Plain("id", Uuid),
        Plain("origin", Text),
        Plain("reason", Text),
        Plain("detail", Text),
        Plain("delivery", Uuid),
        Plain("notification", Uuid),
        Plain("method", Text),
        Plain("subject", Text),
        Plain("attempts", Int),
        Plain("died_at", Int),
        Plain("body", Bytes),
    ],
    key: &["id"],
};

const INBOX: Plan = Plan {
    name: "inbox",
    has_seq: true,
    columns: &[
        Plain("id", Uuid),
        Plain("delivery", Uuid),
        Plain("target_kind", Text),
        Plain("target", Text),
        Plain("kind", Text),
        Plain("metadata", Text),
        Plain("created_at", Int),
        Plain("dismissed", Bool),
    ],
    key: &["id"],
};

const CALLBACKS: Plan = Plan {
    name: "callbacks",
    has_seq: true,
    columns: &[
        Plain("delivery", Uuid),
        Plain("first", Uuid),
        Plain("link", Int),
        Plain("notification", Uuid),
        Plain("source", Text),
        Plain("event", Text),
        Plain("subject", Text),
        Plain("expires_at", Int),
        Plain("state", Text),
        Plain("answered_at", Int),
        Plain("description", Text),
        Plain("context", Text),
        Plain("target_url", Text),
        Plain("due_at", Int),
        Plain("expired", Bool),
    ],
    key: &["delivery"],
};

const CALLBACK_TOKENS: Plan = Plan {
    name: "callback_tokens",
    has_seq: false,
    columns: &[
        Plain("hash", Bytes),
        Seq { column: "callback_seq", of: "callbacks", key: &[("delivery", Uuid)] },
    ],
    key: &["hash"],
};

const ACCOUNTS: Plan = Plan {
    name: "accounts",
    has_seq: false,
    columns: &[
        Plain("name", Text),
        Plain("id", Uuid),
        Plain("kind", Text),
        Plain("email", Text),
        Plain("email_verified", Bool),
        Plain("superuser", Bool),
        Plain("enabled", Bool),
        Plain("password", Text),
        Plain("created_at", Int),
    ],
    key: &["name"],
};

const TEAMS: Plan = Plan {
    name: "teams",
    has_seq: false,
    columns: &[Plain("organization", Text), Plain("name", Text), Plain("role", Text)],
    key: &["organization", "name"],
};

const TEAM_MEMBERS: Plan = Plan {
    name: "team_members",
    has_seq: false,
    columns: &[Plain("organization", Text), Plain("team", Text), Plain("member", Text)],
    key: &["organization", "team", "member"],
};

const REPOSITORIES: Plan = Plan {
    name: "repositories",
    has_seq: false,
    columns: &[
        Plain("name", Text),
        Plain("namespace", Text),
        Plain("public", Bool),
        Plain("created_at", Int),
    ],
    key: &["name"],
};

const PERMISSIONS: Plan = Plan {
    name: "permissions",
    has_seq: false,
    columns: &[Plain("repository", Text), Plain("grantee", Text), Plain("role", Text)],
    key: &["repository", "grantee"],
};

const AUTHORIZED_EMAILS: Plan = Plan {
    name: "authorized_emails",
    has_seq: false,
    columns: &[
        Plain("repository", Text),
        Plain("email", Text),
        Plain("code", Bytes),
        Plain("confirmed", Bool),
        Plain("requested_at", Int),
    ],
    key: &["repository", "email"],
};

const TOKENS: Plan = Plan {
    name: "tokens",
    has_seq: false,
    columns: &[
        Plain("id", Uuid),
        Plain("hash", Bytes),
        Plain("title", Text),
        Plain("account", Text),
        Plain("scopes", Text),
        Plain("created_by", Text),
        Plain("created_at", Int),
        Plain("expires_at", Int),
        Plain("last_used_at", Int),
    ],
    key: &["id"],
};

const AUDIT: Plan = Plan {
    name: "audit",
    has_seq: true,
    columns: &[
        Plain("id", Uuid),
        Plain("at", Int),
        Plain("actor", Text),
        Plain("address", Text),
        Plain("action", Text),
        Plain("target", Text),
        Plain("place", Text),
        Plain("details", Text),
    ],
    key: &["id"],
};

const DIGESTS: Plan = Plan {
    name: "digests",
    has_seq: false,
    columns: &[
        Plain("id", Uuid),
        Plain("notification", Uuid),
        Plain("subject", Text),
        Plain("method", Text),
        Plain("source", Text),
        Plain("due_at", Int),
        Plain("open", Bool),
        Plain("items", Int),
        Plain("bytes", Int),
        Plain("leased_until", Int),
    ],
    key: &["id"],
};

const DIGEST_ITEMS: Plan = Plan {
    name: "digest_items",
    has_seq: false,
    columns: &[Plain("delivery", Uuid), Plain("digest", Uuid), Plain("message", Uuid), Plain("body", Bytes)],
    key: &["delivery"],
};

const TOLD: Plan = Plan {
    name: "told",
    has_seq: false,
    columns: &[
        Plain("delivery", Uuid),
        Plain("digest", Uuid),
        Plain("message", Uuid),
        Plain("source", Text),
        Plain("told_at", Int),
    ],
    key: &["delivery"],
};

/// Each after those that it refers to.
const PLANS: &[Plan] = &[
    NOTIFICATIONS,
    EVENTS,
    DELIVERIES,
    ATTEMPTS,
    DEAD_LETTERS,
    INBOX,
    CALLBACKS,
    CALLBACK_TOKENS,
    ACCOUNTS,
    TEAMS,
    TEAM_MEMBERS,
    REPOSITORIES,
    PERMISSIONS,
    AUTHORIZED_EMAILS,
    TOKENS,
    AUDIT,
    DIGESTS,
    DIGEST_ITEMS,
    TOLD,
];

/// What stays behind: the version of the notifications, which each database counts by itself, logins, which are made
/// again, and what is leased to processes, taken by them and known among them, none of which runs meanwhile.
#[cfg(test)]
const LEFT: &[&str] = &["counters", "health", "sends", "sessions", "slots"];

/// A table with its statements. A row is handed over as its *fields*: the plain columns in their order, and in the
/// place of a `seq` the key of the row that it stands for.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The types of the fields.
    pub(crate) fields: &'static [Column],
    /// Which fields make a row the same row.
    pub(crate) key: Vec<usize>,
    /// The types of what a page goes on after: it stands before the fields of a page's rows.
    pub(crate) order: &'static [Column],
    pub(crate) count: &'static str,
    /// The sizes of the next rows in bytes: from the start, and after the last row's order.
    pub(crate) sizes: [&'static str; 2],
    /// The next rows.
    pub(crate) page: [&'static str; 2],
    /// By their keys, rows: the key's fields, whether there is such a row, its fields.
    pub(crate) find: &'static Many,
    /// Adds rows; those that would break a uniqueness are left out.
    pub(crate) add: &'static Many,
}

/// All of them. The texts live as long as the program.
pub(crate) static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| PLANS.iter().map(Plan::table).collect());

/// A field, where it is found and which column it belongs to.
struct Field {
    /// `t.id`, or `r1.id` for a part of the key of the row that the second column refers to.
    place: String,
    column: &'static str,
    kind: Column,
}

impl Stands {
    fn column(&self) -> &'static str {
        match self {
            Plain(column, _) | Seq { column, .. } => column,
        }
    }
}

impl Plan {
    fn table(&self) -> Table {
        let fields = self.fields();
        let is_key = |field: &&Field| self.key.contains(&field.column);
        let key = fields.iter().enumerate().filter(|(_, field)| is_key(field)).map(|(place, _)| place);
        let kinds: Vec<Column> = fields.iter().map(|field| field.kind).collect();
        let order = self.order();
        Table {
            name: self.name,
            key: key.collect(),
            order: order.iter().map(|(_, kind)| *kind).collect::<Vec<_>>().leak(),
            count: leaked(format!("SELECT count(*) FROM {}", self.name)),
            sizes: [false, true].map(|goes_on| leaked(self.sizes(&order, goes_on))),
            page: [false, true].map(|goes_on| leaked(self.page(&order, &fields, goes_on))),
            find: self.find(&fields),
            add: self.add(&fields, &kinds),
            fields: kinds.leak(),
        }
    }

    fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for (number, stands) in self.columns.iter().enumerate() {
            match stands {
                Plain(column, kind) => {
                    fields.push(Field { place: format!("t.{column}"), column, kind: *kind });
                }
                Seq { column, key, .. } => fields.extend(key.iter().map(|(part, kind)| Field {
                    place: format!("r{number}.{part}"),
                    column,
                    kind: *kind,
                })),
            }
        }
        fields
    }

    /// What the rows are read by.
    fn order(&self) -> Vec<(&'static str, Column)> {
        if self.has_seq {
            return vec![("seq", Int)];
        }
        let kind = |column: &str| {
            let plain = self.columns.iter().find_map(|stands| match stands {
                Plain(name, kind) if *name == column => Some(*kind),
                Plain(..) | Seq { .. } => None,
            });
            plain.unwrap_or(Int)
        };
        self.key.iter().map(|column| (*column, kind(column))).collect()
    }

    /// `ORDER BY ... LIMIT $1`, from the start or after `$2` and so on.
    fn stretch(order: &[(&'static str, Column)], goes_on: bool) -> String {
        let columns = joined(order.iter().map(|(column, _)| format!("t.{column}")));
        let marks = joined((0..order.len()).map(|place| format!("${}", place + 2)));
        let after = if goes_on { format!("WHERE ({columns}) > ({marks}) ") } else { String::new() };
        format!("{after}ORDER BY {columns} LIMIT $1")
    }

    fn sizes(&self, order: &[(&'static str, Column)], goes_on: bool) -> String {
        let large = self.columns.iter().filter_map(|stands| match stands {
            Plain(column, Text | Bytes) => Some(format!(" + coalesce(octet_length(t.{column}), 0)")),
            Plain(..) | Seq { .. } => None,
        });
        let stretch = Self::stretch(order, goes_on);
        format!("SELECT CAST(0{} AS BIGINT) FROM {} t {stretch}", large.collect::<String>(), self.name)
    }

    fn page(&self, order: &[(&'static str, Column)], fields: &[Field], goes_on: bool) -> String {
        let columns = order.iter().map(|(column, _)| format!("t.{column}"));
        let columns = joined(columns.chain(fields.iter().map(|field| field.place.clone())));
        let stretch = Self::stretch(order, goes_on);
        format!("SELECT {columns} FROM {} t {}{stretch}", self.name, self.referred(|_| true))
    }

    /// Joins the rows that the columns in question refer to.
    fn referred(&self, wanted: impl Fn(&str) -> bool) -> String {
        let join = |(number, stands): (usize, &Stands)| match stands {
            Seq { column, of, .. } if wanted(column) => {
                Some(format!("LEFT JOIN {of} r{number} ON r{number}.seq = t.{column} "))
            }
            Plain(..) | Seq { .. } => None,
        };
        self.columns.iter().enumerate().filter_map(join).collect()
    }

    /// Joins the rows that the given keys stand for, where `given` says what a field is called.
    fn resolved(&self, wanted: impl Fn(&str) -> bool, given: impl Fn(&str) -> String) -> String {
        let join = |(number, stands): (usize, &Stands)| match stands {
            Seq { column, of, key } if wanted(column) => {
                let same = key.iter().map(|(part, _)| {
                    format!("r{number}.{part} = given.{}", given(&format!("r{number}.{part}")))
                });
                let same = same.collect::<Vec<_>>().join(" AND ");
                Some(format!("LEFT JOIN {of} r{number} ON {same} "))
            }
            Plain(..) | Seq { .. } => None,
        };
        self.columns.iter().enumerate().filter_map(join).collect()
    }

    fn find(&self, fields: &[Field]) -> &'static Many {
        let is_key = |column: &str| self.key.contains(&column);
        let keys: Vec<&Field> = fields.iter().filter(|field| is_key(field.column)).collect();
        let names = joined((0..keys.len()).map(|place| format!("k{place}")));
        let place_of = |wanted: &str| {
            let place = keys.iter().position(|field| field.place == wanted).unwrap_or_default();
            format!("k{place}")
        };
        // A column of the key: as it is given, or the `seq` of the row that is given.
        let same = self.columns.iter().enumerate().filter(|(_, stands)| is_key(stands.column())).map(
            |(number, stands)| match stands {
                Plain(column, _) => format!("t.{column} = given.{}", place_of(&format!("t.{column}"))),
                Seq { column, .. } => format!("t.{column} = r{number}.seq"),
            },
        );
        let same = same.collect::<Vec<_>>().join(" AND ");
        let given = (0..keys.len()).map(|place| format!("given.k{place}"));
        let present = format!("t.{} IS NOT NULL", self.key[0]);
        let shown = given.chain([present]).chain(fields.iter().map(|field| field.place.clone()));
        let after = format!(
            ") SELECT {} FROM given {}LEFT JOIN {} t ON {same} {}",
            joined(shown),
            self.resolved(is_key, place_of),
            self.name,
            self.referred(|column| !is_key(column)),
        );
        let kinds: Vec<Column> = keys.iter().map(|field| field.kind).collect();
        many(kinds, format!("WITH given ({names}) AS ("), after)
    }

    fn add(&self, fields: &[Field], kinds: &[Column]) -> &'static Many {
        let names = joined((0..fields.len()).map(|place| format!("f{place}")));
        let place_of = |wanted: &str| {
            let place = fields.iter().position(|field| field.place == wanted).unwrap_or_default();
            format!("f{place}")
        };
        let columns = joined(self.columns.iter().map(|stands| stands.column().to_owned()));
        let values = self.columns.iter().enumerate().map(|(number, stands)| match stands {
            Plain(column, _) => format!("given.{}", place_of(&format!("t.{column}"))),
            Seq { .. } => format!("r{number}.seq"),
        });
        let after = format!(
            ") INSERT INTO {} ({columns}) SELECT {} FROM given {}WHERE TRUE ON CONFLICT DO NOTHING",
            self.name,
            joined(values),
            self.resolved(|_| true, place_of),
        );
        many(kinds.to_vec(), format!("WITH given ({names}) AS ("), after)
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn leaked(text: String) -> &'static str {
    text.leak()
}

fn many(columns: Vec<Column>, before: String, after: String) -> &'static Many {
    let after = leaked(after);
    Box::leak(Box::new(Many::new(columns.leak(), leaked(before), after, after)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bellbuoy_testkit::postgres::Postgres;
    use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

    use super::*;
    use crate::Store;

    /// Tables with their columns and those columns' types.
    type Schema = BTreeMap<String, BTreeMap<String, String>>;

    async fn sqlite() -> (tempfile::TempDir, SqliteConnection) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        Store::open_sqlite(&path).await.expect("a store").close().await;
        let connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await;
        (directory, connection.expect("a connection"))
    }

    async fn postgres() -> (Postgres, PgConnection) {
        let server = Postgres::start().await;
        let url = server.database().await;
        Store::open(&url).await.expect("a store").close().await;
        (server, PgConnection::connect(&url).await.expect("a connection"))
    }

    fn schema(rows: Vec<(String, String, String)>) -> Schema {
        let mut schema = Schema::new();
        for (table, column, kind) in rows {
            if table != "_sqlx_migrations" && !LEFT.contains(&&*table) {
                schema.entry(table).or_default().insert(column, kind);
            }
        }
        schema
    }

    /// What the plans say of the schema, in one engine's words.
    fn planned(seq: &str, word: impl Fn(Column) -> &'static str) -> Schema {
        let columns = |plan: &Plan| {
            let own = plan.columns.iter().map(|stands| match stands {
                Plain(column, kind) => ((*column).to_owned(), word(*kind).to_owned()),
                Seq { column, .. } => ((*column).to_owned(), word(Int).to_owned()),
            });
            own.chain(plan.has_seq.then(|| ("seq".to_owned(), seq.to_owned()))).collect()
        };
        PLANS.iter().map(|plan| (plan.name.to_owned(), columns(plan))).collect()
    }

    fn key(plan: &Plan) -> BTreeSet<String> {
        plan.key.iter().map(|column| (*column).to_owned()).collect()
    }

    #[tokio::test]
    async fn every_table_and_column_of_sqlite_is_carried_or_left_on_purpose() {
        let (_directory, mut connection) = sqlite().await;
        let rows = "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c \
                    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'";
        let found = schema(sqlx::query_as(rows).fetch_all(&mut connection).await.expect("a schema"));
        let word = |kind| match kind {
            Int | Bool => "INTEGER",
            Text => "TEXT",
            Uuid | Bytes => "BLOB",
        };
        assert_eq!(planned("INTEGER", word), found, "tables.rs says left, the migrations right");
        for plan in PLANS {
            let text = format!(
                "SELECT i.name, c.name FROM pragma_index_list('{}') i, pragma_index_info(i.name) c WHERE i.\"unique\"",
                plan.name
            );
            let rows: Vec<(String, String)> =
                sqlx::query_as(AssertSqlSafe(text)).fetch_all(&mut connection).await.expect("indexes");
            assert!(unique_keys(rows).contains(&key(plan)), "{}: {:?} is not unique", plan.name, plan.key);
        }
    }

    #[tokio::test]
    async fn every_table_and_column_of_postgresql_is_carried_or_left_on_purpose() {
        let (_server, mut connection) = postgres().await;
        let rows = "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
                    WHERE table_schema = 'public'";
        let found = schema(sqlx::query_as(rows).fetch_all(&mut connection).await.expect("a schema"));
        let word = |kind| match kind {
            Int => "bigint",
            Bool => "boolean",
            Text => "text",
            Uuid => "uuid",
            Bytes => "bytea",
        };
        assert_eq!(planned("bigint", word), found, "tables.rs says left, the migrations right");
        for plan in PLANS {
            let text = "SELECT i.indexrelid::regclass::text, a.attname::text FROM pg_index i \
                        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                        WHERE i.indisunique AND i.indrelid = $1::text::regclass";
            let rows: Vec<(String, String)> =
                sqlx::query_as(text).bind(plan.name).fetch_all(&mut connection).await.expect("indexes");
            assert!(unique_keys(rows).contains(&key(plan)), "{}: {:?} is not unique", plan.name, plan.key);
        }
    }

    fn unique_keys(rows: Vec<(String, String)>) -> Vec<BTreeSet<String>> {
        let mut keys = BTreeMap::<String, BTreeSet<String>>::new();
        for (index, column) in rows {
            keys.entry(index).or_default().insert(column);
        }
        keys.into_values().collect()
    }

    #[test]
    fn a_table_comes_after_those_that_it_refers_to_and_by_their_keys() {
        for (place, plan) in PLANS.iter().enumerate() {
            for stands in plan.columns {
                if let Seq { of, key, .. } = stands {
                    let referred = PLANS[..place].iter().find(|before| before.name == *of);
                    let names: Vec<_> = key.iter().map(|(part, _)| *part).collect();
                    assert_eq!(referred.map(|referred| referred.key), Some(&*names), "{} of {of}", plan.name);
                }
            }
        }
    }
}
