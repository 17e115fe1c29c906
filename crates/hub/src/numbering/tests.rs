//! Which ids name which places, in this node's numbering and in the feed's.

use fantail_wire::EndedTerm;

use super::*;

const NEVER_KNOWN: Unplaced = Unplaced { reason: GapReason::UnknownId, may_come: false, next_term: None };
const NOT_YET_KNOWN: Unplaced = Unplaced { may_come: true, ..NEVER_KNOWN };
const BEYOND: Unplaced = Unplaced { reason: GapReason::BeyondEnd, ..NEVER_KNOWN };
const NOT_YET_HERE: Unplaced = Unplaced { may_come: true, ..BEYOND };

/// Beyond the end of a term, behind which the next one began there.
fn before_term(generation: u32, start: u64) -> Unplaced {
    Unplaced { next_term: Some(Position::new(generation, start)), ..BEYOND }
}

fn term(of: u64) -> Term {
    Term::from_random(of)
}

fn id(of: u64, number: u64) -> EventId {
    EventId::new(term(of), 1000 + number, number)
}

fn terms(current: u64, start: u64, number: u64, ended: &[(u64, u64, u64)]) -> Terms {
    let ended = ended.iter().map(|&(of, start, end)| EndedTerm { term: term(of), start, end }).collect();
    Terms { current: term(current), start, number, ms: 1000 + number, ended }
}

/// As the publisher does at a sync. Says where a new term began.
fn sync(numbering: &Numbering, terms: &Terms) -> Option<Position> {
    let learned = numbering.learn(terms).expect("the feed numbers");
    if learned.to.position > numbering.watermark().position {
        numbering.advance(learned.to);
    }
    learned.began
}

#[test]
fn an_id_leads_back_to_its_place_and_no_other_does() {
    let numbering = Numbering::new(NumberedBy::Node(term(1)), 1000);
    let first = numbering.next(900);
    assert_eq!(first, Watermark { position: Position::new(1, 1), at_ms: 1000 }, "time never falls");
    let id = numbering.id(first.position, first.at_ms).expect("its own");
    assert_eq!(numbering.locate(&id), Err(BEYOND), "nobody was given it yet");
    numbering.advance(first);
    assert_eq!(numbering.locate(&id), Ok(first.position));
    assert_eq!(numbering.locate(&EventId { term: term(2), ..id }), Err(NEVER_KNOWN));
}

#[test]
fn before_the_first_sync_nothing_is_known_and_all_may_come() {
    let numbering = Numbering::new(NumberedBy::Feed, 1000);
    assert_eq!(numbering.locate(&id(1, 1)), Err(NOT_YET_KNOWN));
    assert_eq!(numbering.next_numbered(&id(1, 1)), None);
    assert_eq!(numbering.opening().1, None);
}

#[test]
fn ids_of_ended_terms_are_valid_up_to_their_end_and_order_before_the_current_one() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    assert_eq!(sync(&numbering, &terms(3, 60, 70, &[(1, 0, 40), (2, 40, 60)])), None, "there is nothing before it");
    let places: Vec<_> = [id(1, 40), id(2, 41), id(2, 60), id(3, 60), id(3, 70)]
        .iter()
        .map(|id| numbering.locate(id).expect("a place"))
        .collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    assert_eq!(numbering.locate(&id(1, 41)), Err(before_term(2, 40)));
    assert_eq!(numbering.locate(&id(2, 39)), Err(NEVER_KNOWN), "before its start");
    assert_eq!(numbering.locate(&id(3, 71)), Err(NOT_YET_HERE));
    assert_eq!(numbering.locate(&id(4, 71)), Err(NOT_YET_KNOWN));
}

#[test]
fn a_term_keeps_its_generation_and_new_ones_come_behind() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    sync(&numbering, &terms(2, 40, 50, &[(1, 0, 40)]));
    let before = numbering.locate(&id(2, 45));
    let began = sync(&numbering, &terms(4, 60, 65, &[(1, 0, 40), (2, 40, 52), (3, 52, 60)]));
    assert_eq!(began, Some(Position::new(4, 60)));
    assert_eq!(numbering.locate(&id(2, 45)), before);
    assert_eq!(numbering.locate(&id(2, 52)), Ok(Position::new(2, 52)), "its recorded end, though it never came here");
    assert_eq!(numbering.locate(&id(3, 53)), Ok(Position::new(3, 53)));
    assert_eq!(sync(&numbering, &terms(4, 60, 66, &[])), None, "nothing new");
    assert_eq!(numbering.watermark().position, Position::new(4, 66));
}

#[test]
fn a_term_that_the_feed_forgot_ends_with_what_came_of_it() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    sync(&numbering, &terms(1, 0, 50, &[]));
    assert_eq!(sync(&numbering, &terms(2, 3, 9, &[])), Some(Position::new(2, 3)), "numbers may begin anew");
    assert_eq!(numbering.locate(&id(1, 50)), Ok(Position::new(1, 50)));
    assert_eq!(numbering.locate(&id(1, 51)), Err(before_term(2, 3)));
}

#[test]
fn a_term_that_runs_again_does_not_bring_positions_back() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    sync(&numbering, &terms(1, 0, 50, &[]));
    sync(&numbering, &terms(2, 50, 60, &[(1, 0, 50)]));
    assert_eq!(sync(&numbering, &terms(1, 0, 55, &[])), Some(Position::new(3, 55)));
    assert_eq!(numbering.locate(&id(1, 50)), Ok(Position::new(1, 50)));
    assert_eq!(numbering.locate(&id(1, 55)), Ok(Position::new(3, 55)));
}

#[test]
fn only_rising_numbers_of_the_current_term_are_places_of_events() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    sync(&numbering, &terms(2, 40, 50, &[(1, 0, 40)]));
    numbering.advance(numbering.next(0));
    assert_eq!(numbering.next_numbered(&id(2, 50)), None, "it stands before the unnumbered entry behind it");
    assert_eq!(numbering.next_numbered(&id(1, 51)), None);
    let next = numbering.next_numbered(&id(2, 51)).expect("the next");
    assert_eq!(next.position, Position::new(2, 51));
}

#[test]
fn an_opening_id_names_an_unnumbered_gap_and_no_unnumbered_event() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    sync(&numbering, &terms(1, 0, 50, &[]));
    let unnumbered = |numbering: &Numbering| numbering.opening().1.expect("known").unnumbered;
    numbering.advance(numbering.next(0));
    assert_eq!(unnumbered(&numbering), 0, "an event");
    numbering.advance_to_gap(numbering.next(0));
    numbering.advance(numbering.next(0));
    assert_eq!(unnumbered(&numbering), 2, "the gap, but not the event behind it");
    numbering.advance(numbering.next_numbered(&id(1, 51)).expect("the next"));
    assert_eq!(unnumbered(&numbering), 0);
}

#[test]
fn an_unnumbered_place_of_another_node_hides_nothing_here() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    sync(&numbering, &terms(1, 0, 50, &[]));
    let elsewhere = EventId { unnumbered: 7, ..id(1, 50) };
    assert_eq!(numbering.locate(&elsewhere), Ok(Position::new(1, 50)));
}

#[test]
fn terms_are_remembered_up_to_a_bound_and_the_oldest_is_forgotten_first() {
    let numbering = Numbering::new(NumberedBy::Feed, 0);
    let remembered = || match &numbering.terms {
        KnownTerms::Feed(known_terms) => known_terms.read().len(),
        KnownTerms::Own(_) => unreachable!("the feed numbers"),
    };
    // Each look tells of two terms that ended, of which one began and ended since the last, and of a new one.
    let ended = |of: u64| (of, of * 10, of * 10 + 10);
    let newest = 2 * KNOWN_TERMS_MAX as u64;
    for current in (2..=newest).step_by(2) {
        let start = current * 10;
        sync(&numbering, &terms(current, start, start + 5, &[ended(current - 2), ended(current - 1)]));
        assert!(remembered() <= KNOWN_TERMS_MAX, "{}", remembered());
    }
    assert_eq!(remembered(), KNOWN_TERMS_MAX);
    assert_eq!(numbering.locate(&id(1, 15)), Err(NOT_YET_KNOWN));
    for known in [newest, newest - 1, newest - 2] {
        assert!(numbering.locate(&id(known, known * 10 + 5)).is_ok());
    }
}
