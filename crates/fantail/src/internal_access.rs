//! The rights at the internal listener: a request shows a token, and the token has rights.
//!
//! Without tokens every client of the listener has all rights. The settings then allow only an address of this machine.

use anyhow::{Context, bail};
use fantail_access::{InternalRights, NeededRight};
use fantail_config::InternalToken;
use http::{HeaderMap, StatusCode};
use parking_lot::RwLock;
use tracing::{info, warn};

use crate::access::read_file;
use crate::bearer::{TokenComparison, only_bearer};
use crate::problem::Problem;

/// The shortest token in bytes: 128 bits in hexadecimal digits.
const TOKEN_BYTES_MIN: usize = 32;

pub(crate) struct InternalAccess {
    files: Vec<InternalToken>,
    known: RwLock<Vec<Known>>,
    comparison: TokenComparison,
}

#[derive(PartialEq, Eq)]
struct Known {
    token: Vec<u8>,
    rights: InternalRights,
}

/// The rights of one request.
pub(crate) enum RequestRights {
    /// There are no tokens.
    All,
    /// Those of a token, which has this number in `internal_tokens`.
    Of(InternalRights, usize),
}

impl RequestRights {
    /// Tells the token from others, for what is counted by token; without tokens all requests are alike.
    pub(crate) fn token_number(&self) -> usize {
        match self {
            Self::All => usize::MAX,
            Self::Of(_, number) => *number,
        }
    }
}

impl InternalAccess {
    /// Reads the files. An error names the file.
    pub(crate) fn load(files: &[InternalToken]) -> anyhow::Result<Self> {
        let known = RwLock::new(read(files)?);
        Ok(Self { files: files.to_vec(), known, comparison: TokenComparison::default() })
    }

    /// Reads the files again; while one cannot be read the last good tokens stay.
    pub(crate) fn read_files_again(&self) {
        match read(&self.files) {
            Ok(known) if known != *self.known.read() => {
                info!(tokens = known.len(), "the tokens of the internal listener have changed");
                *self.known.write() = known;
            }
            Ok(_) => {}
            Err(error) => {
                warn!(error = format!("{error:#}"), "internal_tokens cannot be read again, the last good ones stay");
            }
        }
    }

    pub(crate) fn rights(&self, headers: &HeaderMap) -> Result<RequestRights, Problem> {
        if self.files.is_empty() {
            return Ok(RequestRights::All);
        }
        let token = only_bearer(headers);
        let known = self.known.read();
        let found = known.iter().position(|known| self.comparison.is_same(token, &known.token));
        found.map(|number| RequestRights::Of(known[number].rights.clone(), number)).ok_or_else(|| {
            let detail = if token.is_empty() {
                "this listener asks for a token: Authorization: Bearer TOKEN"
            } else {
                "the token is not known"
            };
            Problem::new(StatusCode::UNAUTHORIZED, detail).of("authorization")
        })
    }
}

impl RequestRights {
    /// Refuses a request that its rights do not cover.
    pub(crate) fn check(&self, needed: NeededRight<'_>) -> Result<(), Problem> {
        let Self::Of(rights, _) = self else { return Ok(()) };
        if rights.allow(needed) {
            return Ok(());
        }
        let detail = match needed {
            NeededRight::Publish(channels) => {
                let channel =
                    channels.iter().find(|channel| !rights.allow(NeededRight::Publish(&[(*channel).clone()])));
                let channel = channel.map_or("these channels", |channel| channel.as_str());
                format!("the token may not publish to {channel}")
            }
            NeededRight::Read => "the token may not read this node's state (right read)".to_owned(),
            NeededRight::Operate => "the token may not operate this node (right operate)".to_owned(),
        };
        Err(Problem::new(StatusCode::FORBIDDEN, detail).of("authorization"))
    }
}

fn read(files: &[InternalToken]) -> anyhow::Result<Vec<Known>> {
    files.iter().map(read_one).collect()
}

fn read_one(InternalToken { path, rights }: &InternalToken) -> anyhow::Result<Known> {
    let told = || format!("internal_tokens: {}", path.display());
    let token = read_file(path).with_context(told)?.trim_ascii().to_vec();
    if token.len() < TOKEN_BYTES_MIN || !token.iter().all(u8::is_ascii_graphic) {
        let reason =
            "holds no token: one line of at least 32 visible ASCII characters; make one with: openssl rand -hex 32";
        bail!("{}: {reason}", told());
    }
    Ok(Known { token, rights: rights.clone() })
}
