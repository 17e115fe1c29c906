//! The files of an encrypted listener, as they are read at start and again later.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use aws_lc_rs::digest::{SHA256, digest};
use fantail_config::{ClientAuth, Internal, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::access::read_file;

/// The names of a certificate's file and of its key's.
const CERTBOT: (&str, &str) = ("fullchain.pem", "privkey.pem");
const CERTIFICATE_EXTENSIONS: [&str; 2] = ["crt", "pem"];
const KEY_EXTENSION: &str = "key";

/// The settings that name the files of a listener, for messages.
struct Names {
    certificate: &'static str,
    key: &'static str,
    client_ca: &'static str,
}

const PUBLIC: Names = Names { certificate: "tls_cert", key: "tls_key", client_ca: "tls_client_ca" };
const INTERNAL: Names =
    Names { certificate: "internal_tls_cert", key: "internal_tls_key", client_ca: "internal_tls_client_ca" };
const DIRECTORY: &str = "tls_directory";
const TICKET_KEYS: &str = "tls_ticket_keys";

/// The places of the files, as the settings give them.
pub(super) struct Places {
    /// The setting that switches the listener on, for messages.
    pub(super) setting: &'static str,
    names: Names,
    pairs: Vec<(PathBuf, PathBuf)>,
    directory: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    pub(super) client_auth: ClientAuth,
    ticket_keys: Vec<PathBuf>,
}

/// A file, and what is in it, which is wiped when it is of no more use.
pub(super) struct File {
    setting: &'static str,
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
}

/// All files of a listener.
pub(super) struct Files {
    /// Each certificate with its key.
    pub(super) pairs: Vec<(File, File)>,
    pub(super) client_ca: Option<File>,
    pub(super) ticket_keys: Vec<File>,
}

/// The traces of files that were read: by these a change is noticed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FilesRead {
    certificates: Vec<PathBuf>,
    digests: Vec<Digest>,
}

type Digest = [u8; 32];

impl Places {
    pub(super) fn public(tls: &Tls) -> Option<Self> {
        (!tls.tls_listen.is_empty()).then(|| Self {
            setting: "tls_listen",
            names: PUBLIC,
            pairs: tls.tls_cert.iter().cloned().zip(tls.tls_key.iter().cloned()).collect(),
            directory: tls.tls_directory.clone(),
            client_ca: tls.tls_client_ca.clone(),
            client_auth: tls.tls_client_auth,
            ticket_keys: tls.tls_ticket_keys.clone(),
        })
    }

    pub(super) fn internal(internal: &Internal) -> Option<Self> {
        let pair = internal.internal_tls_cert.clone().zip(internal.internal_tls_key.clone())?;
        Some(Self {
            setting: INTERNAL.certificate,
            names: INTERNAL,
            pairs: vec![pair],
            directory: None,
            client_ca: internal.internal_tls_client_ca.clone(),
            client_auth: ClientAuth::Required,
            ticket_keys: Vec::new(),
        })
    }
}

impl Files {
    pub(super) fn read(places: &Places) -> anyhow::Result<Self> {
        let names = &places.names;
        let mut pairs = read_pairs(&places.pairs, names.certificate, names.key)?;
        if let Some(directory) = &places.directory {
            let told = || format!("{DIRECTORY} {}", directory.display());
            let mut found = Vec::new();
            find_pairs(directory, &mut found).with_context(told)?;
            pairs.extend(read_pairs(&found, DIRECTORY, DIRECTORY)?);
            if pairs.is_empty() {
                bail!("{}: no certificate stands beside a key there, such as tls.crt beside tls.key", told());
            }
        }
        let client_ca = places.client_ca.as_ref().map(|path| File::read(names.client_ca, path)).transpose()?;
        let ticket_keys = places.ticket_keys.iter().map(|path| File::read(TICKET_KEYS, path));
        Ok(Self { pairs, client_ca, ticket_keys: ticket_keys.collect::<anyhow::Result<_>>()? })
    }

    pub(super) fn digests(&self) -> FilesRead {
        let pairs = self.pairs.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files = pairs.chain(&self.client_ca).chain(&self.ticket_keys);
        let certificates = self.pairs.iter().map(|(certificate, _)| certificate.path.clone()).collect();
        FilesRead { certificates, digests: files.map(File::digest).collect() }
    }

    /// Refuses files from which a certificate is missing only because its key is: it is being replaced, or cannot be read.
    pub(super) fn check_none_is_lost(&self, older: &FilesRead) -> anyhow::Result<()> {
        let is_here = |path: &PathBuf| self.pairs.iter().any(|(certificate, _)| certificate.path == *path);
        match older.certificates.iter().find(|path| path.exists() && !is_here(path)) {
            Some(path) => bail!("the key of {} is gone", path.display()),
            None => Ok(()),
        }
    }
}

impl File {
    fn read(setting: &'static str, path: &Path) -> anyhow::Result<Self> {
        let content = read_file(path).with_context(|| format!("{setting} {}", path.display()))?;
        Ok(Self { setting, path: path.to_owned(), content: Zeroizing::new(content) })
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(super) fn digest(&self) -> Digest {
        *digest(&SHA256, &self.content).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// The certificates in it, at least one.
    pub(super) fn certificates(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(self.content())
            .collect::<Result<_, _>>()
            .with_context(|| format!("{}: it cannot be read as PEM", self.told()))?;
        if certificates.is_empty() {
            bail!("{}: the file holds no PEM block of a CERTIFICATE", self.told());
        }
        Ok(certificates)
    }

    /// Its name and the setting that gives it, for messages.
    pub(super) fn told(&self) -> String {
        format!("{} {}", self.setting, self.path.display())
    }
}

/// Reads certificates and keys, each named by its setting.
fn read_pairs(
    pairs: &[(PathBuf, PathBuf)],
    of_certificate: &'static str,
    of_key: &'static str,
) -> anyhow::Result<Vec<(File, File)>> {
    let read = |(certificate, key): &(PathBuf, PathBuf)| {
        Ok((File::read(of_certificate, certificate)?, File::read(of_key, key)?))
    };
    pairs.iter().map(read).collect()
}

/// Adds the pairs of a directory and of those directly in it, by the order of their names.
fn find_pairs(directory: &Path, pairs: &mut Vec<(PathBuf, PathBuf)>) -> anyhow::Result<()> {
    for entry in entries(directory)? {
        if entry.is_dir() {
            for inner in entries(&entry)? {
                add_pair(inner, pairs);
            }
        } else {
            add_pair(entry, pairs);
        }
    }
    Ok(())
}

/// Kubernetes keeps the files of a secret in hidden directories behind links, so hidden names are passed over.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    paths.sort();
    Ok(paths)
}

fn add_pair(certificate: PathBuf, pairs: &mut Vec<(PathBuf, PathBuf)>) {
    let extension = certificate.extension().and_then(|extension| extension.to_str());
    if !extension.is_some_and(|extension| CERTIFICATE_EXTENSIONS.contains(&extension)) {
        return;
    }
    let is_certbots = certificate.file_name().is_some_and(|name| name == CERTBOT.0);
    let key =
        if is_certbots { certificate.with_file_name(CERTBOT.1) } else { certificate.with_extension(KEY_EXTENSION) };
    if key.exists() {
        pairs.push((certificate, key));
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_directory_gives_the_certificates_that_stand_beside_their_keys() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for name in [
            "a.crt",
            "a.key",
            "b.pem",
            "b.key",
            "ca.crt",
            "notes.txt",
            "..data/tls.crt",
            "..data/tls.key",
            "shop.example/fullchain.pem",
            "shop.example/privkey.pem",
            "shop.example/chain.pem",
            "deep/er/c.crt",
            "deep/er/c.key",
            "secret/tls.crt",
            "secret/tls.key",
        ] {
            make(name);
        }
        let mut pairs = Vec::new();
        find_pairs(directory.path(), &mut pairs).unwrap();
        let name = |path: &PathBuf| path.strip_prefix(directory.path()).unwrap().to_str().unwrap().to_owned();
        let found: Vec<_> = pairs.iter().map(|(certificate, key)| (name(certificate), name(key))).collect();
        let expected = [
            ("a.crt", "a.key"),
            ("b.pem", "b.key"),
            ("secret/tls.crt", "secret/tls.key"),
            ("shop.example/fullchain.pem", "shop.example/privkey.pem"),
        ];
        assert_eq!(found, expected.map(|(certificate, key)| (certificate.to_owned(), key.to_owned())));
    }
}
