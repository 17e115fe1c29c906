//! The log against a real redis-server, in both forms of its text.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod lane;
mod lanes;
mod loading;
mod numbering;
mod refusals;
mod retention;
mod set_back;
mod terms;

use lane::Lane;

/// How the text is called. What holds for one form holds for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Functions,
    Script,
}

const FORMS: [Form; 2] = [Form::Functions, Form::Script];
