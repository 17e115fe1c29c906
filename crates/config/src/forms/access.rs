//! Keys, templates and tokens for reading and publishing.

use std::path::PathBuf;

use fantail_access::{ChannelTemplate, InternalRights, KeyAlgorithm, RequiredClaim};

use crate::form::{Form, Shape, pieces};

/// A file, or a directory of files, with keys that tokens may be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The name by which tokens ask for the key.
    pub id: Option<String>,
    /// The one algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// The file, or the directory.
    pub path: PathBuf,
}

/// A file with a token of the internal listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalToken {
    /// The file; the token is its only line.
    pub path: PathBuf,
    /// The rights of a bearer of the token.
    pub rights: InternalRights,
}

/// Files with keys, each as `ALGORITHM:path` or `kid=ALGORITHM:path`.
pub(crate) struct KeyFiles;

impl Form for KeyFiles {
    type Value = Vec<KeyFile>;
    const VALUE_NAME: &'static str = "ALGORITHM:FILE";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<KeyFile>, String> {
        pieces(text).map(parse_key_file).collect()
    }

    fn show(&self, value: &Vec<KeyFile>) -> String {
        let shown = value.iter().map(|KeyFile { id, algorithm, path }| {
            let id = id.as_ref().map_or_else(String::new, |id| format!("{id}="));
            format!("{id}{algorithm}:{}", path.display())
        });
        shown.collect::<Vec<_>>().join(",")
    }

    fn describe(&self) -> String {
        "files or directories, each as `ALGORITHM:path` or `kid=ALGORITHM:path`".to_owned()
    }
}

fn parse_key_file(text: &str) -> Result<KeyFile, String> {
    let refused = || format!("{text:?} names no key; write ALGORITHM:path, such as ES256:/etc/fantail/key.pem");
    let (before, path) = text.split_once(':').ok_or_else(refused)?;
    let (id, algorithm) = before.rsplit_once('=').map_or((None, before), |(id, algorithm)| (Some(id), algorithm));
    let algorithm = algorithm.parse().map_err(|error: fantail_access::KeyError| error.to_string())?;
    if path.is_empty() || id == Some("") {
        return Err(refused());
    }
    Ok(KeyFile { id: id.map(str::to_owned), algorithm, path: path.into() })
}

/// Channels that are made of claims.
pub(crate) struct Templates;

impl Form for Templates {
    type Value = Vec<ChannelTemplate>;
    const VALUE_NAME: &'static str = "TEMPLATE";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<ChannelTemplate>, String> {
        pieces(text).map(|piece| ChannelTemplate::parse(piece).map_err(|error| error.to_string())).collect()
    }

    fn show(&self, value: &Vec<ChannelTemplate>) -> String {
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn describe(&self) -> String {
        "names of channels with claims in braces, such as `user:{sub}`".to_owned()
    }
}

/// Files with tokens of the internal listener, each as `path=rights`.
pub(crate) struct InternalTokens;

impl Form for InternalTokens {
    type Value = Vec<InternalToken>;
    const VALUE_NAME: &'static str = "FILE=RIGHTS";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<InternalToken>, String> {
        let parse = |piece: &str| match piece.split_once('=') {
            Some((path, rights)) if !path.is_empty() => {
                let rights = rights.parse().map_err(|error| format!("{piece:?}: {error}"))?;
                Ok(InternalToken { path: path.into(), rights })
            }
            _ => Err(format!("{piece:?} is not of the form path=rights; write /run/secrets/token=publish:news.*+read")),
        };
        pieces(text).map(parse).collect()
    }

    fn show(&self, value: &Vec<InternalToken>) -> String {
        value.iter().map(|token| format!("{}={}", token.path.display(), token.rights)).collect::<Vec<_>>().join(",")
    }

    fn describe(&self) -> String {
        "files, each as `path=rights`; the rights are `publish`, `publish:PATTERN`, `read` and `operate`, with `+` between them".to_owned()
    }
}

/// Claims that a token must have.
pub(crate) struct RequiredClaims;

impl Form for RequiredClaims {
    type Value = Vec<RequiredClaim>;
    const VALUE_NAME: &'static str = "CLAIM";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<RequiredClaim>, String> {
        pieces(text).map(|piece| RequiredClaim::parse(piece).map_err(|error| error.to_string())).collect()
    }

    fn show(&self, value: &Vec<RequiredClaim>) -> String {
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn describe(&self) -> String {
        "paths of claims such as `user.id`, or with a `*` at the end the beginning of one".to_owned()
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_templates_and_tokens_read_back() {
        for text in ["HS256:/k", "main=ES256:/a/b.pem,EdDSA:/c:d", "a=b=RS256:keys/"] {
            assert_eq!(KeyFiles.show(&KeyFiles.parse(text).unwrap()), text);
        }
        for text in ["user:{sub}", "org:{org.id}:news,{sub}"] {
            assert_eq!(Templates.show(&Templates.parse(text).unwrap()), text);
        }
        let claims = "user.id,scope.user*";
        assert_eq!(RequiredClaims.show(&RequiredClaims.parse(claims).unwrap()), claims);
        let tokens = "/run/a=publish:a=b.*+read,/run/b=operate";
        assert_eq!(InternalTokens.show(&InternalTokens.parse(tokens).unwrap()), tokens);
    }

    #[test]
    fn a_slip_is_refused_with_the_form_to_write() {
        for (text, reason) in [
            ("/etc/key.pem", "names no key"),
            ("HS256:", "names no key"),
            ("=HS256:/k", "names no key"),
            ("none:/k", "is no algorithm"),
        ] {
            assert!(KeyFiles.parse(text).unwrap_err().contains(reason), "{text}");
        }
        for (text, reason) in [("/run/a", "path=rights"), ("=read", "path=rights"), ("/a=write", "is no right")] {
            assert!(InternalTokens.parse(text).unwrap_err().contains(reason), "{text}");
        }
        assert!(Templates.parse("news").unwrap_err().contains("names no claim"));
    }
}
