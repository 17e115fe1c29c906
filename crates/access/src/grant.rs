//! The channels that a reader may follow, and until when.

use fantail_wire::{ChannelName, ChannelPattern};

use crate::channel_template::{ChannelTemplate, FillError};
use crate::claims::Claims;
use crate::client_certificate::ClientCertificate;
use crate::token::CheckedToken;

/// The most channels and patterns that one token may list.
pub const LISTED_CHANNELS_MAX: usize = 256;

/// The places of a token that name channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRules {
    /// The claim with a list of channels and patterns; its name, or a path such as `fantail.channels`.
    pub claim: String,
    /// Templates that make channels of claims.
    pub templates: Vec<ChannelTemplate>,
}

/// The channels that a token, or the operator's own service, allows to one reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Channels by name. A reader that asks for no channel gets these.
    pub channels: Vec<ChannelName>,
    /// Patterns. They allow channels, and a reader must ask for those.
    pub patterns: Vec<ChannelPattern>,
    /// The reader (`sub`).
    pub subject: Option<Box<str>>,
    /// The token's own name (`jti`), to revoke this token alone.
    pub token_id: Option<Box<str>>,
    /// The session (`sid`) that it belongs to.
    pub session: Option<Box<str>>,
    /// The fingerprint of the key that the token was signed with, or of the authorities of the certificate.
    pub key: Option<u64>,
    /// The beginning of the grant, in seconds since 1970.
    pub issued_at: Option<u64>,
    /// The end of the grant, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// The reason why a token allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The claim is no list of channels.
    #[error("the token's claim {0} is not a list of channels and patterns")]
    List(String),
    /// The list is too long.
    #[error("the token lists {0} channels, more than {LISTED_CHANNELS_MAX}")]
    TooMany(usize),
    /// An item is neither a channel nor a pattern.
    #[error("the token lists {0:?}, which is neither a channel nor a pattern")]
    Item(String),
    /// A template cannot be filled by these claims.
    #[error("{0}")]
    Template(#[from] FillError),
    /// The token names no channel at all.
    #[error("the token allows no channel: its claim {0} lists none, and no template is filled by its claims")]
    Nothing(String),
    /// A certificate fills no template.
    #[error("the certificate allows no channel: no template is filled by its names")]
    NoName,
}

/// The reason why a stream may not follow the channels that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A channel is not granted.
    #[error("you may not read the channel {0}")]
    Channel(ChannelName),
    /// The grant has patterns alone, and the stream asks for no channel.
    #[error("name a channel: your right to read is given by patterns, and no channel by its name")]
    NoneByName,
}

impl Grant {
    /// Reads the grant out of a token's claims.
    pub fn of_token(token: &CheckedToken, rules: &ChannelRules) -> Result<Self, GrantError> {
        let claims = &token.claims;
        let mut grant = Self::default();
        let listed = claims.texts(&rules.claim).map_err(|claim| GrantError::List(claim.to_owned()))?;
        if listed.len() > LISTED_CHANNELS_MAX {
            return Err(GrantError::TooMany(listed.len()));
        }
        for item in listed {
            grant.allow(item)?;
        }
        grant.add_filled(&rules.templates, claims)?;
        if grant.channels.is_empty() && grant.patterns.is_empty() {
            return Err(GrantError::Nothing(rules.claim.clone()));
        }
        let name = |path| claims.name(path).map(String::into_boxed_str);
        (grant.subject, grant.token_id, grant.session) = (name("sub"), name("jti"), name("sid"));
        grant.key = Some(token.key);
        grant.issued_at = token.issued_at;
        grant.expires_at = Some(token.ends_at);
        Ok(grant)
    }

    /// The grant that templates make of a certificate's names. It holds as long as the certificate.
    pub fn of_certificate(certificate: &ClientCertificate, templates: &[ChannelTemplate]) -> Result<Self, GrantError> {
        let mut grant = Self::default();
        grant.add_filled(templates, &certificate.names)?;
        if grant.channels.is_empty() {
            return Err(GrantError::NoName);
        }
        grant.subject = certificate.subject().map(Into::into);
        // A stream ends with the authorities of its certificate, as another ends with the key of its token.
        grant.key = Some(certificate.authorities);
        (grant.issued_at, grant.expires_at) = (Some(certificate.begins_at), Some(certificate.ends_at));
        Ok(grant)
    }

    fn add_filled(&mut self, templates: &[ChannelTemplate], claims: &Claims) -> Result<(), GrantError> {
        for template in templates {
            for channel in template.fill(claims)? {
                self.add(channel);
            }
        }
        Ok(())
    }

    /// Allows a channel, or with a `*` in the text all channels that match it.
    pub fn allow(&mut self, item: &str) -> Result<(), GrantError> {
        let no_item = || GrantError::Item(item.chars().take(300).collect());
        if item.contains('*') {
            self.patterns.push(ChannelPattern::parse(item).map_err(|_| no_item())?);
        } else {
            self.add(ChannelName::parse(item).map_err(|_| no_item())?);
        }
        Ok(())
    }

    fn add(&mut self, channel: ChannelName) {
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
    }

    /// The channels that a stream follows: those that it asks for, or all that are granted by name if it asks for none.
    ///
    /// The error names a channel that is not granted. It is the same whether such a channel exists or not.
    pub fn choose(&self, asked: &[ChannelName]) -> Result<Vec<ChannelName>, Denied> {
        if let Some(denied) = asked.iter().find(|channel| !self.allows(channel)) {
            return Err(Denied::Channel(denied.clone()));
        }
        match if asked.is_empty() { &self.channels[..] } else { asked } {
            [] => Err(Denied::NoneByName),
            channels => Ok(channels.to_vec()),
        }
    }

    /// Whether a stream may follow `channel`.
    pub fn allows(&self, channel: &ChannelName) -> bool {
        self.channels.contains(channel) || self.patterns.iter().any(|pattern| pattern.matches(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(claims: &str) -> Result<Grant, GrantError> {
        let claims = Claims::new(serde_json::from_str(claims).expect("an object"));
        let token = CheckedToken { claims, issued_at: Some(5), ends_at: 9, key: 77 };
        let templates = vec![ChannelTemplate::parse("user:{sub}").expect("a template")];
        Grant::of_token(&token, &ChannelRules { claim: "channels".into(), templates })
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).expect("a name")
    }

    #[test]
    fn a_token_allows_what_it_lists_and_what_templates_make_of_it() {
        let grant = grant(r#"{"sub":"u","jti":"j","sid":"s","channels":["news","org:*","news"]}"#).expect("allows");
        assert_eq!(grant.channels, [name("news"), name("user:u")], "those come unasked");
        for (channel, allowed) in
            [("news", true), ("newsx", false), ("org:a", true), ("org", false), ("user:u", true), ("user:v", false)]
        {
            assert_eq!(grant.allows(&name(channel)), allowed, "{channel}");
        }
        assert_eq!((grant.subject.as_deref(), grant.token_id.as_deref()), (Some("u"), Some("j")));
        assert_eq!((grant.session.as_deref(), grant.key), (Some("s"), Some(77)));
        assert_eq!((grant.issued_at, grant.expires_at), (Some(5), Some(9)));
    }

    /// The template gives `user:7` to a person of this number, so the person can be revoked by it.
    #[test]
    fn a_person_with_a_number_for_a_name_has_a_name() {
        let grant = grant(r#"{"sub":7,"jti":18446744073709551615,"sid":-1}"#).expect("allows");
        assert_eq!(grant.channels, [name("user:7")]);
        let names = [&grant.subject, &grant.token_id, &grant.session].map(|name| name.as_deref());
        assert_eq!(names, [Some("7"), Some("18446744073709551615"), Some("-1")]);
    }

    #[test]
    fn a_list_with_anything_else_in_it_allows_nothing() {
        for (claims, expected) in [
            (r#"{"channels":{}}"#, GrantError::List("channels".into())),
            (r#"{"channels":["a",1]}"#, GrantError::List("channels".into())),
            (r#"{"channels":["a b"]}"#, GrantError::Item("a b".into())),
            (r#"{"channels":[""]}"#, GrantError::Item(String::new())),
            (r#"{"channels":["a?*"]}"#, GrantError::Item("a?*".into())),
            (r#"{"channels":[]}"#, GrantError::Nothing("channels".into())),
            ("{}", GrantError::Nothing("channels".into())),
        ] {
            assert_eq!(grant(claims), Err(expected), "{claims}");
        }
        let many = format!(r#"{{"channels":[{}]}}"#, vec!["\"a\""; 257].join(","));
        assert_eq!(grant(&many), Err(GrantError::TooMany(257)));
        assert_eq!(grant(r#"{"channels":"news"}"#).expect("one text is a list of one").channels, [name("news")]);
    }
}
