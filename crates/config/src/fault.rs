//! A mistake of the operator: its place, its description and its remedy.
//!
//! A fault never holds a secret's value. All faults are collected, because nobody wants to start a program five times
//! to learn of five typing errors.

use std::fmt;

/// The place where the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named.
        path: String,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
    /// The values that a preset stands for.
    Preset(&'static str),
    /// The command line, where no single flag is to blame.
    CommandLine,
    /// The settings from all sources together, where the message names the setting.
    Settings,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Settings => f.write_str("settings"),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct Fault {
    /// Its place.
    pub location: Location,
    /// The mistake, and its remedy.
    pub message: String,
}

/// All mistakes, one line each when displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults in the order in which they will be shown.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a fault from another part of the program, to be shown with the rest.
    pub fn push(&mut self, location: Location, message: impl Into<String>) {
        self.0.push(Fault { location, message: message.into() });
    }

    pub(crate) fn extend(&mut self, others: Faults) {
        self.0.extend(others.0);
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
