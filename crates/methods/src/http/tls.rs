//! TLS: whom we trust, what we show, and what went wrong in words.

use std::{fmt, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::{
        WantsClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
    version,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tracing::{info, warn};

use crate::{ClientIdentity, Outbound, SetupError};

/// The operator's TLS configuration: platform roots (or Mozilla's, bundled, where the platform has none), the
/// operator's own authorities beside them, TLS 1.2 and 1.3.
///
/// The provider is named rather than found, so that a second one in the process changes nothing.
pub(crate) fn configuration(settings: &Outbound) -> Result<ClientConfig, SetupError> {
    let trust = Arc::new(roots(settings.extra_ca_pem.as_deref())?);
    usual(&trust, settings.client_identity.as_ref())
}

/// The same of roots that have been read.
pub(crate) fn usual(
    trust: &Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, SetupError> {
    let builder = builder()?.with_root_certificates(Arc::clone(trust));
    showing(builder, identity).map_err(SetupError::ClientIdentity)
}

/// What one notification wants of TLS for its receiver. Its `Debug` form hides the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnTls<'a> {
    /// Authorities (PEM) trusted beside all others; or the receiver's own certificate.
    pub extra_ca: Option<&'a str>,
    /// A certificate (PEM) shown instead of the operator's, and its key.
    pub identity: Option<(&'a str, &'a str)>,
    /// Whether any certificate will do.
    pub skip_verification: bool,
}

impl fmt::Debug for OwnTls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTls")
            .field("extra_ca", &self.extra_ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("skip_verification", &self.skip_verification)
            .finish()
    }
}

/// The configuration for one notification's receiver. `trust` is what is trusted for all, `identity` what is shown
/// to all.
///
/// # Errors
///
/// What is wrong with the notification's certificates, for its owner.
pub(crate) fn own(
    trust: &Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
    own: &OwnTls<'_>,
) -> Result<ClientConfig, String> {
    let builder = builder().map_err(|error| error.to_string())?;
    let builder = match own {
        OwnTls { skip_verification: true, .. } => {
            let anybody = AnyServer(ring::default_provider().signature_verification_algorithms);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(anybody))
        }
        OwnTls { extra_ca: Some(pem), .. } => {
            let wrong = |problem: String| format!("its extra_ca can't be used: {problem}");
            let own = certificates(pem.as_bytes()).map_err(wrong)?;
            let verifier = OwnOrTrusted::new(trust, own).map_err(wrong)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        OwnTls { extra_ca: None, .. } => builder.with_root_certificates(Arc::clone(trust)),
    };
    let own = own.identity.map(|(certificate, key)| ClientIdentity {
        cert_pem: certificate.as_bytes().to_vec(),
        key_pem: key.as_bytes().to_vec(),
    });
    showing(builder, own.as_ref().or(identity))
        .map_err(|problem| format!("its client_certificate and client_key can't be used: {problem}"))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, SetupError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(SetupError::Tls)
}

fn showing(
    builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, String> {
    let Some(ClientIdentity { cert_pem, key_pem }) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| error.to_string())?;
    builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())
}

/// Takes every certificate, for receivers whose owner says so and whose operator permits it. That the server holds
/// the certificate's key is checked all the same.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Takes what an authority vouches for that is trusted by all or is one of the owner's certificates; and a server that
/// shows one of the owner's certificates itself.
///
/// That is what `openssl req -x509` makes for an endpoint: a certificate which signs itself and calls itself an
/// authority. The rules for chains know no such server, nor one whose issuer is not among the certificates. But who
/// gave us this very certificate, byte for byte, as one to trust has said all that a chain could say. For which name it
/// is, until when, and that the server holds its key is checked as of any other.
#[derive(Debug)]
struct OwnOrTrusted {
    own: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
}

impl OwnOrTrusted {
    fn new(trust: &RootCertStore, own: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = trust.clone();
        for certificate in &own {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(ring::default_provider());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { own, chains: chains.map_err(|error| error.to_string())? })
    }
}

impl ServerCertVerifier for OwnOrTrusted {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chains.verify_server_cert(shown, intermediates, name, ocsp, now) {
            Err(refused) if lacks_a_chain(&refused) && self.own.iter().any(|own| own == shown) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Whether nothing is wrong with a certificate but who vouches for it. Its time is looked at before that, so one that
/// has run out is refused as such, and so is one that may not be a server's; the tests hold it.
fn lacks_a_chain(refused: &Error) -> bool {
    match refused {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => true,
        Error::InvalidCertificate(problem) => is_its_own_authority(problem),
        _ => false,
    }
}

/// Whether a server shows a certificate that calls itself an authority.
fn is_its_own_authority(problem: &CertificateError) -> bool {
    let CertificateError::Other(other) = problem else { return false };
    other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

pub(crate) fn roots(extra: Option<&[u8]>) -> Result<RootCertStore, SetupError> {
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
            "is signed by an authority that is not trusted here; an operator can add it with outbound.extra_ca, a webhook's owner with extra_ca"
        }
        CertificateError::Revoked => "was revoked",
        CertificateError::BadEncoding => "can't be read",
        CertificateError::BadSignature => "has a wrong signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for servers"
        }
        own if is_its_own_authority(own) => {
            "is its own authority, which is not trusted here; a webhook's owner can trust it with extra_ca"
        }
        _ => "is not acceptable",
    }
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the receiver demands a client certificate; an operator can set one with outbound.client_certificate, a webhook's owner with client_certificate"
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
