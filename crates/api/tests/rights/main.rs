//! Who may do what: every route with every role, and what a role learns of what is not its own.

#[path = "../common/mod.rs"]
mod common;

mod audit;
mod table;
mod tokens;
mod world;

use std::collections::BTreeSet;

use bellbuoy_api::{Api, Auth, RegistryTokens, ServerLimits};
use common::{JSON, Rig, TOKEN, contract, registry};
use table::{ALIKE, OTHERWISE, ROLES, Row, SUPERUSER, table};
use world::{account_name, credential, fill, headers_of, restore};

#[test]
fn the_table_has_every_operation_that_takes_a_credential() {
    let of = |(verb, path, ..): &Row| contract::operation(verb, path);
    let known: BTreeSet<String> = table().iter().filter_map(of).collect();
    let guarded = contract::guarded_operations();
    assert!(guarded.len() > 100, "{guarded:?}");
    let missing: Vec<_> = guarded.difference(&known).collect();
    assert!(missing.is_empty(), "these are not in the table: {missing:?}");
}

/// What every role is answered on a route of the table.
fn expected((verb, path, body, ok, answers): &Row) -> Vec<(&'static str, u16)> {
    let mut expected: Vec<_> = ROLES.into_iter().zip(answers(*ok)).collect();
    for (role, like) in ALIKE {
        let like = if (role, *verb) == ("auditor", "GET") { SUPERUSER } else { like };
        let body = body.to_string();
        let otherwise = OTHERWISE
            .iter()
            .find(|(who, by, at, of, _)| (*who, by, at) == (role, verb, path) && body.contains(of));
        let place = ROLES.iter().position(|known| *known == like).expect("a role");
        expected.push((role, otherwise.map_or(answers(*ok)[place], |(.., status)| *status)));
    }
    expected
}

#[test]
fn what_is_otherwise_is_of_the_table() {
    for (role, verb, path, ..) in OTHERWISE {
        assert!(ALIKE.iter().any(|(known, _)| known == role), "{role}");
        assert!(table().iter().any(|(known, at, ..)| (known, at) == (verb, path)), "{verb} {path}");
    }
}

#[tokio::test]
async fn every_route_answers_every_role_as_the_table_says() {
    let registry = RegistryTokens::new(registry::ISSUER, registry::AUDIENCE, || async {
        Ok(registry::JWKS.as_bytes().to_vec())
    });
    let generous = |api: &mut Api| {
        api.limits.wrong_tokens = u32::MAX;
        api.limits.letters = u32::MAX;
        let auth = Auth::new([TOKEN]).expect("a token").with_registry(registry);
        api.auth = auth.with_readonly_superusers(vec![account_name("auditor")]);
    };
    let rig = Rig::with(generous, ServerLimits::default()).await;
    fill(&rig.store).await;
    let mut wrong = Vec::new();
    for row in table() {
        let (verb, path, body, ..) = &row;
        for (role, expected) in expected(&row) {
            let made = restore(&rig.store).await;
            let shown = headers_of(role);
            let mut headers: Vec<(&str, &str)> =
                shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let content = if body.is_null() { String::new() } else { body.to_string() };
            if path.starts_with("/v1/events") && !body.is_null() {
                headers.push(("content-type", "application/cloudevents+json"));
            } else if !body.is_null() {
                headers.push(JSON);
            }
            let answer = rig.raw(verb, &made.path(path), &headers, content).await;
            if answer.status != expected {
                wrong.push(format!(
                    "{verb} {path} as {role}: {} not {expected}: {}",
                    answer.status,
                    answer.text()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_explanation_shows_nobody_elses_notification() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    restore(&rig.store).await;
    for (role, shown) in [("admin", 1), ("owner", 2), ("superuser", 3)] {
        let authorization = credential(role).expect("a credential");
        let answer =
            rig.raw("GET", "/v1/events/of-repository", &[("authorization", &authorization)], "").await;
        let considered = answer.json()["events"][0]["considered"].as_array().expect("a list").len();
        assert_eq!(considered, shown, "{role}");
    }
}
