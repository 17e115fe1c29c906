//! What a reader is allowed, and until when.

use fantail_wire::{ChannelName, ChannelPattern};

use crate::channel_template::{ChannelTemplate, FillError};
use crate::token::CheckedToken;

/// Channels and patterns that one token may list.
pub const LISTED_CHANNELS_MAX: usize = 256;

/// How channels are found in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRules {
    /// The claim with a list of channels and patterns; its name, or a path such as `fantail.channels`.
    pub claim: String,
    /// Channels that are made of claims.
    pub templates: Vec<ChannelTemplate>,
}

/// What a token or the operator's own service allows one reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Channels by name: those that a reader gets who asks for none.
    pub channels: Vec<ChannelName>,
    /// Patterns: they allow, and nobody gets them unasked.
    pub patterns: Vec<ChannelPattern>,
    /// Whom it is for.
    pub subject: Option<Box<str>>,
    /// The token's own name (`jti`), by which it alone can be revoked.
    pub token_id: Option<Box<str>>,
    /// The session (`sid`) that it belongs to.
    pub session: Option<Box<str>>,
    /// The key that it was signed with.
    pub key_id: Option<Box<str>>,
    /// Until when, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// Why a token allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The list of channels is none.
    #[error("the token's claim {0} is not a list of channels and patterns")]
    List(String),
    /// Too long a list.
    #[error("the token lists {0} channels, more than {LISTED_CHANNELS_MAX}")]
    TooMany(usize),
    /// An item that is neither a channel nor a pattern.
    #[error("the token lists {0:?}, which is neither a channel nor a pattern")]
    Item(String),
    /// A template that these claims do not fill.
    #[error("{0}")]
    Template(#[from] FillError),
    /// It names nothing at all.
    #[error("the token allows no channel: its claim {0} lists none, and no template is filled by its claims")]
    Nothing(String),
}

impl Grant {
    /// What a token allows.
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
        for template in &rules.templates {
            for channel in template.fill(claims)? {
                grant.add(channel);
            }
        }
        if grant.channels.is_empty() && grant.patterns.is_empty() {
            return Err(GrantError::Nothing(rules.claim.clone()));
        }
        let text = |path| claims.text(path).map(Into::into);
        (grant.subject, grant.token_id, grant.session) = (text("sub"), text("jti"), text("sid"));
        grant.key_id = token.key_id.as_deref().map(Into::into);
        grant.expires_at = Some(token.expires_at);
        Ok(grant)
    }

    /// Allows a channel, or all that fit a pattern if there is a `*` in it.
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

    /// Whether a stream may follow `channel`.
    pub fn allows(&self, channel: &ChannelName) -> bool {
        self.channels.contains(channel) || self.patterns.iter().any(|pattern| pattern.matches(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;

    fn grant(claims: &str) -> Result<Grant, GrantError> {
        let claims = Claims::new(serde_json::from_str(claims).expect("an object"));
        let token = CheckedToken { claims, expires_at: 9, key_id: Some("k".into()) };
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
        assert_eq!((grant.session.as_deref(), grant.key_id.as_deref()), (Some("s"), Some("k")));
        assert_eq!(grant.expires_at, Some(9));
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
