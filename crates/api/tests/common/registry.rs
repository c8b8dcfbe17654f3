//! Tokens of a registry, signed with the keys of `tests/keys`.

use base64::{Engine, prelude::*};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const AUDIENCE: &str = "bellbuoy.example.com";

/// The public halves, as a set of JWKs, and without their names as PEM.
pub(crate) const JWKS: &str = include_str!("../keys/jwks.json");
pub(crate) const PUBLIC_PEM: &str = include_str!("../keys/public.pem");

/// Nobody's who is trusted.
const STRANGER: [u8; 32] = [7; 32];

pub(crate) fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// What the issuer says for an hour of `kim`, who may do `actions` to a repository.
pub(crate) fn claims(repository: &str, actions: &[&str]) -> Value {
    let now = Timestamp::now().as_second();
    json!({"iss": ISSUER, "sub": "kim", "aud": AUDIENCE, "exp": now + 3600, "nbf": now, "iat": now, "jti": "1",
        "access": [{"type": "repository", "name": repository, "actions": actions}]})
}

/// A token with this header and these claims, signed with `rsa`, `p256`, `ed25519` or a `stranger`'s key, or not at
/// all.
pub(crate) fn sign(key: &str, header: &Value, claims: &Value) -> String {
    sign_text(key, &header.to_string(), &claims.to_string())
}

/// The same, of texts that need not be JSON.
pub(crate) fn sign_text(key: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let (random, message) = (SystemRandom::new(), signed.as_bytes());
    let signature = match key {
        "rsa" => {
            let pair = RsaKeyPair::from_pkcs8(&der(include_str!("../keys/rsa.pem"))).expect("a key");
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("signed");
            signature
        }
        "p256" => {
            let key = der(include_str!("../keys/p256.pem"));
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).expect("a key");
            pair.sign(&random, message).expect("signed").as_ref().to_vec()
        }
        "ed25519" => {
            let key = der(include_str!("../keys/ed25519.pem"));
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).expect("a key");
            pair.sign(message).as_ref().to_vec()
        }
        "stranger" => {
            Ed25519KeyPair::from_seed_unchecked(&STRANGER).expect("a key").sign(message).as_ref().to_vec()
        }
        _ => Vec::new(),
    };
    format!("{signed}.{}", base64url(&signature))
}

/// The stranger's public key, which a token might offer along with itself.
pub(crate) fn strangers_key() -> Value {
    let pair = Ed25519KeyPair::from_seed_unchecked(&STRANGER).expect("a key");
    json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(body).expect("base64")
}
