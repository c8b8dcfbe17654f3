//! The public keys that registry tokens are signed with, as the operator gives them: PEM or JWK.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

use super::token::{Algorithm, Token, decode};

/// Most keys of a document that are kept: a token without a key's name is tried with each.
const MOST: usize = 32;

/// Fewest and most bytes of an RSA key's modulus: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of a document, of which there is at least one.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

/// A key, good for one algorithm alone.
#[derive(Debug)]
pub(super) struct Key {
    /// What its document calls it. PEM calls a key nothing.
    id: Option<String>,
    public: Public,
}

#[derive(Debug, PartialEq, Eq)]
enum Public {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed: 4, then both coordinates.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Keys {
    /// Reads a document: PEM of public keys or certificates, a JWK, or a set of JWKs. Of a set, keys for other uses or
    /// algorithms are passed over.
    ///
    /// # Errors
    ///
    /// When there is no key in it that a token can be checked with; and when it holds a private one, which has no
    /// business here.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        let text =
            std::str::from_utf8(document).map_err(|_| "it is no text; give PEM, a JWK or a JWK set")?;
        let keys = if text.contains("-----BEGIN ") { from_pem(text)? } else { from_json(text)? };
        match keys.len() {
            0 => Err("it holds no key for RS256, ES256 or EdDSA".to_owned()),
            1..=MOST => Ok(Self(keys)),
            many => Err(format!("it holds {many} keys, and {MOST} are the most that are tried")),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that a token may be signed with: the one that it names; where there is none of that name, those without
    /// one; and for a token that names none, all.
    pub(super) fn candidates<'a>(&'a self, token: &'a Token<'_>) -> impl Iterator<Item = &'a Key> {
        let wanted = token.key.as_deref();
        let is_known = wanted.is_some() && self.0.iter().any(|key| key.id.as_deref() == wanted);
        self.0.iter().filter(move |key| match wanted {
            None => true,
            Some(_) if is_known => key.id.as_deref() == wanted,
            Some(_) => key.id.is_none(),
        })
    }
}

impl Key {
    /// Whether it signed the token, by its own algorithm and no other.
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        let (message, signature) = (token.signed.as_bytes(), &token.signature);
        let verified = match (&self.public, token.algorithm) {
            (Public::Rsa { modulus, exponent }, Algorithm::Rs256) => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Public::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Public::Ed25519(point), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            _ => return false,
        };
        verified.is_ok()
    }
}

impl Public {
    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let plain = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        };
        let (modulus, exponent) = (plain(modulus), plain(exponent));
        if !RSA_BYTES.contains(&modulus.len()) {
            return Err(format!("its RSA key has {} bits, and should have 2048 to 8192", modulus.len() * 8));
        }
        if exponent.is_empty() || exponent.len() > 4 {
            return Err("its RSA key's exponent is out of range".to_owned());
        }
        Ok(Self::Rsa { modulus, exponent })
    }

    fn p256(x: &[u8], y: &[u8]) -> Result<Self, String> {
        if x.len() != 32 || y.len() != 32 {
            return Err("its P-256 key has no two coordinates of 32 bytes".to_owned());
        }
        Ok(Self::P256([&[4], x, y].concat()))
    }

    fn ed25519(point: &[u8]) -> Result<Self, String> {
        if point.len() != 32 {
            return Err("its Ed25519 key has not 32 bytes".to_owned());
        }
        Ok(Self::Ed25519(point.to_vec()))
    }
}

/// A JSON Web Key ([RFC 7517]), as far as it is looked at.
///
/// [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

fn from_json(text: &str) -> Result<Vec<Key>, String> {
    let mut document: Value =
        serde_json::from_str(text).map_err(|_| "it is neither PEM nor JSON; give PEM, a JWK or a JWK set")?;
    let Some(Value::Array(several)) = document.get_mut("keys").map(Value::take) else {
        let jwk: Jwk = serde_json::from_value(document).map_err(|error| format!("it is no JWK: {error}"))?;
        return jwk.read().map(|key| key.into_iter().collect());
    };
    let (mut keys, mut problem) = (Vec::new(), None);
    for one in several {
        // One that is odd does not make the others so.
        match serde_json::from_value::<Jwk>(one).map_err(|error| error.to_string()).and_then(Jwk::read) {
            Ok(key) => keys.extend(key),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match problem {
        Some(problem) if keys.is_empty() => Err(problem),
        _ => Ok(keys),
    }
}

impl Jwk {
    /// The key; `None` if it is for something else.
    fn read(self) -> Result<Option<Key>, String> {
        let (algorithm, curve) = match self.kty.as_str() {
            "RSA" => ("RS256", None),
            "EC" => ("ES256", Some("P-256")),
            "OKP" => ("EdDSA", Some("Ed25519")),
            _ => return Ok(None),
        };
        let fits = self.alg.as_deref().is_none_or(|alg| alg == algorithm)
            && (curve.is_none() || self.crv.as_deref() == curve)
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !fits {
            return Ok(None);
        }
        if self.d.is_some() {
            return Err("it holds a private key; give the public one alone".to_owned());
        }
        let part = |name: &str, text: &Option<String>| {
            let decoded = text.as_deref().and_then(|text| decode(text).ok());
            decoded.ok_or_else(|| format!("a key's `{name}` is not base64url"))
        };
        let public = match algorithm {
            "RS256" => Public::rsa(&part("n", &self.n)?, &part("e", &self.e)?)?,
            "ES256" => Public::p256(&part("x", &self.x)?, &part("y", &self.y)?)?,
            _ => Public::ed25519(&part("x", &self.x)?)?,
        };
        Ok(Some(Key { id: self.kid, public }))
    }
}

fn from_pem(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or("its PEM is cut off")?;
        let body = rest.split_once(&format!("-----END {label}-----")).ok_or("its PEM is cut off")?.0;
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).map_err(|_| "its PEM is not base64")?;
        let public = match label {
            "PUBLIC KEY" => public_key_info(&der),
            "RSA PUBLIC KEY" => rsa(&der),
            "CERTIFICATE" => certificate(&der).and_then(public_key_info),
            private if private.contains("PRIVATE KEY") => {
                return Err("it holds a private key; give the public one alone".to_owned());
            }
            other => return Err(format!("it holds a {other}; give PUBLIC KEY or CERTIFICATE")),
        };
        let public = public.ok_or_else(|| format!("its {label} is none for RS256, ES256 or EdDSA"))??;
        keys.push(Key { id: None, public });
    }
    Ok(keys)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
/// `[0] EXPLICIT`: a certificate's version.
const VERSION: u8 = 0xa0;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// 1.2.840.10045.2.1, and its curve 1.2.840.10045.3.1.7
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// 1.3.101.112
const ED25519_ID: &[u8] = b"\x2b\x65\x70";

/// DER as a row of elements, as far as the operator's own keys need it.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's contents, if it is of this type.
    fn take(&mut self, kind: u8) -> Option<&'a [u8]> {
        let (found, contents, rest) = self.split()?;
        if found != kind {
            return None;
        }
        self.0 = rest;
        Some(contents)
    }

    fn split(&self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (kind, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            short @ 0..=0x7f => (short, rest),
            long @ 0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(long - 0x80)?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        Some((*kind, contents, rest))
    }
}

/// `SubjectPublicKeyInfo`. The outer `None` is for what is no key that we know.
fn public_key_info(der: &[u8]) -> Option<Result<Public, String>> {
    let mut info = Der(Der(der).take(SEQUENCE)?);
    let mut algorithm = Der(info.take(SEQUENCE)?);
    // A bit string's first byte counts unused bits, and there are none.
    let key = info.take(BIT_STRING)?.strip_prefix(&[0])?;
    match algorithm.take(OBJECT_ID)? {
        RSA => rsa(key),
        EC if algorithm.take(OBJECT_ID)? == P256 => {
            let (x, y) = key.strip_prefix(&[4])?.split_at_checked(32)?;
            Some(Public::p256(x, y))
        }
        ED25519_ID => Some(Public::ed25519(key)),
        _ => None,
    }
}

/// `RSAPublicKey`.
fn rsa(der: &[u8]) -> Option<Result<Public, String>> {
    let mut key = Der(Der(der).take(SEQUENCE)?);
    let (modulus, exponent) = (key.take(INTEGER)?, key.take(INTEGER)?);
    Some(Public::rsa(modulus, exponent))
}

/// The `SubjectPublicKeyInfo` of an X.509 certificate. The operator trusts the key by naming its file; who signed the
/// certificate and for how long is of no account.
fn certificate(der: &[u8]) -> Option<&[u8]> {
    let mut fields = Der(Der(Der(der).take(SEQUENCE)?).take(SEQUENCE)?);
    let _ = fields.take(VERSION);
    fields.take(INTEGER)?; // The serial number; then the algorithm, the issuer, the validity and the subject.
    for _ in 0..4 {
        fields.take(SEQUENCE)?;
    }
    let (_, _, rest) = fields.split()?;
    fields.0.get(..fields.0.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PEM: &str = include_str!("../../../tests/keys/public.pem");

    fn refused(document: &str) -> String {
        Keys::read(document.as_bytes()).expect_err("refused")
    }

    #[test]
    fn pem_and_jwk_of_the_same_keys_are_the_same_keys() {
        let pem = Keys::read(PEM.as_bytes()).expect("keys");
        let set = include_bytes!("../../../tests/keys/jwks.json");
        let set = Keys::read(set).expect("keys");
        assert_eq!((pem.len(), set.len()), (6, 3));
        let public = |keys: &Keys, place: usize| format!("{:?}", keys.0[place].public);
        for place in 0..3 {
            assert_eq!(public(&pem, place), public(&set, place));
            assert!(pem.0[place].id.is_none() && set.0[place].id.is_some());
        }
        assert_eq!(public(&pem, 3), public(&pem, 0), "as PKCS#1");
        assert_eq!(public(&pem, 4), public(&pem, 0), "in a certificate");
        assert_eq!(public(&pem, 5), public(&pem, 1), "in a certificate of version 1");
    }

    #[test]
    fn a_document_without_a_usable_key_is_refused_with_what_to_give() {
        for (document, said) in [
            ("", "neither PEM nor JSON"),
            ("{}", "it is no JWK"),
            (r#"{"keys": []}"#, "no key for RS256, ES256 or EdDSA"),
            (r#"{"kty": "oct", "k": "c2VjcmV0"}"#, "no key for RS256, ES256 or EdDSA"),
            (r#"{"keys": [{"kty": "EC", "crv": "P-384", "x": "", "y": ""}]}"#, "no key for"),
            (r#"{"kty": "RSA", "n": "AQAB", "e": "AQAB"}"#, "24 bits, and should have 2048 to 8192"),
            (r#"{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}"#, "no two coordinates of 32 bytes"),
            (r#"{"kty": "OKP", "crv": "Ed25519", "x": "A*"}"#, "`x` is not base64url"),
            (r#"{"kty": "OKP", "crv": "Ed25519", "x": "AQAB", "d": "AQAB"}"#, "a private key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA", "cut off"),
            ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "not base64"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "none for RS256"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "a private key"),
            (
                "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----",
                "give PUBLIC KEY or CERTIFICATE",
            ),
        ] {
            let told = refused(document);
            assert!(told.contains(said), "{document}: {told}");
        }
        let many =
            json!({"keys": vec![json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}); MOST + 1]});
        assert!(refused(&many.to_string()).contains("33 keys"));
    }

    #[test]
    fn of_a_set_what_is_for_something_else_or_odd_is_passed_over() {
        let x = "A".repeat(43);
        let set = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "key_ops": ["sign"]},
            {"kty": "OKP", "crv": "X25519", "x": x},
            {"kty": "RSA", "alg": "RS512", "n": "AQAB", "e": "AQAB"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
            {"kty": 7},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "key_ops": ["verify"], "alg": "EdDSA", "kid": "good"},
        ]});
        let keys = Keys::read(set.to_string().as_bytes()).expect("one");
        assert_eq!((keys.len(), keys.0[0].id.as_deref()), (1, Some("good")));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_key_and_no_harm() {
        for block in PEM.split("-----BEGIN ").skip(1) {
            let body: String = block.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
            let der = BASE64_STANDARD.decode(body).expect("base64");
            for end in 0..der.len() {
                assert!(public_key_info(&der[..end]).is_none() && rsa(&der[..end]).is_none(), "{end}");
                assert!(certificate(&der[..end]).and_then(public_key_info).is_none(), "{end}");
            }
        }
    }
}
