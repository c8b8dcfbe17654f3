//! TLS: whom we trust, what we show, and what went wrong in words.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, crypto::ring, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::{info, warn};

use crate::{ClientIdentity, Outbound, SetupError};

/// The one TLS configuration, read once: platform roots (or Mozilla's, bundled, where the
/// platform has none), the operator's own authorities beside them, TLS 1.2 and 1.3.
///
/// The provider is named rather than found, so that a second one in the process changes nothing.
pub(crate) fn configuration(settings: &Outbound) -> Result<ClientConfig, SetupError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots(settings.extra_ca_pem.as_deref())?);
    match &settings.client_identity {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientIdentity { cert_pem, key_pem }) => {
            let wrong = |error: String| SetupError::ClientIdentity(error);
            let chain = certificates(cert_pem).map_err(wrong)?;
            let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| wrong(error.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong(error.to_string()))
        }
    }
}

fn roots(extra: Option<&[u8]>) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    for error in &platform.errors {
        warn!("could not read some of the platform's certificate authorities: {error}");
    }
    let (trusted, _unusable) = roots.add_parsable_certificates(platform.certs);
    if trusted == 0 {
        warn!("the platform has no certificate authorities; trusting the bundled ones of Mozilla");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = extra {
        for certificate in certificates(pem).map_err(SetupError::ExtraCa)? {
            roots.add(certificate).map_err(|error| SetupError::ExtraCa(error.to_string()))?;
        }
    }
    info!(roots = roots.len(), platform = trusted, "read {} certificate authorities", roots.len());
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("there is none in it".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// What failed, for people: never what the certificate itself says, which its holder chose.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => format!("the receiver's certificate {}", certificate(problem)),
        Error::AlertReceived(alert) => alert_words(*alert),
        Error::InvalidMessage(_) => "the receiver did not answer in TLS; is this port plain http?".to_owned(),
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) => {
            format!("the receiver's TLS does not fit ours (1.2 and 1.3): {error}")
        }
        Error::NoCertificatesPresented => "the receiver showed no certificate".to_owned(),
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn certificate(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another host name"
        }
        CertificateError::UnknownIssuer => {
            "is signed by an authority that is not trusted here; an operator can add it with outbound.extra_ca"
        }
        CertificateError::Revoked => "was revoked",
        CertificateError::BadEncoding => "can't be read",
        CertificateError::BadSignature => "has a wrong signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for servers"
        }
        _ => "is not acceptable",
    }
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the receiver demands a client certificate; an operator can set one with outbound.client_certificate"
                .to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => format!("the receiver refused our client certificate ({alert:?})"),
        AlertDescription::ProtocolVersion => {
            "the receiver speaks no TLS version that we do (1.2 and 1.3)".to_owned()
        }
        other => format!("the receiver ended the TLS handshake ({other:?})"),
    }
}
