//! The claims of a token whose signature was checked.

use serde_json::Value;

/// The claims of a token whose signature is good. [`TokenRules`](crate::TokenRules) decides whether they hold now.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(serde_json::Map<String, Value>);

impl Claims {
    pub(crate) fn new(claims: serde_json::Map<String, Value>) -> Self {
        Self(claims)
    }

    /// The value at a path such as `user.id.opaque_id`. A claim with this whole text as its name comes first.
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    }

    /// All claims by their names.
    pub(crate) fn all(&self) -> &serde_json::Map<String, Value> {
        &self.0
    }

    /// A text at a path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// The name of a person, a session or a token. Some issuers number them: `7` is the name `7`, in templates as well.
    pub(crate) fn name(&self, path: &str) -> Option<String> {
        match self.get(path)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        }
    }

    /// A time in seconds since 1970 (RFC 7519, NumericDate): an integer, or a number with a fraction, which is cut off.
    /// `Err` if there is something else.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<u64>, &'static str> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let whole = value.as_u64().or_else(|| {
            let seconds = value.as_f64().filter(|seconds| (0.0..9e15).contains(seconds))?;
            #[allow(clippy::cast_sign_loss, reason = "the range begins at zero")]
            Some(seconds.trunc() as u64)
        });
        whole.map(Some).ok_or(name)
    }

    /// The texts of a claim that is a text or a list of texts. `Err` if there is something else.
    pub(crate) fn texts<'a>(&'a self, path: &'a str) -> Result<Vec<&'a str>, &'a str> {
        match self.get(path) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => list.iter().map(|value| value.as_str().ok_or(path)).collect(),
            Some(_) => Err(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::new(serde_json::from_str(json).expect("an object"))
    }

    #[test]
    fn a_path_leads_into_objects_and_a_name_with_dots_comes_first() {
        let claims = claims(r#"{"user":{"id":{"opaque_id":"u1"}},"https://a.example/org":"o","user.x":"dotted"}"#);
        assert_eq!(claims.text("user.id.opaque_id"), Some("u1"));
        assert_eq!(claims.text("https://a.example/org"), Some("o"));
        assert_eq!(claims.text("user.x"), Some("dotted"));
        for path in ["user.id", "user.id.none", "none", "", "user.id.opaque_id.x", "."] {
            assert_eq!(claims.text(path), None, "{path}");
        }
    }

    #[test]
    fn a_time_is_a_number_that_is_not_negative() {
        for (json, expected) in [
            ("{}", Ok(None)),
            (r#"{"exp":17}"#, Ok(Some(17))),
            (r#"{"exp":17.9}"#, Ok(Some(17))),
            (r#"{"exp":"17"}"#, Err("exp")),
            (r#"{"exp":-1}"#, Err("exp")),
            (r#"{"exp":1e300}"#, Err("exp")),
            (r#"{"exp":null}"#, Err("exp")),
            (r#"{"exp":[17]}"#, Err("exp")),
        ] {
            assert_eq!(claims(json).time("exp"), expected, "{json}");
        }
    }
}
