//! Settings as an operator gives them, and the configuration or the faults that come of them.
#![allow(dead_code)] // each test program uses its part of this file

use std::ffi::OsString;
use std::path::Path;

use fantail_config::{Config, Faults, Flags, Parsed, Source, parse_flags, resolve};

/// The operator's settings in all three places.
#[derive(Default, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) file: &'a str,
    pub(crate) variables: &'a [(&'a str, &'a str)],
    pub(crate) flags: &'a [&'a str],
}

impl Said<'_> {
    pub(crate) fn resolve(self) -> Result<Config, Faults> {
        let mut variables: Vec<(OsString, OsString)> =
            self.variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        if !self.file.is_empty() {
            variables.push(("FANTAIL_CONFIG".into(), "f.toml".into()));
        }
        let read_file = |path: &Path| {
            assert_eq!(path, Path::new("f.toml"));
            Ok(self.file.to_owned())
        };
        resolve(&flags(self.flags), &variables, &read_file)
    }

    pub(crate) fn config(self) -> Config {
        self.resolve().unwrap_or_else(|faults| panic!("{faults}"))
    }

    pub(crate) fn faults(self) -> Vec<String> {
        self.resolve().unwrap_err().iter().map(ToString::to_string).collect()
    }
}

pub(crate) fn flags(args: &[&str]) -> Flags {
    let args: Vec<_> = args.iter().map(OsString::from).collect();
    match parse_flags(&args) {
        Parsed::Run { flags, .. } => flags,
        Parsed::Text(text) => panic!("asked for text: {text}"),
    }
}

pub(crate) fn source_of(config: &Config, key: &str) -> Source {
    config.effective().into_iter().find(|row| row.key == key).unwrap().source
}
