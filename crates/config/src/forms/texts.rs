//! Texts: names, secrets, paths, the log filter.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::form::{Form, Shape, pieces};
use crate::secret::Secret;
use crate::suggest;

const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Any text.
pub(crate) struct Text;

impl Form for Text {
    type Value = String;
    const VALUE_NAME: &'static str = "TEXT";

    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn describe(&self) -> String {
        "text".to_owned()
    }
}

/// Texts without commas.
pub(crate) struct TextList;

impl Form for TextList {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "TEXT";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        Ok(pieces(text).map(str::to_owned).collect())
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn describe(&self) -> String {
        "texts without commas".to_owned()
    }
}

/// A text that no output holds.
pub(crate) struct SecretText;

impl Form for SecretText {
    type Value = Secret;
    const VALUE_NAME: &'static str = "SECRET";
    const IS_SECRET: bool = true;

    fn parse(&self, text: &str) -> Result<Secret, String> {
        Ok(Secret::new(text))
    }

    fn show(&self, value: &Secret) -> String {
        value.to_string()
    }

    fn describe(&self) -> String {
        "text that is shown nowhere".to_owned()
    }
}

/// A file. Nothing here opens it.
pub(crate) struct FilePath;

impl Form for FilePath {
    type Value = PathBuf;
    const VALUE_NAME: &'static str = "FILE";

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        Ok(PathBuf::from(text))
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn describe(&self) -> String {
        "a path".to_owned()
    }
}

/// A filter in the syntax of tracing's `EnvFilter`.
pub(crate) struct LogFilter;

impl Form for LogFilter {
    type Value = String;
    const VALUE_NAME: &'static str = "FILTER";

    /// The filter's own parser takes any bare word for the name of a module, so a mistyped level would silence the log
    /// without a message. Words close to a level are therefore refused here.
    fn parse(&self, text: &str) -> Result<String, String> {
        if text.trim().is_empty() {
            return Err("is empty; write a level such as info, or off".to_owned());
        }
        for word in text.split(',').map(|directive| directive.rsplit('=').next().unwrap_or_default().trim()) {
            let is_level = LOG_LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
            if !is_level && let Some(level) = suggest::nearest(word, LOG_LEVELS) {
                return Err(format!("{word:?} is not a level; did you mean {level}?"));
            }
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("{text:?} is not a log filter: {error}")),
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn describe(&self) -> String {
        "a level, or a filter such as `info,fantail_feed=debug`".to_owned()
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_mistyped_level_is_refused_instead_of_silencing_the_log() {
        for text in
            ["info", "INFO", "off", "info,fantail_feed=debug", "fantail_hub", "warn,hyper=off", "[stream]=trace"]
        {
            assert_eq!(LogFilter.parse(text).as_deref(), Ok(text));
        }
        let refused = [
            ("inof", "did you mean info?"),
            ("info,fantail=debgu", "did you mean debug?"),
            ("", "is empty"),
            ("fantail=loud", "is not a log filter"),
        ];
        for (text, reason) in refused {
            assert!(LogFilter.parse(text).unwrap_err().contains(reason), "{text}");
        }
    }
}
