//! Certificate authorities and certificates for tests, good ones and bad ones.
//!
//! Keys are made anew each time, on the curve P-256, and never leave the memory unless a test
//! writes them down.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Somebody who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// Its key, PKCS#8.
    pub key_pem: String,
}

impl Authority {
    /// A new authority; two of the same name do not vouch for each other's certificates.
    pub fn new(name: &str) -> Result<Self, Error> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// The authority's own certificate, for whoever shall trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate for `names`: host names or IP addresses.
    pub fn server(&self, names: &[&str]) -> Result<Identity, Error> {
        self.sign(&server(names)?)
    }

    /// A server's certificate that ran out in 2001.
    pub fn expired_server(&self, names: &[&str]) -> Result<Identity, Error> {
        let mut params = server(names)?;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(&params)
    }

    /// A server's certificate that holds from 2090 on.
    pub fn future_server(&self, names: &[&str]) -> Result<Identity, Error> {
        let mut params = server(names)?;
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
        self.sign(&params)
    }

    /// A client's certificate.
    pub fn client(&self, name: &str) -> Result<Identity, Error> {
        let mut params = named(name, &[name])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Identity, Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Identity { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl Identity {
    /// A server's certificate that nobody but itself vouches for.
    pub fn self_signed(names: &[&str]) -> Result<Self, Error> {
        Self::signed_by_itself(&server(names)?)
    }

    /// One as `openssl req -x509` makes it: it calls itself an authority and is for any purpose.
    pub fn of_openssl(names: &[&str]) -> Result<Self, Error> {
        Self::signed_by_itself(&of_openssl(names)?)
    }

    /// The same, run out in 2001.
    pub fn expired_of_openssl(names: &[&str]) -> Result<Self, Error> {
        let mut params = of_openssl(names)?;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        Self::signed_by_itself(&params)
    }

    fn signed_by_itself(params: &CertificateParams) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn of_openssl(names: &[&str]) -> Result<CertificateParams, Error> {
    let mut params = named(names.first().copied().unwrap_or("nobody"), names)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn server(names: &[&str]) -> Result<CertificateParams, Error> {
    let mut params = named(names.first().copied().unwrap_or("nobody"), names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(name: &str, alternatives: &[&str]) -> Result<CertificateParams, Error> {
    let alternatives: Vec<String> = alternatives.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
