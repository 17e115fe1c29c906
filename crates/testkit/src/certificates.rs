//! Certificates for one test: an authority, a server that it vouches for, and a client.
//!
//! They are made anew each time, as PEM files in a directory that is removed with them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

use crate::{
    error::{Doing, Error, Result},
    random::Random,
};

/// An authority and the certificates that it signed.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes an authority, a server certificate for `localhost` and `127.0.0.1`, and a client certificate.
    pub fn make() -> Result<Self> {
        Self::make_for(&["localhost", "127.0.0.1"])
    }

    /// The same with a server certificate for other names or addresses.
    pub fn make_for(names: &[&str]) -> Result<Self> {
        let directory = TempDir::with_prefix("fantail-certificates-").doing("making a directory for certificates")?;
        let (authority, pem) = authority().map_err(unmakable)?;
        let certificates = Self { directory };
        certificates.write("ca.pem", &pem)?;
        certificates.write_signed("server", names, &authority)?;
        certificates.write_signed("client", &["client.example"], &authority)?;
        Ok(certificates)
    }

    /// The same with a client certificate that expires so soon.
    pub fn make_with_client_for(life: Duration) -> Result<Self> {
        let directory = TempDir::with_prefix("fantail-certificates-").doing("making a directory for certificates")?;
        let (authority, pem) = authority().map_err(unmakable)?;
        let certificates = Self { directory };
        certificates.write("ca.pem", &pem)?;
        certificates.write_signed("server", &["localhost", "127.0.0.1"], &authority)?;
        let mut params = CertificateParams::new(["client.example".into()]).map_err(unmakable)?;
        params.not_after = (SystemTime::now() + life).into();
        certificates.write_params("client", &params, &authority)?;
        Ok(certificates)
    }

    /// The same with a server certificate that was valid up to the last century.
    pub fn make_expired() -> Result<Self> {
        let directory = TempDir::with_prefix("fantail-certificates-").doing("making a directory for certificates")?;
        let (authority, pem) = authority().map_err(unmakable)?;
        let certificates = Self { directory };
        certificates.write("ca.pem", &pem)?;
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).map_err(unmakable)?;
        (params.not_before, params.not_after) = (date_time_ymd(1998, 1, 1), date_time_ymd(1999, 1, 1));
        certificates.write_params("server", &params, &authority)?;
        Ok(certificates)
    }

    /// Makes a server certificate for `localhost` and `127.0.0.1` that signed itself, and so is its own authority. It
    /// may claim to be an authority (`CA:TRUE`), as those of some tools do unasked. There is no client certificate.
    pub fn make_self_signed(is_authority: bool) -> Result<Self> {
        let directory = TempDir::with_prefix("fantail-certificates-").doing("making a directory for certificates")?;
        let certificates = Self { directory };
        let key = KeyPair::generate().map_err(unmakable)?;
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).map_err(unmakable)?;
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let pem = params.self_signed(&key).map_err(unmakable)?.pem();
        certificates.write("ca.pem", &pem)?;
        certificates.write("server.pem", &pem)?;
        certificates.write("server.key", &key.serialize_pem())?;
        Ok(certificates)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The server's certificate.
    pub fn server(&self) -> PathBuf {
        self.path("server.pem")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.path("server.key")
    }

    /// The client's certificate.
    pub fn client(&self) -> PathBuf {
        self.path("client.pem")
    }

    /// The client's key.
    pub fn client_key(&self) -> PathBuf {
        self.path("client.key")
    }

    fn write_signed(&self, name: &str, names: &[&str], authority: &Issuer<'_, KeyPair>) -> Result<()> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).map_err(unmakable)?;
        params.distinguished_name.push(DnType::CommonName, &names[0]);
        self.write_params(name, &params, authority)
    }

    fn write_params(&self, name: &str, params: &CertificateParams, authority: &Issuer<'_, KeyPair>) -> Result<()> {
        let key = KeyPair::generate().map_err(unmakable)?;
        // Strict clients, Python 3.13 for one, demand the authority's fingerprint.
        let mut params = params.clone();
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, authority);
        self.write(&format!("{name}.pem"), &signed.map_err(unmakable)?.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, pem: &str) -> Result<()> {
        fs::write(self.path(name), pem).doing(format!("writing {name}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }
}

/// The authority's key for signing, and its own certificate.
fn authority() -> Result<(Issuer<'static, KeyPair>, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, format!("authority {:016x}", Random::from_entropy().below(u64::MAX)));
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

#[allow(clippy::needless_pass_by_value)] // it is what `map_err` hands over
fn unmakable(error: rcgen::Error) -> Error {
    Error::Protocol(format!("cannot make a certificate: {error}"))
}
