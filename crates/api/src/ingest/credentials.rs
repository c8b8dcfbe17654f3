//! How registries that can't send an `Authorization` of their own show who they are: Docker Hub by a
//! token in its URL, GitHub by a signature.

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, Uri, header};
use ring::hmac;

use super::query_value;
use crate::App;

/// Where GitHub puts it.
pub(crate) const SIGNATURE: &str = "x-hub-signature-256";

/// Where a token may stand in the URL. Elsewhere it may not: URLs end in logs.
pub(crate) const WITH_TOKEN: &str = "/v1/ingest/";

/// The member of a query that holds it.
pub(crate) const TOKEN: &str = "token";

/// Whose requests are signed.
pub(crate) const SIGNED: [&str; 2] = ["/v1/ingest/ghcr", "/v1/ingest/ghcr/"];

/// Puts the `token` of a registry's URL where every other credential stands, if there is none there.
pub(crate) fn lift_token(request: &mut Request) {
    if !request.uri().path().starts_with(WITH_TOKEN) || request.headers().contains_key(header::AUTHORIZATION)
    {
        return;
    }
    let Some(token) = query_value(request.uri(), TOKEN) else { return };
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}

/// Whether a request is let in because its body is signed: whoever reads the body checks that by
/// [`is_genuine`]. One that carries a token as well is judged by that.
pub(crate) fn is_signed(app: &App, uri: &Uri, headers: &HeaderMap) -> bool {
    app.api.github_secret.is_some()
        && SIGNED.contains(&uri.path())
        && headers.contains_key(SIGNATURE)
        && !headers.contains_key(header::AUTHORIZATION)
}

/// Whether a body has the signature that GitHub gives it with our common secret ([validating
/// deliveries]), in constant time.
///
/// [validating deliveries]: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
pub(crate) fn is_genuine(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag =
        headers.get(SIGNATURE).and_then(|value| from_hex(value.to_str().ok()?.strip_prefix("sha256=")?));
    tag.is_some_and(|tag| hmac::verify(&key, body, &tag).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genuine(secret: &str, signature: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, HeaderValue::from_str(signature).expect("a value"));
        is_genuine(secret, &headers, b"Hello, World!")
    }

    #[test]
    fn githubs_own_example_is_genuine_and_nothing_else_is() {
        let secret = "It's a Secret to Everybody";
        let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(genuine(secret, &format!("sha256={signature}")));
        assert!(genuine(secret, &format!("sha256={}", signature.to_uppercase())));
        for wrong in [
            "",
            "sha256=",
            signature,
            &format!("sha1={signature}"),
            &format!("sha256={}", &signature[..62]),
            &format!("sha256={}", &signature[..63]),
            &format!("sha256={}zz", &signature[..62]),
            &format!("sha256={signature}00"),
        ] {
            assert!(!genuine(secret, wrong), "{wrong}");
        }
        assert!(!genuine("another", &format!("sha256={signature}")));
        assert!(!is_genuine(secret, &HeaderMap::new(), b"Hello, World!"));
    }
}
