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

use lane::TestLane;

/// How the text is called. Each promise holds for both forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LibraryForm {
    Functions,
    Script,
}

const FORMS: [LibraryForm; 2] = [LibraryForm::Functions, LibraryForm::Script];
