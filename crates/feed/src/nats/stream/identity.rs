//! The terms of a stream: which unbroken numbering a number belongs to.
//!
//! A stream that is made anew has another time of creation, and so another term. All nodes compute the same term of the
//! same stream, without telling each other.

use fantail_wire::Term;

/// The term of a stream, by its name and the time of its creation as the server writes it.
pub(super) fn term_of(name: &str, created: &str) -> Term {
    Term::from_random(hash(&[name.as_bytes(), created.as_bytes()]))
}

/// The term behind a numbering that was set back, for all nodes that saw the same event last of it.
pub(super) fn term_behind(term: Term, number: u64, at_ns: u64) -> Term {
    Term::from_random(hash(&[term.as_str().as_bytes(), &number.to_le_bytes(), &at_ns.to_le_bytes()]))
}

/// FNV-1a with a last mix. It has to be the same in every version and on every machine, and withstands no attack: a
/// stream's name and time are the operator's.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_the_same_in_every_version() {
        let created = "2026-11-29T20:00:00.123456789Z";
        assert_eq!(term_of("EVENTS", created), term_of("EVENTS", created));
        assert_eq!(term_of("EVENTS", created).as_str(), "b5675ikfo6lg");
        assert_ne!(term_of("EVENTS", created), term_of("EVENTS", "2026-11-29T20:00:00.123456788Z"));
        assert_ne!(term_of("EVENTS", created), term_of("EVENT", created));
        let term = term_of("EVENTS", created);
        assert_ne!(term_behind(term, 60, 1), term_behind(term, 60, 2));
        assert_ne!(term_behind(term, 60, 1), term);
    }
}
