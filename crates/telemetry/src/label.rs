//! Labels whose values are known when the program is built.
//!
//! A label never holds anything that a client or a publisher chose: such values have no bound.

/// The values of one label.
pub trait Label: Copy + 'static {
    /// The values as the exposition writes them, by index.
    const WORDS: &'static [&'static str];

    /// The meaning of each, for the reference page.
    const MEANINGS: &'static [&'static str];

    /// The place of this value in [`WORDS`](Self::WORDS).
    fn index(self) -> usize;

    /// This value as the exposition writes it.
    fn as_str(self) -> &'static str {
        Self::WORDS[self.index()]
    }
}

/// Declares an enum as a label: each variant with its word and, as its one line of documentation, its meaning. Or makes an
/// enum of `wire`, which has its words, a label: each variant with its meaning, in the enum's order.
macro_rules! label {
    (for $name:ident { $($variant:ident: $meaning:literal,)+ }) => {
        impl $crate::label::Label for $name {
            const WORDS: &'static [&'static str] = &[$(Self::$variant.as_str()),+];
            const MEANINGS: &'static [&'static str] = &[$($meaning),+];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    };
    ($(#[$meta:meta])* pub enum $name:ident { $(#[doc = $meaning:literal] $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $(#[doc = $meaning] $variant,)+ }

        impl $name {
            /// All values, by index.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];
            /// How many values there are.
            pub const COUNT: usize = [$($word),+].len();

            /// The value as the exposition and the log write it.
            pub fn as_str(self) -> &'static str {
                $crate::label::Label::as_str(self)
            }
        }

        impl $crate::label::Label for $name {
            const WORDS: &'static [&'static str] = &[$($word),+];
            const MEANINGS: &'static [&'static str] = &[$($meaning),+];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use label;

#[cfg(test)]
mod tests {
    use fantail_wire::{FeedState, SlowPolicy};

    use super::*;

    #[test]
    fn an_enum_of_wire_is_labelled_with_its_own_words() {
        for policy in SlowPolicy::ALL {
            assert_eq!(Label::as_str(*policy), policy.as_str());
        }
        for state in FeedState::ALL {
            assert_eq!(Label::as_str(*state), state.as_str());
        }
    }
}
