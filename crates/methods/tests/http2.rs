//! What a receiver may do wrong over HTTP/2: each is a failed attempt within the deadline, in bounded memory, and not
//! repeated behind our back.

mod common;

use bellbuoy_domain::Outcome;
use bellbuoy_methods::Outbound;
use bellbuoy_testkit::{
    certs::Authority,
    http2::{faults, serve},
};
use common::{client, code, post_in_time, settings};

#[tokio::test]
async fn each_fault_of_http2_is_a_failed_attempt_in_time_and_asked_once() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let identity = ours.server(&["127.0.0.1"])?;
    for (name, fault, expected) in faults() {
        let server = serve(&identity, fault).await?;
        let client = client(Outbound { extra_ca_pem: Some(ours.pem().into()), ..settings() });
        let report = post_in_time(&client, &format!("https://{}/hook", server.address())).await;
        let as_told = code(&report).is_some_and(|code| expected.contains(&code.name()));
        assert!(as_told && matches!(report.outcome, Outcome::Deferred { .. }), "{name}: {report:?}");
        assert_eq!(server.requests(), 1, "{name}: asked more than once");
    }
    Ok(())
}
