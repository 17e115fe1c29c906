//! Keys from the operator's files.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use fantail_access::{KEYS_MAX, KeyAlgorithm, KeySet, SigningKey};
use fantail_config::{Access, KeyFile};

use crate::http_client::ServerUrl;

/// A key or a key set is smaller; a device or a log named by mistake is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads all keys of the settings but those of a JWKS from elsewhere. An error names the setting and the file.
pub(super) fn read(access: &Access) -> anyhow::Result<KeySet> {
    let mut keys = Vec::new();
    if let Some(secret) = &access.token_secret {
        let algorithm = "HS256".parse().expect("it is known");
        keys.push(SigningKey::exact(algorithm, None, secret.expose().as_bytes()).context("token_secret")?);
    }
    for file in &access.token_keys {
        read_key_file(file, &mut keys).with_context(|| format!("token_keys: {}", file.path.display()))?;
    }
    let own = KeySet::new(keys).context("token_keys")?;
    match access.token_jwks.as_deref().filter(|place| !is_url(place)) {
        None => Ok(own),
        Some(path) => {
            let read = || anyhow::Ok(KeySet::from_jwks(&read_file(Path::new(path))?)?);
            let set = read().with_context(|| format!("token_jwks: {path}"))?;
            Ok(KeySet::joined([own, set])?)
        }
    }
}

/// Whether the settings' key files can be read and hold keys.
pub(crate) fn check(access: &Access) -> anyhow::Result<()> {
    if let Some(url) = access.token_jwks.as_deref().filter(|place| is_url(place)) {
        let parsed = ServerUrl::parse(url).map_err(|reason| anyhow::anyhow!("token_jwks: {reason}"))?;
        if !parsed.is_tls() && parsed.is_remote() {
            bail!("token_jwks: an http:// URL leads to keys that anyone on the way can change; give an https:// URL");
        }
    }
    read(access).map(drop)
}

/// Whether a JWKS is asked for over the network.
pub(super) fn is_url(place: &str) -> bool {
    place.contains("://")
}

fn read_key_file(file: &KeyFile, keys: &mut Vec<SigningKey>) -> anyhow::Result<()> {
    if !fs::metadata(&file.path)?.is_dir() {
        keys.push(key(file.algorithm, file.id.as_deref(), &file.path)?);
        return Ok(());
    }
    let entries = fs::read_dir(&file.path)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    // Kubernetes keeps the files of a secret in hidden directories behind links.
    paths.retain(|path| {
        path.is_file() && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    paths.sort();
    if paths.is_empty() || paths.len() > KEYS_MAX {
        bail!("the directory holds {} keys; from 1 to {KEYS_MAX} can be taken", paths.len());
    }
    for path in paths {
        let id = path.file_stem().and_then(|stem| stem.to_str());
        keys.push(key(file.algorithm, id, &path).with_context(|| path.display().to_string())?);
    }
    Ok(())
}

fn key(algorithm: KeyAlgorithm, id: Option<&str>, path: &Path) -> anyhow::Result<SigningKey> {
    Ok(SigningKey::new(algorithm, id, &read_file(path)?)?)
}

/// The whole file, if it is not too large.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("is larger than 1 MiB, so it is no key");
    }
    Ok(bytes)
}
