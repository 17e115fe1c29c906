//! The kinds of values, by their content.

pub(crate) mod access;
pub(crate) mod networks;
pub(crate) mod numbers;
pub(crate) mod texts;
pub(crate) mod web;
pub(crate) mod words;
