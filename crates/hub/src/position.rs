//! Where an event stands in this node's order.

/// A place in this node's order, which never goes backwards. Not the id that clients see: that names a place in the
/// feed's numbering, readable on any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Grows by one whenever the feed's numbering starts anew, so that a smaller number may follow a larger one.
    pub generation: u32,
    /// The feed's number.
    pub number: u64,
    /// Counts unnumbered entries behind the number that they came after; 0 for a numbered one. Example: two unnumbered
    /// events after 45 are (1, 45, 1) and (1, 45, 2).
    pub unnumbered: u32,
}

impl Position {
    /// Before everything: the cursor of a client whose place is not known.
    pub const ORIGIN: Self = Self { generation: 0, number: 0, unnumbered: 0 };

    /// The place of a numbered event.
    pub const fn new(generation: u32, number: u64) -> Self {
        Self { generation, number, unnumbered: 0 }
    }

    /// The last place before this one: a cursor there still gets what stands here.
    #[must_use]
    pub const fn before(self) -> Self {
        match (self.unnumbered, self.number) {
            (0, 0) => Self { generation: self.generation.saturating_sub(1), number: u64::MAX, unnumbered: u32::MAX },
            (0, number) => Self { generation: self.generation, number: number - 1, unnumbered: u32::MAX },
            (unnumbered, _) => Self { unnumbered: unnumbered - 1, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_generation_comes_after_every_number_of_the_old_one() {
        let unnumbered = Position { unnumbered: 1, ..Position::new(1, 5) };
        let order = [Position::ORIGIN, Position::new(1, 5), unnumbered, Position::new(1, 6), Position::new(2, 1)];
        assert!(order.is_sorted());
    }

    #[test]
    fn nothing_fits_between_a_place_and_the_one_before_it() {
        for place in [Position::new(1, 1), Position::new(2, 0), Position { unnumbered: 3, ..Position::new(1, 9) }] {
            assert!(place.before() < place);
        }
        assert!(Position::new(1, 5).before() > Position { unnumbered: 77, ..Position::new(1, 4) });
    }
}
