//! The signatures of [Standard Webhooks 1.0.0], `v1` and `v1a`, and those of bodies alone.
//!
//! [Standard Webhooks 1.0.0]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use base64::{Engine, engine::general_purpose::STANDARD};
use bellbuoy_domain::{PrivateKey, Secret};
use ring::{hmac, signature::Ed25519KeyPair};

/// The `webhook-signature` of one request: `v1,` and the padded base64 of the HMAC-SHA256 of
/// `id.timestamp.body`.
///
/// `timestamp` is the Unix time in seconds of this very sending, since verifiers refuse what is
/// more than five minutes old; `body` is exactly what is sent.
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.key()));
    for part in [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body] {
        context.update(part);
    }
    let mut signature = String::from("v1,");
    STANDARD.encode_string(context.sign(), &mut signature);
    signature
}

/// The same by ed25519: `v1a,` and the padded base64 of the signature. `None` if the key's halves don't belong together.
pub fn sign_asymmetric(key: &PrivateKey, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let pair = Ed25519KeyPair::from_seed_and_public_key(key.seed(), key.public()).ok()?;
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let mut signature = String::from("v1a,");
    STANDARD.encode_string(pair.sign(&signed), &mut signature);
    Some(signature)
}

/// The value of `X-Hub-Signature-256` and of `X-Signature`: `sha256=` and the HMAC-SHA256 of the body in
/// lower-case hex. Receivers use the text of their secret, as it was given to them, as the key.
pub fn sign_body(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().fold(String::from("sha256="), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_own_example_comes_out() {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        assert_eq!(
            sign_body("It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn the_vectors_of_the_reference_libraries_come_out() {
        // The first is in the tests of the Python, JavaScript and Go libraries, the second in Rust's.
        for (secret, id, timestamp, body, expected) in [
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                r#"{"email":"test@example.com","username":"test_user"}"#,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
        ] {
            let secret = Secret::parse(secret).expect("a secret");
            assert_eq!(sign(&secret, id, timestamp, body.as_bytes()), expected);
        }
    }

    fn public_of(seed: &[u8; 32]) -> [u8; 32] {
        use ring::signature::KeyPair;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        pair.public_key().as_ref().try_into().expect("32 bytes")
    }

    #[test]
    fn the_asymmetric_vector_comes_out_by_the_whole_key_and_by_its_seed() {
        // From the tests of the reference server.
        let whole =
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
        let expected =
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        let key = PrivateKey::parse(whole, public_of).expect("a key");
        assert_eq!(key.public_text(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
        for key in [PrivateKey::from_seed(*key.seed(), public_of), key] {
            let signed = sign_asymmetric(
                &key,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#,
            );
            assert_eq!(signed.as_deref(), Some(expected));
        }
    }
}
