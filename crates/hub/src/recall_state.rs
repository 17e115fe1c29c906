//! The wishes of waiting streams for a channel's past, and the question to the feed.
//!
//! A wish is for a place, not for a stream: a thousand clients that come back with one id are one question. At most one
//! question is under way for a channel, and the next holds the wishes of all who came meanwhile. A stream asks once and
//! starts when its question was answered, whatever the answer brought.

use crate::{Floor, Position};

/// Names a question and all before it.
pub(crate) type Ticket = u32;

/// The state of a channel whose past somebody asked for.
#[derive(Debug, Default)]
pub(crate) struct RecallState {
    /// Wishes for which the feed was not asked yet.
    wanted: Option<Wanted>,
    under_way: Option<Question>,
    /// The last question that was answered, and the floor that it left. While the floor stands there, the same question
    /// would be answered alike.
    answered: Option<(Wanted, Position)>,
    questions: Ticket,
    answers: Ticket,
    /// Events below were deleted here and do not come back.
    pub(crate) bottom: Option<Floor>,
}

/// Events above a place: the newest so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) above: Position,
    pub(crate) events: usize,
}

/// A wish on its way, and the floor below which the answer has to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) wanted: Wanted,
    pub(crate) floor: Position,
}

impl Wanted {
    fn covers(self, other: Self) -> bool {
        self.above <= other.above && self.events >= other.events
    }

    fn with(self, other: Self) -> Self {
        Self { above: self.above.min(other.above), events: self.events.max(other.events) }
    }
}

impl RecallState {
    /// Notes a wish and says which answer to wait for; `None` if the answer is known to bring nothing new.
    pub(crate) fn want(&mut self, wanted: Wanted, floor: Position) -> Option<Ticket> {
        if self.answered.is_some_and(|(answered, left)| left == floor && answered.covers(wanted)) {
            return None;
        }
        if self.under_way.is_some_and(|question| question.floor == floor && question.wanted.covers(wanted)) {
            return Some(self.questions);
        }
        self.wanted = Some(self.wanted.map_or(wanted, |others| others.with(wanted)));
        Some(self.questions + 1)
    }

    /// Whether the feed is to be asked.
    pub(crate) fn has_wish(&self) -> bool {
        self.wanted.is_some() && self.under_way.is_none()
    }

    /// Takes the wish as asked.
    pub(crate) fn ask(&mut self, floor: Position) -> Option<Question> {
        if self.under_way.is_some() {
            return None;
        }
        let question = Question { wanted: self.wanted.take()?, floor };
        self.questions += 1;
        self.under_way = Some(question);
        Some(question)
    }

    /// The feed has answered. The question that it answers, if one was asked.
    pub(crate) fn answer(&mut self) -> Option<Question> {
        let question = self.under_way.take()?;
        self.answers += 1;
        Some(question)
    }

    /// Remembers an answer, which left the floor there.
    pub(crate) fn remember(&mut self, wanted: Wanted, floor: Position) {
        self.answered = Some((wanted, floor));
    }

    pub(crate) fn is_answered(&self, ticket: Ticket) -> bool {
        self.answers >= ticket
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Position = Position::new(1, 50);

    fn above(number: u64) -> Wanted {
        Wanted { above: Position::new(1, number), events: usize::MAX }
    }

    #[test]
    fn many_wishes_are_one_question_for_the_lowest_place() {
        let mut recall = RecallState::default();
        let tickets = [20, 10, 30].map(|number| recall.want(above(number), FLOOR));
        assert_eq!(tickets, [Some(1); 3]);
        assert_eq!(recall.ask(FLOOR).map(|question| question.wanted), Some(above(10)));
        assert_eq!(recall.want(above(10), FLOOR), Some(1), "it is under way");
        assert!(!recall.has_wish() && !recall.is_answered(1));
        recall.answer();
        assert!(recall.is_answered(1));
    }

    #[test]
    fn a_lower_wish_waits_for_the_next_question() {
        let mut recall = RecallState::default();
        recall.want(above(20), FLOOR);
        recall.ask(FLOOR);
        assert_eq!(recall.want(above(10), FLOOR), Some(2));
        assert!(!recall.has_wish() && recall.ask(FLOOR).is_none(), "one at a time");
        recall.answer();
        assert!(recall.has_wish() && !recall.is_answered(2));
        assert_eq!(recall.ask(FLOOR).map(|question| question.wanted), Some(above(10)));
    }

    #[test]
    fn a_wish_for_more_events_is_not_answered_with_fewer() {
        let newest = |events| Wanted { above: Position::ORIGIN, events };
        let mut recall = RecallState::default();
        recall.want(newest(5), FLOOR);
        let question = recall.ask(FLOOR).expect("wanted");
        assert_eq!([recall.want(newest(4), FLOOR), recall.want(newest(9), FLOOR)], [Some(1), Some(2)]);
        recall.answer();
        recall.remember(question.wanted, FLOOR);
        assert_eq!([recall.want(newest(5), FLOOR), recall.want(newest(6), FLOOR)], [None, Some(2)]);
    }

    #[test]
    fn an_answer_is_remembered_until_the_floor_moves() {
        let mut recall = RecallState::default();
        recall.want(above(20), FLOOR);
        let question = recall.ask(FLOOR).expect("wanted");
        recall.answer();
        recall.remember(question.wanted, Position::new(1, 30));
        assert_eq!(recall.want(above(20), Position::new(1, 30)), None);
        assert_eq!(recall.want(above(25), Position::new(1, 30)), None);
        assert_eq!(recall.want(above(19), Position::new(1, 30)), Some(2), "lower");
        assert_eq!(recall.want(above(20), Position::new(1, 31)), Some(2), "the floor has moved");
    }
}
