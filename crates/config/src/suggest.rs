//! "Did you mean": the nearest known name to a mistyped one.

/// The names of settings in other programs, and their names here.
const OTHER_NAMES: [(&str, &str); 10] = [
    ("addr", "listen"),
    ("address", "listen"),
    ("bind", "listen"),
    ("host", "listen"),
    ("port", "listen"),
    ("threads", "workers"),
    ("redis", "redis_url"),
    ("cors", "cors_origin"),
    ("origin", "cors_origin"),
    ("verbose", "log_level"),
];

/// The known name nearest to `written`, if it is near enough to be a slip of the finger. Otherwise our name for a
/// setting with another name elsewhere, or the only known name that begins with `written`. A name may be spelled as a
/// key, a flag or the end of a variable.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = key_of(written);
    // A third of the letters may differ; beyond that a suggestion confuses more than it helps.
    let distance_max = (written.chars().count() / 3).max(1);
    let known: Vec<_> = known.into_iter().map(|name| (key_of(name), name)).collect();
    let own = known.iter().map(|(key, name)| (key.as_str(), *name));
    let others = OTHER_NAMES.iter().filter_map(|(other, meant)| {
        let (_, name) = known.iter().find(|(key, _)| key == meant)?;
        Some((*other, *name))
    });
    let scored = own.chain(others).map(|(key, name)| (strsim::damerau_levenshtein(&written, key), name));
    let near = scored.filter(|(distance, _)| *distance <= distance_max).min_by_key(|(distance, _)| *distance);
    near.map(|(_, name)| name).or_else(|| only_one_that_goes_on(&written, &known))
}

fn only_one_that_goes_on<'a>(written: &str, known: &[(String, &'a str)]) -> Option<&'a str> {
    let begun = format!("{written}_");
    let mut longer = known.iter().filter(|(key, _)| key.starts_with(&begun));
    let (_, name) = longer.next()?;
    longer.next().is_none().then_some(name)
}

/// `log_level` for `--log-level` and `LOG_LEVEL`.
fn key_of(name: &str) -> String {
    name.trim_start_matches('-').to_ascii_lowercase().replace('-', "_")
}

/// The end of a fault's sentence: the suggestion, or the place where all names are listed.
pub(crate) fn advice<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(written, known) {
        Some(name) => format!("did you mean {name}?"),
        None => "--help lists all settings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_corrected_and_another_word_is_not() {
        let known = ["listen", "internal_listen", "linger", "log_level", "log_format"];
        let table = [
            ("lisen", Some("listen")),
            ("LISTEN", Some("listen")),
            ("litsen", Some("listen")),
            ("internal-listen", Some("internal_listen")),
            ("lingre", Some("linger")),
            ("--lnger", Some("linger")),
            ("log", None),
            ("color", None),
            ("", None),
        ];
        for (written, expected) in table {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
    }

    #[test]
    fn a_name_from_elsewhere_or_the_beginning_of_one_leads_to_ours() {
        let known = ["--listen", "--workers", "--path", "--keepalive-interval", "--drain-window", "--drain-deadline"];
        let table = [
            ("--port", Some("--listen")),
            ("--prot", Some("--listen")),
            ("--pth", Some("--path")),
            ("--threads", Some("--workers")),
            ("--keepalive", Some("--keepalive-interval")),
            ("--drain", None),
            ("--redis", None),
        ];
        for (written, expected) in table {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
    }
}
