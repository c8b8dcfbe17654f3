//! Keys that requests are signed with, made here.

use bellbuoy_domain::{KeyKind, PrivateKey, Secret, SigningKey};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};

use crate::problem::Problem;

/// Bytes of a secret that we make: the fewest that Standard Webhooks allows.
const SECRET_BYTES: usize = 24;

/// A new secret.
pub(crate) fn make_secret() -> Result<Secret, Problem> {
    Secret::from_bytes(random::<SECRET_BYTES>()?.to_vec()).map_err(|_| Problem::internal())
}

/// A new ed25519 key.
pub(crate) fn make_private_key() -> Result<PrivateKey, Problem> {
    Ok(PrivateKey::from_seed(random()?, public_of))
}

/// A new key of that kind.
pub(crate) fn make(kind: KeyKind) -> Result<SigningKey, Problem> {
    Ok(match kind {
        KeyKind::Secret => SigningKey::Secret(make_secret()?),
        KeyKind::SigningKey => SigningKey::Private(make_private_key()?),
    })
}

/// The public key of an ed25519 seed.
///
/// # Panics
///
/// Never: any 32 bytes are a seed, and a public key has as many.
pub(crate) fn public_of(seed: &[u8; 32]) -> [u8; 32] {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
    pair.public_key().as_ref().try_into().expect("a public key has 32 bytes")
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        tracing::error!("the system gave no random bytes for a webhook's key");
        Problem::internal()
    })?;
    Ok(bytes)
}
