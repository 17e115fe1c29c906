//! `fantail token`: makes a token for development, or says what the server would make of one.

mod inspect;

use std::io::{self, Write};
use std::time::Duration;

use fantail_access::{KeyAlgorithm, mint_token};
use serde_json::{Map, Value};

pub(crate) use self::inspect::Inspect;
use crate::access::unix_second;

/// The settings of one run.
pub(crate) enum TokenCommand {
    Mint(Mint),
    Inspect(Box<Inspect>),
}

/// A token to be made.
pub(crate) struct Mint {
    pub(crate) algorithm: KeyAlgorithm,
    /// The key's name.
    pub(crate) id: Option<String>,
    /// The secret, or the private key in PEM form.
    pub(crate) key: Vec<u8>,
    /// All claims but the times, which the command adds unless they are here.
    pub(crate) claims: Map<String, Value>,
    pub(crate) life: Duration,
}

/// Does it. An error says why there is no token, or why the server would refuse it.
pub(crate) fn run(command: TokenCommand) -> anyhow::Result<()> {
    let text = match command {
        TokenCommand::Mint(mint) => mint.make()?,
        TokenCommand::Inspect(inspect) => return inspect.run(),
    };
    Ok(writeln!(io::stdout(), "{text}")?)
}

impl Mint {
    fn make(self) -> anyhow::Result<String> {
        let now = u64::from(unix_second());
        let mut claims = self.claims;
        for (name, time) in [("iat", now), ("exp", now.saturating_add(self.life.as_secs()))] {
            claims.entry(name).or_insert_with(|| time.into());
        }
        Ok(mint_token(self.algorithm, self.id.as_deref(), &self.key, &claims)?)
    }
}
