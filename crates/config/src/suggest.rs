//! "Did you mean": the nearest known name to a mistyped one.

/// The known name nearest to `written`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may differ; beyond that a suggestion confuses more than it helps.
    let distance_max = (written.chars().count() / 3).max(1);
    let written = written.to_ascii_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&written, &name.to_ascii_lowercase());
    let scored = known.into_iter().map(|name| (distance(name), name));
    scored.filter(|(distance, _)| *distance <= distance_max).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// The end of a fault's sentence: the suggestion, or where all names are listed.
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
        let known = ["listen", "internal_listen", "linger"];
        let table = [
            ("lisen", Some("listen")),
            ("LISTEN", Some("listen")),
            ("litsen", Some("listen")),
            ("internal-listen", Some("internal_listen")),
            ("lingre", Some("linger")),
            ("port", None),
            ("", None),
        ];
        for (written, expected) in table {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
    }
}
