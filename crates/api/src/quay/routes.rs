//! The paths of Quay's API, and what is served at each.

use super::{
    authorized_email::{self, EmailView, Link},
    describe_error, dispatch, inbox, namespace,
    notifications::{of_acts, of_all, of_one},
    people::{self, EntitiesView, EntityQuery, OrganizationView, RobotView, RobotsView, UserView},
    permissions,
    problem::Described,
    repositories::{self, Made, RepositoryView},
    schema,
    sign_in::{self, CsrfToken, Success},
    with_slash,
};
use crate::contract::{Operation, Routes};

/// Everything of this surface.
pub(crate) fn routes() -> Routes {
    logins().and(own()).and(organizations()).and(repositories_of_all()).serve(
        Operation::get("/api/v1/error/{type}", "What an error type means.")
            .answers::<Described>(200)
            .refuses([404]),
        describe_error,
    )
}

fn logins() -> Routes {
    Routes::default()
        .serve(
            Operation::get(
                "/csrf_token",
                "The word to send as `X-CSRF-Token` with whatever changes something.",
            )
            .answers::<CsrfToken>(200),
            sign_in::csrf_token,
        )
        .serve(
            Operation::post("/api/v1/signin", "Sign in by name and password; gives a cookie.")
                .takes::<schema::SignIn>()
                .answers::<Success>(200)
                .refuses([403, 415, 429]),
            sign_in::sign_in,
        )
        .serve(
            Operation::post("/api/v1/signout", "End the login.").answers::<Success>(200),
            sign_in::sign_out,
        )
        .serve(
            Operation::get(
                "/authrepoemail",
                "The page behind the link of a mail that asks an address to agree.",
            )
            .asks::<Link>()
            .answers_as::<String>(200, "text/html; charset=utf-8")
            .answers_as::<String>(400, "text/html; charset=utf-8"),
            authorized_email::confirm,
        )
}

/// What is the caller's own.
fn own() -> Routes {
    const ALL: &str = "/api/v1/user/namespacenotifications";
    const ONE: &str = "/api/v1/user/namespacenotifications/{uuid}";
    const ITEM: &str = "/api/v1/user/notifications/{uuid}";
    let acts = of_acts([
        "/api/v1/user/namespacenotifications/{uuid}/test",
        "/api/v1/user/namespacenotifications/{uuid}/pause",
        "/api/v1/user/namespacenotifications/{uuid}/resume",
    ]);
    Routes::default()
        .lead("/api/v1/user", with_slash)
        .serve(
            Operation::get("/api/v1/user/", "Who the caller is.").answers::<UserView<'_>>(200),
            people::user,
        )
        .serve(
            Operation::get("/api/v1/user/robots", "The caller's robots.").answers::<RobotsView<'_>>(200),
            people::robots,
        )
        .serve(
            Operation::get("/api/v1/user/robots/{name}", "One of them.")
                .answers::<RobotView<'_>>(200)
                .refuses([404]),
            people::robot,
        )
        .serve(
            Operation::get("/api/v1/user/notifications", "What the caller was told, newest first.")
                .asks::<inbox::ListQuery>()
                .answers::<inbox::InboxView<'_>>(200),
            inbox::list,
        )
        .serve(
            Operation::get(ITEM, "An item.").answers::<inbox::ItemView<'_>>(200).refuses([404]),
            inbox::get,
        )
        .serve(
            Operation::put(ITEM, "Put an item away, or bring it back.")
                .takes::<schema::DismissedBody>()
                .answers::<inbox::ItemView<'_>>(200)
                .refuses([404, 415]),
            inbox::put,
        )
        .serve_all(ALL, of_all(ALL), namespace::own)
        .serve_all(ONE, of_one(ONE), namespace::own)
        .serve_all("/api/v1/user/namespacenotifications/{uuid}/{act}", acts, namespace::own)
}

fn organizations() -> Routes {
    const ALL: &str = "/api/v1/organization/{org}/notifications";
    const ONE: &str = "/api/v1/organization/{org}/notifications/{uuid}";
    let acts = of_acts([
        "/api/v1/organization/{org}/notifications/{uuid}/test",
        "/api/v1/organization/{org}/notifications/{uuid}/pause",
        "/api/v1/organization/{org}/notifications/{uuid}/resume",
    ]);
    Routes::default()
        .serve(
            Operation::get("/api/v1/organization/{org}", "An organization, with its teams for its members.")
                .answers::<OrganizationView<'_>>(200)
                .refuses([404]),
            people::organization,
        )
        .serve(
            Operation::get("/api/v1/organization/{org}/robots", "An organization's robots.")
                .answers::<RobotsView<'_>>(200)
                .refuses([404]),
            people::robots,
        )
        .serve(
            Operation::get("/api/v1/organization/{org}/robots/{name}", "One of them.")
                .answers::<RobotView<'_>>(200)
                .refuses([404]),
            people::robot,
        )
        .serve(
            Operation::get("/api/v1/entities/{prefix}", "Users, robots, organizations and teams of a name.")
                .asks::<EntityQuery>()
                .answers::<EntitiesView>(200),
            people::entities,
        )
        .serve_all(ALL, of_all(ALL), namespace::of_organization)
        .serve_all(ONE, of_one(ONE), namespace::of_organization)
        .serve_all("/api/v1/organization/{org}/notifications/{uuid}/{act}", acts, namespace::of_organization)
}

/// What is below a repository, whose name may hold slashes: see [`super::path`].
fn repositories_of_all() -> Routes {
    const REPOSITORY: &str = "/api/v1/repository/{repository}";
    const EMAIL: &str = "/api/v1/repository/{repository}/authorizedemail/{email}";
    let below = [
        Operation::get(REPOSITORY, "A repository.").answers::<RepositoryView<'_>>(200).refuses([404]),
        Operation::delete(REPOSITORY, "Delete a repository.").answers_nothing(204).refuses([404]),
        Operation::get(EMAIL, "Whether an address agreed to hear of a repository.")
            .answers::<EmailView<'_>>(200)
            .refuses([404]),
        Operation::post(EMAIL, "Ask an address, by a mail with a link, to agree.")
            .answers::<EmailView<'_>>(200)
            .refuses([400]),
    ];
    let notifications = of_all("/api/v1/repository/{repository}/notification/")
        .into_iter()
        .chain(of_one("/api/v1/repository/{repository}/notification/{uuid}"))
        .chain(of_acts([
            "/api/v1/repository/{repository}/notification/{uuid}/test",
            "/api/v1/repository/{repository}/notification/{uuid}/pause",
            "/api/v1/repository/{repository}/notification/{uuid}/resume",
        ]));
    Routes::default()
        .serve(
            Operation::post("/api/v1/repository", "Make a repository.")
                .takes::<schema::NewRepository>()
                .answers::<Made<'_>>(201)
                .refuses([415]),
            repositories::create,
        )
        .serve_all(
            "/api/v1/repository/{*rest}",
            below.into_iter().chain(notifications).chain(permissions::operations()),
            dispatch,
        )
}
