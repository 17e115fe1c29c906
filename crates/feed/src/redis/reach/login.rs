//! The user that logs in to Redis, and the password.
//!
//! A password file is read again for each connection, so that a password can be changed without a restart. The password
//! goes into the connection and nowhere else: neither errors nor `Debug` show it.

use std::fmt;
use std::path::PathBuf;

use redis::RedisConnectionInfo;

use crate::files::{FileError, read_text};

/// A user and a password, each only if there is one.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
}

/// Where a password comes from.
#[derive(Clone)]
pub(crate) enum Password {
    Given(String),
    /// The setting that names the file, and the file.
    File(&'static str, PathBuf),
}

impl Login {
    /// Puts user and password over those that came with the address.
    pub(crate) fn apply(&self, mut info: RedisConnectionInfo) -> Result<RedisConnectionInfo, FileError> {
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        match &self.password {
            None => Ok(info),
            Some(Password::Given(password)) => Ok(info.set_password(password)),
            Some(Password::File(setting, path)) => Ok(info.set_password(read_text(setting, path)?)),
        }
    }
}

impl Password {
    /// The password itself, else the file that holds it.
    pub(crate) fn from(setting: &'static str, given: Option<String>, file: Option<PathBuf>) -> Option<Self> {
        given.map(Self::Given).or_else(|| file.map(|path| Self::File(setting, path)))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}
