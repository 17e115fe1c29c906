//! Settings for the channels that fit a pattern: one rule, in all the forms in which an operator may write it.

use std::time::Duration;

use crate::config::{Config, SlowPolicy};
use crate::settings::Setting;
use crate::suggest;

/// The longest pattern, in bytes: as long as a channel's name.
const PATTERN_BYTES_MAX: usize = 255;

/// The most rules: a channel keeps the number of its rule in one byte, and 0 stands for none.
pub(crate) const RULES_MAX: usize = 255;

/// What a rule may hold besides its pattern. Each is also a setting of its own, which stands for all other channels and
/// lends the rule its bounds.
pub(crate) const KEYS: [&str; 5] =
    ["slow_policy", "plain_events_expected", "log_events_max", "log_bytes_max", "log_age_max"];

/// What differs for the channels whose whole name fits `pattern`. What is not said is as for all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRule {
    /// A name in which each `*` stands for any characters.
    pub pattern: String,
    /// What becomes of streams that are slower than the log is long.
    pub slow_policy: Option<SlowPolicy>,
    /// Whether each outage is a gap though no plain event was seen.
    pub plain_events_expected: Option<bool>,
    /// Events kept.
    pub log_events_max: Option<usize>,
    /// Bytes of events kept.
    pub log_bytes_max: Option<usize>,
    /// Age up to which an event is kept.
    pub log_age_max: Option<Duration>,
}

impl ChannelRule {
    /// Reads `pattern=news.*,slow_policy=skip`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rule = Self::default();
        for piece in text.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
            let (key, value) = piece.split_once('=').ok_or_else(|| {
                format!("{piece:?} is not of the form key=value; write pattern=news.*,slow_policy=skip")
            })?;
            rule.set(key.trim(), value.trim())?;
        }
        rule.check()?;
        Ok(rule)
    }

    /// Takes one key of the rule, which may come once.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        if self.has(key) {
            return Err(format!("{key} is given twice"));
        }
        if key == "pattern" {
            self.pattern = parse_pattern(text)?;
            return Ok(());
        }
        let Some(setting) = KEYS.iter().find(|known| **known == key).and_then(|key| Setting::find(key)) else {
            return Err(unknown_key(key));
        };
        // The setting reads it, into a config that nobody sees: so bounds and words are the same in both places.
        let mut read = Config::blank();
        setting.kind.apply(&mut read, &[text.to_owned()]).map_err(|fault| format!("{key}: {fault}"))?;
        match setting.key {
            "slow_policy" => self.slow_policy = Some(read.streams.slow_policy),
            "plain_events_expected" => self.plain_events_expected = Some(read.streams.plain_events_expected),
            "log_events_max" => self.log_events_max = Some(read.logs.log_events_max),
            "log_bytes_max" => self.log_bytes_max = Some(read.logs.log_bytes_max),
            _ => self.log_age_max = Some(read.logs.log_age_max),
        }
        Ok(())
    }

    /// Whether the rule as a whole can be meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.pattern.is_empty() {
            return Err("pattern is missing; it names the channels, as in pattern=news.*".to_owned());
        }
        if !KEYS.iter().any(|key| self.has(key)) {
            return Err(format!("nothing is set for {:?}; there are {}", self.pattern, KEYS.join(", ")));
        }
        Ok(())
    }

    /// The rule in the form that can be written back.
    pub(crate) fn show(&self) -> String {
        let mut text = format!("pattern={}", self.pattern);
        let mut shown = Config::blank();
        shown.streams.slow_policy = self.slow_policy.unwrap_or_default();
        shown.streams.plain_events_expected = self.plain_events_expected.unwrap_or_default();
        shown.logs.log_events_max = self.log_events_max.unwrap_or_default();
        shown.logs.log_bytes_max = self.log_bytes_max.unwrap_or_default();
        shown.logs.log_age_max = self.log_age_max.unwrap_or_default();
        for setting in KEYS.iter().filter(|key| self.has(key)).filter_map(|key| Setting::find(key)) {
            text.extend([",", setting.key, "=", setting.kind.show(&shown).replace(' ', "").as_str()]);
        }
        text
    }

    fn has(&self, key: &str) -> bool {
        match key {
            "pattern" => !self.pattern.is_empty(),
            "slow_policy" => self.slow_policy.is_some(),
            "plain_events_expected" => self.plain_events_expected.is_some(),
            "log_events_max" => self.log_events_max.is_some(),
            "log_bytes_max" => self.log_bytes_max.is_some(),
            "log_age_max" => self.log_age_max.is_some(),
            _ => false,
        }
    }
}

fn unknown_key(key: &str) -> String {
    match suggest::nearest(key, KEYS.into_iter().chain(["pattern"])) {
        Some(known) => format!("unknown key {key:?}; did you mean {known}?"),
        None => format!("unknown key {key:?}; there are pattern, {}", KEYS.join(", ")),
    }
}

/// The same rules as where patterns are matched; a test holds both together.
fn parse_pattern(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("pattern: is empty; * alone stands for every channel".to_owned());
    }
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("pattern: has {} bytes; the most is {PATTERN_BYTES_MAX}", text.len()));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._~:@/=-*".contains(c);
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(format!("pattern: {text:?} holds {c:?}; use letters, digits, ._~:@/=- and * for anything")),
        None => Ok(text.to_owned()),
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
    fn what_is_no_rule_is_refused_with_what_to_write() {
        for (text, reason) in [
            ("", "pattern is missing"),
            ("slow_policy=skip", "pattern is missing"),
            ("pattern=a", "nothing is set for \"a\"; there are slow_policy"),
            ("pattern=,slow_policy=skip", "pattern: is empty"),
            ("pattern=a?,slow_policy=skip", "pattern: \"a?\" holds '?'"),
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

    #[test]
    fn a_pattern_is_judged_as_where_it_is_matched() {
        for text in ["a", "*", "news.*", "a/b:c@d=e~f_g-h.1", "a b", "a?", "[a]", "\u{fc}", "a+", "{a}", "", "a/../b"] {
            assert_eq!(parse_pattern(text).is_ok(), fantail_wire::ChannelPattern::parse(text).is_ok(), "{text}");
        }
        for length in [255, 256] {
            let text = "a".repeat(length);
            assert_eq!(parse_pattern(&text).is_ok(), fantail_wire::ChannelPattern::parse(&text).is_ok(), "{length}");
        }
    }
}
