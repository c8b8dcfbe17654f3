use std::io;

use super::*;

fn no_files(path: &str) -> io::Result<String> {
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no {path}")))
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> ConfigFile {
    ConfigFile { path: "bellbuoy.toml".into(), text: text.into() }
}

fn mistakes(file_text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let errors = load(Some(&file(file_text)), &variables(pairs), no_files).expect_err("mistakes");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_default_is_valid() {
    let config = load(None, &BTreeMap::new(), no_files).expect("the defaults");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.retry, RetryPolicy::default());
    assert_eq!((config.ports, config.name_servers), (PortRules::default(), Vec::new()));
    assert_eq!(config.settings.len(), KEYS.len());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let text =
        "listen = '127.0.0.1:1'\n[limits]\nin_flight = 7\n[outbound]\nallow = ['127.0.0.0/8', '10.1.2.3']";
    let environment = variables(&[("BELLBUOY_LIMITS__IN_FLIGHT", "9"), ("PATH", "/bin")]);
    let config = load(Some(&file(text)), &environment, no_files).expect("settings");
    assert_eq!((config.listen.port(), config.in_flight.get()), (1, 9));
    assert_eq!(config.allow.len(), 2);
    let origin = |name| {
        config
            .settings
            .iter()
            .find(|setting| setting.key.name == name)
            .map(|setting| setting.origin.to_string())
    };
    assert_eq!(origin("listen").as_deref(), Some("bellbuoy.toml"));
    assert_eq!(origin("limits.in_flight").as_deref(), Some("BELLBUOY_LIMITS__IN_FLIGHT"));
    assert_eq!(origin("data_dir").as_deref(), Some("default"));
}

#[test]
fn what_kubernetes_tells_of_a_service_of_our_name_is_no_setting_and_takes_the_place_of_none() {
    let told = [
        ("BELLBUOY_SERVICE_HOST", "10.0.0.7"),
        ("BELLBUOY_SERVICE_PORT", "8080"),
        ("BELLBUOY_SERVICE_PORT_HTTP", "8080"),
        ("BELLBUOY_PORT", "tcp://10.0.0.7:8080"),
        ("BELLBUOY_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
        ("BELLBUOY_PORT_8080_TCP_PROTO", "tcp"),
        ("BELLBUOY_PORT_8080_TCP_PORT", "8080"),
        ("BELLBUOY_PORT_8080_TCP_ADDR", "10.0.0.7"),
        ("BELLBUOY_API_SERVICE_HOST", "10.0.0.8"),
        ("BELLBUOY_API_PORT", "tcp://10.0.0.8:8080"),
    ];
    load(None, &variables(&told), no_files).expect("settings");
    assert!(mistakes("", &[("BELLBUOY_PORT", "8080")])[0].contains("`BELLBUOY_PORT` is not a setting"));
    for key in KEYS {
        let variable = format!("BELLBUOY_{}", key.name.replace('.', "__").to_uppercase());
        for variable in [format!("{variable}_FILE"), variable] {
            assert!(!source::is_of_a_service(&variable, "tcp://10.0.0.7:8080"), "{variable}");
        }
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_key_value_and_remedy() {
    let text = "[limits]\nin_fligth = 3\n[outbound]\nallow = ['10.0.0.0/40']\n[retry]\nsteps = '5'\n[broker]\nurl = 'redis://x'";
    let found = mistakes(text, &[("BELLBUOY_LIMITS__DRAIN_SECONDS", "30s"), ("BELLBUOY_LISTEN", "here")]);
    for expected in [
        "`limits.in_fligth` in bellbuoy.toml is not a setting; did you mean `limits.in_flight`?",
        "`outbound.allow` in bellbuoy.toml is `10.0.0.0/40`, but should be networks such as",
        "`retry.steps` in bellbuoy.toml is `5`, but should be waits such as",
        "`BELLBUOY_LIMITS__DRAIN_SECONDS` is `30s`, but should be a whole number of seconds",
        "`BELLBUOY_LISTEN` is `here`, but should be an address and port",
        "`broker.url` in bellbuoy.toml is `redis://x`, but should be `embedded:` or amqp[s]://",
    ] {
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{expected} is not in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_schedule_that_can_not_be_kept_is_a_mistake() {
    for steps in ["0s", "31d", "5", "5 s", "-5s", "s"] {
        assert_eq!(mistakes("", &[("BELLBUOY_RETRY__STEPS", steps)]).len(), 1, "{steps}");
    }
}

#[test]
fn a_secret_may_stand_in_a_file_and_is_never_shown() {
    let environment = variables(&[("BELLBUOY_AUTH__ADMIN_TOKEN_FILE", "/run/token")]);
    let config = load(None, &environment, |path| {
        assert_eq!(path, "/run/token");
        Ok("0123456789abcdef\n".into())
    })
    .expect("settings");
    assert_eq!(config.admin_token.as_ref().map(Hidden::reveal), Some("0123456789abcdef"));
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    let short = mistakes("", &[("BELLBUOY_AUTH__ADMIN_TOKEN", "hunter2")]);
    assert!(short.len() == 1 && !short[0].contains("hunter2"), "{short:?}");
    let missing = load(None, &environment, no_files).expect_err("no such file");
    assert!(missing[0].to_string().contains("/run/token"));
}

#[test]
fn registry_tokens_take_an_issuer_an_audience_and_keys_or_none_of_them() {
    let issuer = ("BELLBUOY_AUTH__REGISTRY_ISSUER", "https://auth.example.com");
    let audience = ("BELLBUOY_AUTH__REGISTRY_AUDIENCE", "bellbuoy.example.com");
    let keys = |keys| ("BELLBUOY_AUTH__REGISTRY_KEYS", keys);
    let read = |settings: &[(&str, &str)]| load(None, &variables(settings), no_files).expect("settings");
    assert_eq!(read(&[]).registry_tokens, None);
    for (text, document) in [
        ("/etc/keys.pem", KeyDocument::File("/etc/keys.pem".into())),
        ("https://auth.example.com/jwks?a=b", KeyDocument::Url("https://auth.example.com/jwks?a=b".into())),
    ] {
        let config = read(&[issuer, audience, keys(text)]).registry_tokens.expect("all three");
        assert_eq!((config.issuer.as_str(), config.audience.as_str()), (issuer.1, audience.1));
        assert_eq!(config.keys, document);
    }
    for wrong in [&[issuer][..], &[audience], &[keys("a")], &[issuer, audience], &[audience, keys("a")]] {
        assert!(!mistakes("", wrong).is_empty(), "{wrong:?}");
    }
    for text in ["ftp://a/jwks", "https://user:hunter2@a/jwks", "https://"] {
        let found = mistakes("", &[issuer, audience, keys(text)]);
        assert!(
            found.len() == 1 && found[0].contains("auth.registry_keys") || found[0].contains("REGISTRY_KEYS"),
            "{found:?}"
        );
    }
}

#[test]
fn the_embedded_broker_serves_one_process_with_every_role() {
    let found = mistakes("", &[("BELLBUOY_ROLES", "api,fanout")]);
    assert!(
        found.len() == 1 && found[0].contains("because the embedded broker serves one process"),
        "{found:?}"
    );
    for wrong in ["", "api,api,fanout,deliver,record", "cook"] {
        assert!(!mistakes("", &[("BELLBUOY_ROLES", wrong)]).is_empty(), "{wrong:?}");
    }
    let environment = [
        ("BELLBUOY_METHODS", "webhook"),
        ("BELLBUOY_ROLES", "deliver"),
        ("BELLBUOY_BROKER__URL", "amqp://a"),
    ];
    let config = load(None, &variables(&environment), no_files).expect("settings");
    assert_eq!((config.methods, config.roles), (vec![MethodName::Webhook], vec![Role::Deliver]));
}

#[test]
fn the_password_of_a_url_is_never_shown() {
    for (url, expected) in [
        ("postgres://bellbuoy:hunt@er2@db.example.com/bellbuoy", "postgres://••••••@db.example.com/bellbuoy"),
        (
            "postgres:///bellbuoy?host=/run/postgresql&user=bellbuoy&password=hunter2",
            "postgres:///bellbuoy?host=••••••&user=••••••&password=••••••",
        ),
        ("postgres://bellbuoy@db/x?password=hunter2", "postgres://••••••@db/x?password=••••••"),
        ("postgres:///x?password=hunt@er2", "postgres://••••••"),
        ("postgres://bellbuoy:hunt?er2@db/x", "postgres://••••••"),
    ] {
        let config = load(None, &variables(&[("BELLBUOY_STORE__URL", url)]), no_files).expect("settings");
        let store = config.settings.iter().find(|setting| setting.key.name == "store.url");
        assert_eq!(store.map(|setting| setting.shown.as_str()), Some(expected));
        assert!(!format!("{config:?}").contains("er2"));
    }
    for wrong in
        ["mysql://root:hunter2@db/x", "mysql:///x?password=hunter2", "host=db user=bellbuoy password=hunter2"]
    {
        let wrong = mistakes("", &[("BELLBUOY_STORE__URL", wrong)]);
        assert!(wrong.len() == 1 && !wrong[0].contains("hunter2"), "{wrong:?}");
    }
}

#[test]
fn a_mail_server_needs_a_sender_and_a_password_a_safe_connection() {
    let host = ("BELLBUOY_SMTP__HOST", "mail.example.com");
    let from = ("BELLBUOY_SMTP__FROM", "bells@example.com");
    let login = [("BELLBUOY_SMTP__USER", "bells"), ("BELLBUOY_SMTP__PASSWORD", "hunter2")];
    let config = load(None, &variables(&[host, from, login[0], login[1]]), no_files).expect("settings");
    let smtp = &config.smtp;
    assert_eq!((smtp.host.as_deref(), smtp.port), (Some("mail.example.com"), 587));
    assert!(!format!("{config:?}").contains("hunter2"));
    let rows: [(&[(&str, &str)], &str); 7] = [
        (&[host], "`smtp.host` is set, but `smtp.from` is not"),
        (&[login[0]], "`smtp.user` is set, but `smtp.password` is not"),
        (
            &[host, from, login[0], login[1], ("BELLBUOY_SMTP__SECURITY", "none")],
            "`BELLBUOY_SMTP__SECURITY` is `none`, but should be starttls or tls",
        ),
        (&[host, ("BELLBUOY_SMTP__FROM", "Bells <bells@example.com>")], "`BELLBUOY_SMTP__FROM` is"),
        (&[from, ("BELLBUOY_SMTP__HOST", "smtp://mail:25")], "`BELLBUOY_SMTP__HOST` is"),
        (&[("BELLBUOY_SMTP__PORT", "0")], "`BELLBUOY_SMTP__PORT` is `0`"),
        (&[("BELLBUOY_HIPCHAT__BASE_URL", "chat.example.com")], "`BELLBUOY_HIPCHAT__BASE_URL` is"),
    ];
    for (pairs, beginning) in rows {
        let found = mistakes("", pairs);
        assert!(found.iter().any(|mistake| mistake.starts_with(beginning)), "{beginning}: {found:?}");
        assert!(found.iter().all(|mistake| !mistake.contains("hunter2")), "{found:?}");
    }
}

#[test]
fn ports_and_name_servers_are_lists() {
    let ports = |text| ("BELLBUOY_OUTBOUND__PORTS", text);
    let servers = |text| ("BELLBUOY_OUTBOUND__NAME_SERVERS", text);
    let texts = [ports("443, 6379,8000-8999"), servers("10.0.0.53, 10.0.0.54:5353,fd00::53,[fd00::54]:5353")];
    let config = load(None, &variables(&texts), no_files).expect("settings");
    assert!(config.ports.allow(6379) && config.ports.allow(8080) && !config.ports.allow(80));
    let shown: Vec<_> = config.name_servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.53:53", "10.0.0.54:5353", "[fd00::53]:53", "[fd00::54]:5353"]);
    for wrong in [
        ports(""),
        ports("0"),
        ports("443-80"),
        ports("https"),
        servers("dns.example"),
        servers("10.0.0.53:x"),
    ] {
        assert_eq!(mistakes("", &[wrong]).len(), 1, "{wrong:?}");
    }
}

#[test]
fn a_log_filter_that_would_write_nothing_or_can_not_be_read_is_a_mistake() {
    let filter = |text| ("BELLBUOY_LOG__FILTER", text);
    for wrong in ["bellbuoy=nope", "warning", "inf", "info,bellbuoy_workers"] {
        assert_eq!(mistakes("", &[filter(wrong)]).len(), 1, "{wrong}");
    }
    for right in ["warn", "info,bellbuoy_workers=debug", "off,[attempt]=trace"] {
        load(None, &variables(&[filter(right)]), no_files).expect(right);
    }
}

#[test]
fn a_parameter_of_the_stores_url_that_would_be_ignored_is_named_and_its_value_is_not() {
    let url = |text| ("BELLBUOY_STORE__URL", text);
    for (wrong, named) in [
        ("postgres://db/bellbuoy?pasword=hunter2", "without the parameter `pasword`;"),
        ("postgres://db/bellbuoy?sslmode=require&SSLMODE=hunter2", "without the parameter `SSLMODE`;"),
        ("postgres://db/bellbuoy?hunter2", "without the parameter `...`;"),
    ] {
        let found = mistakes("", &[url(wrong)]);
        assert!(found.len() == 1 && found[0].contains(named) && !found[0].contains("hunter2"), "{found:?}");
    }
    let right = "postgres://db/bellbuoy?sslmode=verify-full&sslrootcert=/ca.pem&options[lock_timeout]=5s";
    load(None, &variables(&[url(right)]), no_files).expect("known parameters");
}

#[test]
fn a_heartbeat_and_a_tolerance_have_bounds() {
    for (name, wrong) in [
        ("BELLBUOY_BROKER__HEARTBEAT_SECONDS", ["0", "601", "10s"]),
        ("BELLBUOY_BROKER__DELAY_TOLERANCE_PERCENT", ["-1", "11", "1%"]),
    ] {
        for value in wrong {
            assert_eq!(mistakes("", &[(name, value)]).len(), 1, "{name} = {value}");
        }
    }
    let exact = variables(&[("BELLBUOY_BROKER__DELAY_TOLERANCE_PERCENT", "0")]);
    assert_eq!(load(None, &exact, no_files).expect("settings").delay_tolerance, 0);
}

#[test]
fn half_of_a_client_identity_is_a_mistake() {
    assert_eq!(mistakes("[outbound]\nclient_key = 'key.pem'", &[]).len(), 1);
}

#[test]
fn what_is_not_toml_is_named_with_its_place_and_not_shown() {
    let found = mistakes("listen = 'x'\n\n[store]\nurl = \"postgres://bellbuoy:hunter2@db/x\n", &[]);
    assert!(found[0].starts_with("bellbuoy.toml is not TOML: line 4: "), "{found:?}");
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn the_example_file_is_the_table_of_settings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/bellbuoy.example.toml");
    let text = std::fs::read_to_string(path).expect("the example file");
    assert_eq!(
        text,
        example(),
        "write it anew with `bellbuoy config example > deploy/bellbuoy.example.toml`"
    );
    let uncommented: String =
        text.lines().flat_map(|line| [line.strip_prefix("#: ").unwrap_or(line), "\n"]).collect();
    load(Some(&file(&uncommented)), &BTreeMap::new(), no_files).expect("the example is valid");
}

#[test]
fn as_many_connections_to_a_host_are_kept_as_attempts_may_be_in_flight() {
    let read = |text: &str| load(Some(&file(text)), &BTreeMap::new(), no_files).expect("settings");
    for (text, kept) in [("", 64), ("[limits]\nper_host = 7\n", 7)] {
        let outbound = crate::open::outbound(&read(text)).expect("usable");
        assert_eq!(outbound.pool_idle_per_host, kept);
    }
}
