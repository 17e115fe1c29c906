//! Subjects and the channels that they stand for.
//!
//! The subject of a channel is `fantail.` and its name, so that `nats pub fantail.demo hello` is an event of `demo`. All
//! characters of a name may stand in a subject. A subject has no empty token though, as `a..b` would, so an empty token
//! is written `%`, which is in no name. Example: the subject of `a..b` is `fantail.a.%.b`.

use fantail_wire::ChannelName;

/// All channels, and nothing else that is Fantail's.
pub(super) const ALL: &str = "fantail.>";
/// Carries an event for several channels, which a header names. It is the subject of no channel.
pub(super) const SEVERAL: &str = "fantail.%several";

const PREFIX: &str = "fantail.";
/// Carries probes, each node's on a subject of its own. A stream that keeps `fantail.>` does not keep these.
const SERVICE_PREFIX: &str = "fantail-service.";
const EMPTY_TOKEN: &str = "%";

/// The subject of a channel.
pub(super) fn of(channel: &ChannelName) -> String {
    let tokens = channel.as_str().split('.').map(|token| if token.is_empty() { EMPTY_TOKEN } else { token });
    format!("{PREFIX}{}", tokens.collect::<Vec<_>>().join("."))
}

/// The name that a subject stands for, unchecked: a lookup or a parse does that.
pub(super) fn name(subject: &str) -> Option<std::borrow::Cow<'_, str>> {
    let tokens = subject.strip_prefix(PREFIX)?;
    if !tokens.contains(EMPTY_TOKEN) {
        return Some(tokens.into());
    }
    let tokens: Vec<_> = tokens.split('.').map(|token| if token == EMPTY_TOKEN { "" } else { token }).collect();
    Some(tokens.join(".").into())
}

/// A node's own subject for probes.
pub(super) fn service(random: u64) -> String {
    format!("{SERVICE_PREFIX}{random:016x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_channel_without_empty_tokens_is_written_as_it_is() {
        for (channel, subject) in [
            ("demo", "fantail.demo"),
            ("orders.eu/7", "fantail.orders.eu/7"),
            ("@lane/a:b=c~d_e-f", "fantail.@lane/a:b=c~d_e-f"),
            ("a..b", "fantail.a.%.b"),
            (".a.", "fantail.%.a.%"),
            ("...", "fantail.%.%.%.%"),
        ] {
            assert_eq!(of(&ChannelName::parse(channel).expect("valid")), subject);
            assert_eq!(name(subject).as_deref(), Some(channel));
        }
    }

    #[test]
    fn a_subject_that_is_no_channels_stands_for_no_valid_name() {
        for subject in [SEVERAL, "fantail.a%", "fantail.%x.a", "fantail-service.a", "fantail", "other.a", "fantail.a b"]
        {
            assert!(name(subject).is_none_or(|name| ChannelName::check(&name).is_err()), "{subject}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_read_back_from_its_subject(text in "[A-Za-z0-9._~:@/=-]{1,40}") {
            if let Ok(channel) = ChannelName::parse(&text) {
                let subject = of(&channel);
                prop_assert!(subject.split('.').all(|token| !token.is_empty()), "{}", subject);
                let read = name(&subject);
                prop_assert_eq!(read.as_deref(), Some(text.as_str()));
            }
        }
    }
}
