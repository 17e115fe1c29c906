//! A grant in the words of the operator's own service: as header fields, or as a JSON object.
//!
//! The same words serve in both directions: Fantail reads them in the answer of a service that it asked, and in a request that
//! a trusted proxy passes on.

use serde_json::Value;

use crate::grant::{Grant, GrantError, LISTED_CHANNELS_MAX};

/// The fields, before they are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFields {
    /// Channels and patterns. `None` allows those that were asked for, and an empty list allows none.
    pub channels: Option<Vec<String>>,
    /// The person or program.
    pub subject: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// For how many seconds the right holds.
    pub expires_in: Option<u64>,
    /// Until when, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// The header fields, in lower case: channels separated by commas, subject, session, seconds.
pub const CHANNELS_FIELD: &str = "fantail-channels";
/// See [`CHANNELS_FIELD`].
pub const SUBJECT_FIELD: &str = "fantail-subject";
/// See [`CHANNELS_FIELD`].
pub const SESSION_FIELD: &str = "fantail-session";
/// See [`CHANNELS_FIELD`].
pub const EXPIRES_IN_FIELD: &str = "fantail-expires-in";

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A number of seconds that is none.
    #[error("{0} is no number of seconds")]
    Seconds(&'static str),
    /// Something else than text.
    #[error("{0} is no text")]
    Text(&'static str),
    /// A field that is there twice; a reader may take either.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// Something else than a list of texts.
    #[error("channels is no list of texts")]
    Channels,
    /// Something else than an object.
    #[error("the body is no JSON object")]
    Object,
}

impl GrantFields {
    /// Takes one header field. Fields with other names are passed over. The channels of several fields are one list; every
    /// other field stands once.
    pub fn set_field(&mut self, name: &str, value: &str) -> Result<(), FieldsError> {
        match name {
            CHANNELS_FIELD => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.channels.get_or_insert_default().extend(names.map(str::to_owned));
            }
            SUBJECT_FIELD => set_once(SUBJECT_FIELD, &mut self.subject, value.trim().to_owned())?,
            SESSION_FIELD => set_once(SESSION_FIELD, &mut self.session, value.trim().to_owned())?,
            EXPIRES_IN_FIELD => {
                let seconds = value.trim().parse().map_err(|_| FieldsError::Seconds(EXPIRES_IN_FIELD))?;
                set_once(EXPIRES_IN_FIELD, &mut self.expires_in, seconds)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads `{"channels":["news","org:*"],"subject":"u1","session":"s1","expires_in":600}`. Members with other names are
    /// passed over.
    pub fn from_json(body: &Value) -> Result<Self, FieldsError> {
        let body = body.as_object().ok_or(FieldsError::Object)?;
        let member = |name| body.get(name).filter(|value| !value.is_null());
        let text = |name: &'static str| {
            member(name).map(|value| value.as_str().map(str::to_owned).ok_or(FieldsError::Text(name))).transpose()
        };
        let seconds =
            |name: &'static str| member(name).map(|value| value.as_u64().ok_or(FieldsError::Seconds(name))).transpose();
        let channels = match member("channels") {
            None => None,
            Some(list) => {
                let list = list.as_array().ok_or(FieldsError::Channels)?;
                let names = list.iter().map(|name| name.as_str().map(str::to_owned).ok_or(FieldsError::Channels));
                Some(names.collect::<Result<_, _>>()?)
            }
        };
        Ok(Self {
            channels,
            subject: text("subject")?,
            session: text("session")?,
            expires_in: seconds("expires_in")?,
            expires_at: seconds("expires_at")?,
        })
    }

    /// The grant that they give at `now`, in seconds since 1970. If they do not speak of channels they allow those of `asked`.
    pub fn grant(self, asked: impl IntoIterator<Item = String>, now: u64) -> Result<Grant, GrantError> {
        let Self { channels, subject, session, expires_in, expires_at } = self;
        let items = channels.unwrap_or_else(|| asked.into_iter().collect());
        if items.len() > LISTED_CHANNELS_MAX {
            return Err(GrantError::TooMany(items.len()));
        }
        let in_seconds = expires_in.map(|seconds| now.saturating_add(seconds));
        let mut grant = Grant {
            subject: subject.map(Into::into),
            session: session.map(Into::into),
            issued_at: Some(now),
            expires_at: match (in_seconds, expires_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            ..Grant::default()
        };
        for item in &items {
            grant.allow(item)?;
        }
        Ok(grant)
    }
}

fn set_once<T>(name: &'static str, field: &mut Option<T>, value: T) -> Result<(), FieldsError> {
    if field.replace(value).is_some() { Err(FieldsError::Twice(name)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_and_json_say_the_same() {
        let mut fields = GrantFields::default();
        for (name, value) in [
            (CHANNELS_FIELD, "news, org:*"),
            (CHANNELS_FIELD, ",user:1"),
            (SUBJECT_FIELD, " u1 "),
            (SESSION_FIELD, "s1"),
            (EXPIRES_IN_FIELD, "600"),
            ("content-type", "text/html"),
        ] {
            fields.set_field(name, value).expect("a field");
        }
        let json = r#"{"channels":["news","org:*","user:1"],"subject":"u1","session":"s1","expires_in":600,"x":[],"expires_at":null}"#;
        assert_eq!(GrantFields::from_json(&serde_json::from_str(json).expect("JSON")), Ok(fields.clone()));
        let grant = fields.grant(["asked".to_owned()], 1000).expect("a grant");
        assert_eq!((grant.channels.len(), grant.patterns.len(), grant.expires_at), (2, 1, Some(1600)));
    }

    #[test]
    fn without_channels_the_asked_ones_are_allowed_and_the_earlier_end_holds() {
        let fields = GrantFields { expires_in: Some(600), expires_at: Some(1500), ..GrantFields::default() };
        let grant = fields.grant(["a".to_owned()], 1000).expect("a grant");
        assert_eq!((grant.channels[0].as_str(), grant.expires_at), ("a", Some(1500)));
    }

    /// A service that answers with the list of what a user may read has users who may read nothing.
    #[test]
    fn an_empty_list_of_channels_allows_none() {
        let by_json = GrantFields::from_json(&serde_json::json!({ "channels": [] })).expect("fields");
        let mut by_field = GrantFields::default();
        by_field.set_field(CHANNELS_FIELD, " ,").expect("a field");
        for fields in [by_json, by_field] {
            let grant = fields.grant(["a".to_owned()], 1000).expect("a grant");
            assert_eq!((grant.channels.len(), grant.patterns.len()), (0, 0));
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused_and_channels_are_one_list() {
        for (name, value) in [(SUBJECT_FIELD, "u"), (SESSION_FIELD, "s"), (EXPIRES_IN_FIELD, "9")] {
            let mut fields = GrantFields::default();
            assert_eq!(fields.set_field(name, value), Ok(()));
            assert_eq!(fields.set_field(name, value), Err(FieldsError::Twice(name)));
        }
        let mut fields = GrantFields::default();
        for value in ["a", "b,c"] {
            fields.set_field(CHANNELS_FIELD, value).expect("a list");
        }
        assert_eq!(fields.channels, Some(["a", "b", "c"].map(str::to_owned).into()));
    }

    #[test]
    fn an_answer_of_another_form_is_refused_with_the_field() {
        for (json, error) in [
            ("[]", FieldsError::Object),
            ("\"x\"", FieldsError::Object),
            (r#"{"channels":"a"}"#, FieldsError::Channels),
            (r#"{"channels":[1]}"#, FieldsError::Channels),
            (r#"{"subject":1}"#, FieldsError::Text("subject")),
            (r#"{"expires_in":-1}"#, FieldsError::Seconds("expires_in")),
            (r#"{"expires_in":"600"}"#, FieldsError::Seconds("expires_in")),
            (r#"{"expires_at":1e300}"#, FieldsError::Seconds("expires_at")),
        ] {
            assert_eq!(GrantFields::from_json(&serde_json::from_str(json).expect("JSON")), Err(error), "{json}");
        }
        for value in ["", "x", "-1", "1.5", "99999999999999999999"] {
            assert!(GrantFields::default().set_field(EXPIRES_IN_FIELD, value).is_err(), "{value}");
        }
        let fields = GrantFields { channels: Some(vec!["a b".into()]), ..GrantFields::default() };
        assert_eq!(fields.grant([], 0), Err(GrantError::Item("a b".into())));
    }
}
