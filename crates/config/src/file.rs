//! The configuration file: TOML, one flat table of settings, and a table `[[channel]]` for each rule about channels.
//!
//! The parser recovers from errors, so a file with several mistakes is read to its end and each
//! mistake is named with its line.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::channel_rule::{self, ChannelRuleDraft};
use crate::fault::{Faults, Location};
use crate::form::Shape;
use crate::layers::Given;
use crate::settings::{SETTINGS, Setting};
use crate::suggest;

/// Reads the file's text into settings with the line each stands on.
pub(crate) fn read(path: &str, text: &str) -> (Vec<Given>, Faults) {
    let place_at = |offset: usize| Location::File { path: path.to_owned(), line: line_at(text, offset) };
    let mut faults = Faults::default();
    let mut broken_lines = HashSet::new();

    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = place_at(error.span().map_or(0, |span| span.start));
        // One slip can upset the parser several times; the first message on a line is the useful one.
        if broken_lines.insert(place.clone()) {
            faults.push(place, error.message());
        }
    }
    let mut given = Vec::new();
    for (key, value) in in_file_order(table.into_inner()) {
        let place = place_at(key.span().start);
        if broken_lines.contains(&place) {
            continue;
        }
        let rules = Setting::find(key.get_ref()).filter(|setting| setting.form.shape() == Shape::Tables);
        if let (Some(setting), DeValue::Array(tables)) = (rules, value.get_ref()) {
            let mut rules = Rules { texts: Vec::new(), faults: &mut faults, place: &place_at };
            tables.iter().for_each(|table| rules.read(table));
            given.push(Given { setting, texts: rules.texts, place });
            continue;
        }
        match read_entry(key.get_ref(), value.get_ref()) {
            Ok((setting, texts)) => given.push(Given { setting, texts, place }),
            Err(message) => faults.push(place, message),
        }
    }
    (given, faults)
}

/// The rules about channels. Each key stands on a line of its own, and each fault is named with the line it is on.
struct Rules<'a> {
    /// The rules without a fault, as the other layers write them.
    texts: Vec<String>,
    faults: &'a mut Faults,
    place: &'a dyn Fn(usize) -> Location,
}

impl Rules<'_> {
    fn read(&mut self, table: &Spanned<DeValue<'_>>) {
        let start = table.span().start;
        let entries = match table.get_ref() {
            DeValue::Table(entries) => in_file_order(entries.clone()),
            // The form of the other layers, whose faults are found with theirs.
            DeValue::String(text) => return self.texts.push(text.to_string()),
            other => {
                return self.refuse(start, format!("channel takes tables [[channel]]; found {}", other.type_str()));
            }
        };
        let (mut draft, faults_before) = (ChannelRuleDraft::default(), self.faults.len());
        for (key, value) in entries {
            if let Err(message) = set(&mut draft, key.get_ref(), value.get_ref()) {
                self.refuse(key.span().start, format!("channel: {message}"));
            }
        }
        if self.faults.len() > faults_before {
            return;
        }
        match draft.finish() {
            Ok(rule) => self.texts.push(rule.show()),
            Err(message) => self.refuse(start, format!("channel: {message}")),
        }
    }

    fn refuse(&mut self, offset: usize, message: String) {
        self.faults.push((self.place)(offset), message);
    }
}

fn set(draft: &mut ChannelRuleDraft, key: &str, value: &DeValue<'_>) -> Result<(), String> {
    // An unknown key is refused by the draft, whatever its value.
    let takes_number = channel_rule::shape_of(key).is_none_or(Shape::takes_number);
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if takes_number => decimal(number),
        other => return Err(format!("{key} takes text in quotes; found {}", other.type_str())),
    };
    draft.set(key, &text)
}

type Entry<'a> = (Spanned<std::borrow::Cow<'a, str>>, Spanned<DeValue<'a>>);

fn in_file_order(table: DeTable<'_>) -> Vec<Entry<'_>> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn read_entry(key: &str, value: &DeValue<'_>) -> Result<(&'static Setting, Vec<String>), String> {
    let Some(setting) = Setting::find(key) else {
        return Err(unknown_key(key, value));
    };
    if !setting.belongs_in_file() {
        let (flag, variable) = (setting.flag(), setting.variable());
        return Err(format!("{key} cannot be set in the file it names; use {flag} or {variable}"));
    }
    match texts_of(setting, value) {
        Some(texts) => Ok((setting, texts)),
        None => Err(format!("{key} takes {}, in quotes; found {}", setting.allowed(), value.type_str())),
    }
}

fn unknown_key(key: &str, value: &DeValue<'_>) -> String {
    if value.is_table() {
        return format!("unknown table {key:?}; settings stand at the top level, without tables");
    }
    let keys = SETTINGS.iter().filter(|setting| setting.belongs_in_file()).map(|setting| setting.key);
    format!("unknown setting {key:?}; {}", suggest::advice(key, keys))
}

/// The value as texts, or nothing if its type is wrong.
fn texts_of(setting: &Setting, value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::String(text) => Some(vec![text.to_string()]),
        DeValue::Boolean(switch) if setting.form.shape() == Shape::Switch => Some(vec![switch.to_string()]),
        DeValue::Integer(number) if setting.form.shape().takes_number() => Some(vec![decimal(number)]),
        DeValue::Array(list) if setting.is_repeatable() => {
            list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

/// A number that is too large for any integer stays as it was written, and is refused as such.
fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| number.to_string(), |value| value.to_string())
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        read("f.toml", text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn strings_numbers_and_lists_are_read_with_their_lines() {
        let text = "# a comment\nlisten = \"0.0.0.0:80\"\n\nlog_events_max = 0x10\n\
                    head_bytes_max = 16_384\ncors_origin = [\"https://a.example\", \"https://b.example\"]\n";
        let (given, faults) = read("f.toml", text);
        assert!(faults.is_empty(), "{faults}");
        let read: Vec<_> =
            given.iter().map(|given| (given.setting.key, given.texts.join(" "), given.place.to_string())).collect();
        let expected = [
            ("listen", "0.0.0.0:80", "f.toml:2"),
            ("log_events_max", "16", "f.toml:4"),
            ("head_bytes_max", "16384", "f.toml:5"),
            ("cors_origin", "https://a.example https://b.example", "f.toml:6"),
        ];
        assert_eq!(read, expected.map(|(key, text, place)| (key, text.to_owned(), place.to_owned())));
    }

    #[test]
    fn every_mistake_of_a_file_is_named_with_its_line() {
        let text = "lisen = \"127.0.0.1:80\"\n\
                    keepalive_interval = 15\n\
                    retry = 2s\n\
                    workers = [1]\n\
                    [limits]\n\
                    head_bytes_max = 1\n";
        let faults = faults_of(text);
        assert_eq!(faults.len(), 5, "{faults:#?}");
        let expected = [
            "f.toml:3: ",
            "f.toml:1: unknown setting \"lisen\"; did you mean listen?",
            "f.toml:2: keepalive_interval takes a duration from 10ms to 1h, in quotes; found integer",
            "f.toml:4: workers takes a number from 0 to 256, in quotes; found array",
            "f.toml:5: unknown table \"limits\"; settings stand at the top level, without tables",
        ];
        for (fault, start) in faults.iter().zip(expected) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }

    #[test]
    fn a_key_given_twice_is_a_fault() {
        let faults = faults_of("retry = \"1s\"\nretry = \"2s\"\n");
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].starts_with("f.toml:2: duplicate"), "{faults:#?}");
    }

    #[test]
    fn rules_about_channels_are_tables_each_with_its_lines() {
        let text = "retry = \"1s\"\n[[channel]]\npattern = \"news.*\"\nslow_policy = \"skip\"\n\n\
                    [[channel]]\npattern = \"*\"\nlog_events_max = 5\nlog_age_max = \"1m\"\n";
        let inline = "channel = [{ pattern = \"news.*\", slow_policy = \"skip\" },\n\
                      \"pattern=*,log_events_max=5,log_age_max=1m\"]";
        for (text, line) in [(text, "f.toml:2"), (inline, "f.toml:1")] {
            let (given, faults) = read("f.toml", text);
            assert!(faults.is_empty(), "{faults}");
            let rules = given.iter().find(|given| given.setting.key == "channel").expect("it is given");
            assert_eq!(rules.texts, ["pattern=news.*,slow_policy=skip", "pattern=*,log_events_max=5,log_age_max=1m"]);
            assert!(rules.place.to_string().starts_with(line), "{}", rules.place);
        }
    }

    #[test]
    fn every_mistake_in_a_rule_is_named_with_its_line() {
        let text = "[[channel]]\nslow_policy = \"skip\"\n[[channel]]\npattern = \"a b\"\nslow_polcy = \"skip\"\n\
                    log_events_max = true\n[[channel]]\npattern = \"a\"\nlog_age_max = 5\nlog_events_max = 0\n";
        let expected = [
            "f.toml:1: channel: pattern is missing",
            "f.toml:4: channel: pattern \"a b\": a pattern is made of",
            "f.toml:5: channel: unknown key \"slow_polcy\"; did you mean slow_policy?",
            "f.toml:6: channel: log_events_max takes text in quotes; found boolean",
            "f.toml:9: channel: log_age_max takes text in quotes; found integer",
            "f.toml:10: channel: log_events_max: \"0\" is too small; the least is 1",
        ];
        let faults = faults_of(text);
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(expected) {
            assert!(fault.starts_with(start), "{fault}");
        }
        assert!(
            faults_of("channel = 5")[0].starts_with("f.toml:1: channel takes tables"),
            "{:?}",
            faults_of("channel = 5")
        );
        assert!(faults_of("channel = [5]")[0].contains("takes tables [[channel]]; found integer"));
        assert!(faults_of("[channel]\npattern = \"a\"")[0].contains("[[channel]]"));
    }

    #[test]
    fn the_file_cannot_name_another_file() {
        assert!(faults_of("config = \"other.toml\"")[0].contains("use --config or FANTAIL_CONFIG"));
    }

    #[test]
    fn a_mistake_beside_a_secret_does_not_quote_it() {
        let texts = [
            "redis_url = redis://:hunter2@db\n",
            "redis_url = \"redis://:hunter2@db\n",
            "redis_url = [\"redis://:hunter2@db\"]\n",
            "redis_ulr = \"redis://:hunter2@db\"\n",
            "redis_url = \"redis://:hunter2@db\" hunter2\n",
        ];
        for text in texts {
            let faults = faults_of(text);
            assert!(!faults.is_empty() && !faults.join("\n").contains("hunter2"), "{faults:#?}");
        }
    }
}
