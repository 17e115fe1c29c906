//! Settings for the channels that fit a pattern, as an operator may write them.

use std::time::Duration;

use fantail_wire::ChannelPattern;

use crate::choices::SlowPolicy;
use crate::form::{Form, Shape};
use crate::forms::numbers::{Count, Size, Time};
use crate::forms::words::{Switch, Word};
use crate::settings::{GIB, KIB, SHORTEST};
use crate::suggest;

/// The most rules: a channel keeps the number of its rule in one byte, and 0 stands for none.
const RULES_MAX: usize = 255;

/// The forms of a rule's options. Each is also a setting of its own, which holds for all other channels.
pub(crate) const SLOW_POLICY: Word<SlowPolicy> = Word::new();
pub(crate) const PLAIN_EVENTS_EXPECTED: Switch = Switch;
pub(crate) const LOG_EVENTS_MAX: Count = Count { min: 1, max: 1_000_000 };
pub(crate) const LOG_BYTES_MAX: Size = Size { min: 4 * KIB, max: 4 * GIB };
pub(crate) const LOG_AGE_MAX: Time = Time { min: SHORTEST, max: Duration::from_hours(7 * 24) };

/// The options of a rule: the key, its value in the program, the form, the comment.
macro_rules! options {
    ($($key:ident: $value:ty = $form:ident, $doc:literal;)*) => {
        /// The keys of a rule besides its pattern.
        const KEYS: &[&str] = &[$(stringify!($key)),*];

        /// The options of the channels whose whole name fits `pattern`. Options that it does not set are as for all
        /// others.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct ChannelRule {
            /// A name in which each `*` stands for any characters.
            pub pattern: ChannelPattern,
            $(#[doc = $doc] pub $key: Option<$value>,)*
        }

        /// A rule that has been read in part.
        #[derive(Default)]
        pub(crate) struct ChannelRuleDraft {
            pattern: Option<ChannelPattern>,
            $($key: Option<$value>,)*
        }

        impl ChannelRuleDraft {
            fn set_option(&mut self, key: &str, text: &str) -> Result<(), String> {
                match key {
                    $(stringify!($key) => {
                        let value = $form.parse(text).map_err(|fault| format!("{key}: {fault}"))?;
                        set_once(&mut self.$key, key, value)
                    })*
                    _ => Err(unknown_key(key)),
                }
            }

            /// The rule, if it makes sense as a whole.
            pub(crate) fn finish(self) -> Result<ChannelRule, String> {
                let Some(pattern) = self.pattern else {
                    return Err("pattern is missing; it names the channels, as in pattern=news.*".to_owned());
                };
                if $(self.$key.is_none())&&* {
                    return Err(format!("nothing is set for {:?}; there are {}", pattern.as_str(), KEYS.join(", ")));
                }
                Ok(ChannelRule { pattern, $($key: self.$key,)* })
            }
        }

        impl ChannelRule {
            /// The rule in the form that can be written back.
            pub(crate) fn show(&self) -> String {
                let mut text = format!("pattern={}", self.pattern.as_str());
                $(if let Some(value) = &self.$key {
                    text.extend([",", stringify!($key), "=", $form.show(value).replace(' ', "").as_str()]);
                })*
                text
            }
        }

        /// How the file writes the value of a key, if there is such a key.
        pub(crate) fn shape_of(key: &str) -> Option<Shape> {
            match key {
                "pattern" => Some(Shape::Text),
                $(stringify!($key) => Some(shape_of_form(&$form)),)*
                _ => None,
            }
        }
    };
}

options! {
    slow_policy: SlowPolicy = SLOW_POLICY, "Policy for streams that are slower than the log is long.";
    plain_events_expected: bool = PLAIN_EVENTS_EXPECTED, "Whether each outage is a gap though no plain event was seen.";
    log_events_max: usize = LOG_EVENTS_MAX, "Events kept.";
    log_bytes_max: usize = LOG_BYTES_MAX, "Bytes of events kept.";
    log_age_max: Duration = LOG_AGE_MAX, "Age up to which an event is kept.";
}

impl ChannelRuleDraft {
    /// Takes one key of the rule, which may come once.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        if key == "pattern" {
            let pattern = ChannelPattern::parse(text).map_err(|error| format!("pattern {text:?}: {error}"))?;
            return set_once(&mut self.pattern, key, pattern);
        }
        self.set_option(key, text)
    }
}

impl ChannelRule {
    /// Reads `pattern=news.*,slow_policy=skip`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut draft = ChannelRuleDraft::default();
        for piece in text.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
            let (key, value) = piece.split_once('=').ok_or_else(|| {
                format!("{piece:?} is not of the form key=value; write pattern=news.*,slow_policy=skip")
            })?;
            draft.set(key.trim(), value.trim())?;
        }
        draft.finish()
    }
}

/// A list of rules. A semicolon separates them in a variable, and no rule contains one, so it does so everywhere.
pub(crate) struct ChannelRules;

impl Form for ChannelRules {
    type Value = Vec<ChannelRule>;
    const VALUE_NAME: &'static str = "RULE";
    const SHAPE: Shape = Shape::Tables;

    fn parse(&self, text: &str) -> Result<Vec<ChannelRule>, String> {
        let pieces = text.split(';').map(str::trim).filter(|piece| !piece.is_empty());
        let rules = pieces.map(ChannelRule::parse).collect::<Result<Vec<_>, _>>()?;
        match rules.len() {
            count if count > RULES_MAX => Err(format!("there are {count} rules; the most is {RULES_MAX}")),
            _ => Ok(rules),
        }
    }

    fn show(&self, value: &Vec<ChannelRule>) -> String {
        value.iter().map(ChannelRule::show).collect::<Vec<_>>().join(";")
    }

    fn describe(&self) -> String {
        "tables `[[channel]]`, or rules such as `pattern=news.*,slow_policy=skip`".to_owned()
    }
}

fn shape_of_form<F: Form>(_: &F) -> Shape {
    F::SHAPE
}

fn set_once<T>(place: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} is given twice")),
    }
}

fn unknown_key(key: &str) -> String {
    match suggest::nearest(key, KEYS.iter().copied().chain(["pattern"])) {
        Some(known) => format!("unknown key {key:?}; did you mean {known}?"),
        None => format!("unknown key {key:?}; there are pattern, {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_rule_is_read_and_shown_in_the_same_form() {
        let text = "pattern=news.*,slow_policy=latest,plain_events_expected=true,log_events_max=100,log_bytes_max=1MiB,log_age_max=1m30s";
        let rule = ChannelRule::parse(text).unwrap();
        assert_eq!((rule.pattern.as_str(), rule.slow_policy), ("news.*", Some(SlowPolicy::Latest)));
        assert_eq!(rule.plain_events_expected, Some(true));
        assert_eq!((rule.log_events_max, rule.log_bytes_max), (Some(100), Some(1 << 20)));
        assert_eq!(rule.log_age_max, Some(Duration::from_secs(90)));
        assert_eq!(rule.show(), text);
        assert_eq!(
            ChannelRule::parse(" slow_policy = skip , pattern = a=b ,").unwrap().show(),
            "pattern=a=b,slow_policy=skip"
        );
    }

    #[test]
    fn a_text_that_is_no_rule_is_refused_with_the_form_to_write() {
        for (text, reason) in [
            ("", "pattern is missing"),
            ("slow_policy=skip", "pattern is missing"),
            ("pattern=a", "nothing is set for \"a\"; there are slow_policy"),
            ("pattern=,slow_policy=skip", "pattern \"\": a pattern must not be empty"),
            ("pattern=a?,slow_policy=skip", "pattern \"a?\": a pattern is made of"),
            (
                "pattern=a,slow_policy=slow",
                "slow_policy: \"slow\" is not a slow policy; write disconnect, skip or latest",
            ),
            ("pattern=a,log_events_max=0", "log_events_max: \"0\" is too small; the least is 1"),
            ("pattern=a,log_event_max=5", "unknown key \"log_event_max\"; did you mean log_events_max?"),
            ("pattern=a,colour=red", "unknown key \"colour\"; there are pattern, slow_policy"),
            ("pattern=a,pattern=b", "pattern is given twice"),
            ("pattern=a,log_age_max=5m,log_age_max=5m", "log_age_max is given twice"),
            ("news.*", "\"news.*\" is not of the form key=value"),
        ] {
            let fault = ChannelRule::parse(text).unwrap_err();
            assert!(fault.starts_with(reason), "{text}: {fault}");
        }
    }
}
