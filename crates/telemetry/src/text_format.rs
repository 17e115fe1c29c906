//! The two text forms of a scrape, and which of them was asked for.

/// A form of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// The classic form of Prometheus, which every scraper reads.
    Classic,
    /// `OpenMetrics`, for a scraper that names it.
    OpenMetrics,
}

impl TextFormat {
    /// The media type, as an answer says it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The form that these `Accept` headers prefer. `OpenMetrics` must be named, and be liked no less than plain text;
    /// all others get the classic form, whatever they accept, since a scrape that fails helps nobody.
    pub fn accepted<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut open, mut classic) = (0.0_f64, 0.0_f64);
        for range in headers.into_iter().flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters = || parts.clone().filter_map(|parameter| parameter.split_once('='));
            let version = parameters().find(|(name, _)| name.eq_ignore_ascii_case("version")).map(|(_, value)| value);
            let weight = parameters().find(|(name, _)| name.eq_ignore_ascii_case("q")).map_or(1.0, |(_, q)| weight(q));
            match (kind.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = weight.max(open),
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => classic = weight.max(classic),
                _ => {}
            }
        }
        if open > 0.0 && open >= classic { Self::OpenMetrics } else { Self::Classic }
    }
}

/// A quality value; what is none counts as not wanted.
fn weight(text: &str) -> f64 {
    text.trim().parse().unwrap_or(0.0_f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_whoever_names_it_and_likes_it_no_less() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (&[][..], TextFormat::Classic),
            (&["*/*"], TextFormat::Classic),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], TextFormat::Classic),
            (&["text/plain;version=0.0.4;q=0.5,*/*;q=0.1"], TextFormat::Classic),
            (&["application/json"], TextFormat::Classic),
            (&["application/openmetrics-text; version=0.0.1"], TextFormat::Classic),
            (&["application/openmetrics-text;q=0"], TextFormat::Classic),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.7"], TextFormat::Classic),
            (&["application/openmetrics-text;q=x, */*;q=0.1"], TextFormat::Classic),
            (&[prometheus], TextFormat::OpenMetrics),
            (&["application/openmetrics-text"], TextFormat::OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"], TextFormat::OpenMetrics),
            (&["text/plain;q=0.5", "application/openmetrics-text;version=1.0.0"], TextFormat::OpenMetrics),
        ] {
            assert_eq!(TextFormat::accepted(accept.iter().copied()), expected, "{accept:?}");
        }
    }
}
