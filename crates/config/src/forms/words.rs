//! Values that are one of a few words.

use std::marker::PhantomData;

use crate::form::{Form, Shape};

/// A choice with a word for each of its values.
pub(crate) trait Words: Copy + PartialEq + Sized + 'static {
    /// The noun in errors.
    const NOUN: &'static str;
    /// The placeholder behind a flag in the help.
    const VALUE_NAME: &'static str;
    /// Every value with its word.
    const WORDS: &'static [(&'static str, Self)];
}

/// One of the words.
pub(crate) struct Word<T>(PhantomData<fn() -> T>);

impl<T: Words> Word<T> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Words> Form for Word<T> {
    type Value = T;
    const VALUE_NAME: &'static str = T::VALUE_NAME;

    fn parse(&self, text: &str) -> Result<T, String> {
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        found.map(|(_, value)| *value).ok_or_else(|| format!("{text:?} is not a {}; write {}", T::NOUN, choice(&words)))
    }

    fn show(&self, value: &T) -> String {
        T::WORDS.iter().find(|(_, known)| known == value).map_or_else(String::new, |(word, _)| (*word).to_owned())
    }

    fn describe(&self) -> String {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
        choice(&words)
    }
}

/// `a, b or c`.
fn choice<S: AsRef<str>>(words: &[S]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let before = match index {
            0 => "",
            _ if index + 1 == words.len() => " or ",
            _ => ", ",
        };
        text.extend([before, word.as_ref()]);
    }
    text
}

/// On or off.
pub(crate) struct Switch;

impl Form for Switch {
    type Value = bool;
    const VALUE_NAME: &'static str = "BOOL";
    const SHAPE: Shape = Shape::Switch;

    fn parse(&self, text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }

    fn describe(&self) -> String {
        "`true` or `false`; the flag alone means `true`".to_owned()
    }
}
