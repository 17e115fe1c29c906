//! The judge judged: every kind of fault must be found, counted once and described.

use super::*;
use crate::payload::payload;

/// Publishes alternately to two channels and confirms everything.
fn published(count: usize) -> (Ledger, Vec<Composed>) {
    let ledger = Ledger::new();
    let mut publisher = ledger.publisher(Random::from_seed(1));
    let events = (0..count).map(|number| publisher.compose(["a", "b"][number % 2], 150)).collect::<Vec<_>>();
    for event in &events {
        publisher.confirm(event);
    }
    (ledger, events)
}

/// Judges one reader of both channels that received `texts` and stopped after everything.
fn judge(ledger: &Ledger, texts: &[&str]) -> Verdict {
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    for text in texts {
        reader.receive(text);
    }
    reader.stopped(ledger.mark());
    ledger.judge()
}

fn texts(events: &[Composed]) -> Vec<&str> {
    events.iter().map(|event| event.text.as_str()).collect()
}

fn receive(reader: &Reader, events: &[Composed], numbers: &[usize]) {
    for number in numbers {
        reader.receive(&events[*number].text);
    }
}

/// A verdict with nothing but these counts, to compare all counts at once.
fn only(change: impl FnOnce(&mut Verdict)) -> Verdict {
    let mut verdict = Verdict { readers: 1, ..Verdict::default() };
    change(&mut verdict);
    verdict
}

/// Events that reached nobody are counted twice and have a test of their own.
fn counts(verdict: &Verdict) -> Verdict {
    Verdict { examples: Vec::new(), nowhere: 0, ..verdict.clone() }
}

fn told(verdict: &Verdict, what: &str) -> bool {
    verdict.examples.iter().any(|example| example.contains(what))
}

#[test]
fn a_clean_history_passes() {
    let (ledger, events) = published(20);
    let verdict = judge(&ledger, &texts(&events));
    assert_eq!(verdict, only(|verdict| verdict.delivered = 20));
    verdict.assert_whole();
}

#[test]
fn a_dropped_event_is_a_silent_hole_wherever_it_was() {
    for dropped in 0..6 {
        let (ledger, events) = published(6);
        let mut seen = texts(&events);
        seen.remove(dropped);
        let verdict = judge(&ledger, &seen);
        assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.silent) = (5, 1)), "event {dropped}");
        assert!(told(&verdict, &format!("silent: {}#{}", ["a", "b"][dropped % 2], dropped / 2)), "{verdict}");
        assert!(!verdict.is_clean());
    }
}

#[test]
fn a_doubled_event_is_found_at_once_or_later() {
    for again in 1..6 {
        let (ledger, events) = published(6);
        let mut seen = texts(&events);
        seen.insert(again, seen[0]);
        let verdict = judge(&ledger, &seen);
        assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.duplicated) = (6, 1)));
        assert!(told(&verdict, "duplicated: a#0"), "{verdict}");
    }
}

#[test]
fn swapped_events_are_found_within_a_channel_and_across_channels() {
    for (left, right) in [(0, 1), (1, 2), (4, 5)] {
        let (ledger, events) = published(6);
        let mut seen = texts(&events);
        seen.swap(left, right);
        let verdict = judge(&ledger, &seen);
        assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.reordered) = (6, 1)));
    }
    let (ledger, events) = published(6);
    let mut seen = texts(&events);
    seen.swap(0, 2);
    let verdict = judge(&ledger, &seen);
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.reordered) = (6, 2)));
}

#[test]
fn a_cut_event_is_found_and_not_mistaken_for_a_hole() {
    let (ledger, events) = published(6);
    let mut seen = texts(&events);
    let cut: String = seen[3].chars().take(seen[3].chars().count() - 1).collect();
    seen[3] = &cut;
    let verdict = judge(&ledger, &seen);
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.cut) = (5, 1)));
}

#[test]
fn two_frames_glued_into_one_are_found() {
    let (ledger, events) = published(6);
    let mut seen = texts(&events);
    let glued = format!("{}{}", &seen[2][..20], seen[3]);
    seen.splice(2..4, [glued.as_str()]);
    let verdict = judge(&ledger, &seen);
    assert_eq!((verdict.delivered, verdict.corrupted, verdict.silent), (4, 1, 2), "{verdict}");
}

#[test]
fn a_corrupted_event_is_found() {
    let (ledger, events) = published(6);
    let mut seen = texts(&events);
    let mut wrong = seen[3].to_owned();
    let last = wrong.pop();
    wrong.push(if last == Some('y') { 'z' } else { 'y' });
    let longer = format!("{}!", seen[4]);
    (seen[3], seen[4]) = (&wrong, &longer);
    let verdict = judge(&ledger, &seen);
    assert_eq!(verdict.delivered, 4, "{verdict}");
    // Replacing a longer last character makes the text shorter, which reads as cut; both are faults.
    assert_eq!(verdict.corrupted + verdict.cut, 2, "{verdict}");
}

#[test]
fn a_whole_text_that_is_not_the_published_one_is_corrupted() {
    let (ledger, events) = published(2);
    let forged = Payload::new(0, 0, vec![("a".into(), 0)], 150, &mut Random::from_seed(99)).encode();
    let verdict = judge(&ledger, &[&forged, &events[1].text]);
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.corrupted) = (1, 1)));
}

#[test]
fn a_leaked_event_of_another_channel_is_foreign() {
    let (ledger, events) = published(6);
    let reader = ledger.reader("only a", &["a"], Start::After(Mark::BEGINNING));
    receive(&reader, &events, &[0, 1, 2, 4]);
    reader.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.foreign) = (3, 1)));
    assert!(told(&verdict, "only a: foreign: b#0"), "{verdict}");
}

#[test]
fn an_event_that_nobody_published_is_foreign() {
    let (ledger, events) = published(2);
    let invented = payload("a", 7, 150, &mut Random::from_seed(5));
    let verdict = judge(&ledger, &[&events[0].text, &events[1].text, &invented]);
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.foreign) = (2, 1)));
}

#[test]
fn text_that_is_no_payload_is_corrupted() {
    let (ledger, events) = published(1);
    let verdict = judge(&ledger, &[&events[0].text, "hello", "fantail"]);
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.corrupted) = (1, 2)));
}

#[test]
fn events_in_flight_while_joining_may_come_but_not_with_holes() {
    for (first, dropped, silent) in
        [(0, None, 0), (3, None, 0), (4, None, 0), (5, None, 1), (0, Some(1), 1), (2, Some(4), 1)]
    {
        let ledger = Ledger::new();
        let mut publisher = ledger.publisher(Random::from_seed(2));
        let mut events: Vec<_> = (0..4).map(|_| publisher.compose("a", 100)).collect();
        let reader = ledger.reader("late", &["a"], Start::Live(ledger.mark()));
        events.extend((0..4).map(|_| publisher.compose("a", 100)));
        for (number, event) in events.iter().enumerate() {
            publisher.confirm(event);
            if number >= first && Some(number) != dropped {
                reader.receive(&event.text);
            }
        }
        reader.stopped(ledger.mark());
        assert_eq!(ledger.judge().silent, silent, "from {first} without {dropped:?}");
    }
}

#[test]
fn a_live_reader_that_gets_nothing_misses_what_came_after_it_joined() {
    let (ledger, _) = published(4);
    let reader = ledger.reader("deaf", &["a", "b"], Start::Live(ledger.mark()));
    let mut publisher = ledger.publisher(Random::from_seed(3));
    let event = publisher.compose("b", 100);
    publisher.confirm(&event);
    assert!(!reader.has(&event));
    reader.stopped(ledger.mark());
    assert_eq!(counts(&ledger.judge()), only(|verdict| verdict.silent = 1));
}

#[test]
fn a_resumed_reader_gets_exactly_what_came_after_its_mark() {
    let ledger = Ledger::new();
    let mut publisher = ledger.publisher(Random::from_seed(4));
    let before = publisher.compose("a", 100);
    let mark = ledger.mark();
    let after = publisher.compose("a", 100);
    publisher.confirm(&before);
    publisher.confirm(&after);
    let too_early = ledger.reader("too early", &["a"], Start::After(mark));
    too_early.receive(&before.text);
    too_early.receive(&after.text);
    too_early.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.duplicated) = (1, 1)));
    assert!(told(&verdict, "resumed from"), "{verdict}");
}

#[test]
fn a_gap_excuses_what_is_missing_at_its_place() {
    let (ledger, events) = published(8);
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&reader, &events, &[0, 1]);
    let gap = |channel: &str| Event {
        event: "fantail.gap".into(),
        data: format!("{{\"channel\":\"{channel}\",\"reason\":\"feed outage\"}}"),
        id: "1".into(),
        own_id: None,
        retry: None,
    };
    reader.record(&gap("a"));
    reader.record(&gap("b"));
    receive(&reader, &events, &[6, 7]);
    reader.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!(counts(&verdict), only(|verdict| (verdict.delivered, verdict.gaps, verdict.declared) = (4, 2, 4)));
    verdict.assert_clean();
    assert!(!verdict.is_whole());
}

#[test]
fn a_gap_excuses_nothing_in_another_channel_or_at_another_place() {
    for (channel, place, declared) in [("a", 1, 1), ("b", 1, 1), ("a", 0, 0), ("a", 2, 0)] {
        let (ledger, events) = published(10);
        let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
        // a#2 and b#2 are missing: their place is behind the second pair.
        for (pair, first) in [0, 2, 6, 8].into_iter().enumerate() {
            receive(&reader, &events, &[first, first + 1]);
            if pair == place {
                reader.gap(channel);
            }
        }
        reader.stopped(ledger.mark());
        let verdict = ledger.judge();
        assert_eq!((verdict.silent, verdict.declared), (2 - declared, declared), "{channel} {place}: {verdict}");
    }
}

#[test]
fn a_gap_cannot_excuse_what_was_published_after_it() {
    let (ledger, events) = published(2);
    let reader = ledger.reader("r", &["a"], Start::After(Mark::BEGINNING));
    reader.receive(&events[0].text);
    reader.gap("a");
    let mut publisher = ledger.publisher(Random::from_seed(6));
    let later = publisher.compose("a", 100);
    publisher.confirm(&later);
    reader.stopped(ledger.mark());
    assert_eq!(ledger.judge().silent, 1);
}

/// The steps of a reader of two channels: the missing events of `a` come before an event for both.
fn judge_event_for_both_before_the_gap(steps: &[&str]) -> Verdict {
    let ledger = Ledger::new();
    let mut publishers = [1, 2].map(|seed| ledger.publisher(Random::from_seed(seed)));
    let mut compose = |publisher: usize, channels: &[&str]| {
        let event = publishers[publisher].compose_for(channels, 150);
        ledger.confirm(&event);
        event
    };
    let missing = compose(0, &["a"]);
    let alone = compose(1, &["a"]);
    let both = compose(0, &["a", "b"]);
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    for step in steps {
        match *step {
            "missing" => reader.receive(&missing.text),
            "alone" => reader.receive(&alone.text),
            "both" => reader.receive(&both.text),
            channel => reader.gap(channel),
        }
    }
    reader.stopped(ledger.mark());
    ledger.judge()
}

#[test]
fn a_gap_excuses_what_is_missing_before_an_event_that_came_by_another_channel() {
    let judge = judge_event_for_both_before_the_gap;
    judge(&["missing", "alone", "both"]).assert_whole();
    let verdict = judge(&["both", "a"]);
    assert_eq!((verdict.silent, verdict.declared), (0, 2), "{verdict}");
    // Without the gap, with that of the other channel, and with one that comes too late.
    for (steps, silent) in [(&["both"][..], 2), (&["both", "b"], 2), (&["both", "alone", "a"], 1)] {
        let verdict = judge(steps);
        assert_eq!((verdict.silent, verdict.declared), (silent, 0), "{steps:?}: {verdict}");
    }
}

#[test]
fn a_gap_of_a_foreign_channel_or_without_channel_is_a_fault() {
    let (ledger, events) = published(1);
    let reader = ledger.reader("r", &["a"], Start::After(Mark::BEGINNING));
    reader.receive(&events[0].text);
    reader.gap("z");
    let event = Event { event: "fantail.gap".into(), data: "{}".into(), id: String::new(), own_id: None, retry: None };
    reader.record(&event);
    reader.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!((verdict.foreign, verdict.corrupted), (1, 1), "{verdict}");
}

#[test]
fn an_unconfirmed_event_may_be_missing_or_come() {
    let ledger = Ledger::new();
    let mut publisher = ledger.publisher(Random::from_seed(7));
    let events: Vec<_> = (0..3).map(|_| publisher.compose("a", 100)).collect();
    publisher.confirm(&events[0]);
    publisher.confirm(&events[2]);
    let without = ledger.reader("without", &["a"], Start::After(Mark::BEGINNING));
    receive(&without, &events, &[0, 2]);
    let with = ledger.reader("with", &["a"], Start::After(Mark::BEGINNING));
    for event in &events {
        with.receive(&event.text);
    }
    assert!(with.has(&events[1]) && !without.has(&events[1]));
    without.stopped(ledger.mark());
    with.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!((verdict.unconfirmed, verdict.delivered), (1, 5));
    verdict.assert_whole();
}

#[test]
fn an_event_for_several_channels_is_owed_once() {
    for (times, expected) in [(0, (0, 1, 0)), (1, (1, 0, 0)), (2, (1, 0, 1))] {
        let ledger = Ledger::new();
        let mut publisher = ledger.publisher(Random::from_seed(8));
        let event = publisher.compose_for(&["a", "b", "c"], 200);
        publisher.confirm(&event);
        let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
        (0..times).for_each(|_| reader.receive(&event.text));
        reader.stopped(ledger.mark());
        let verdict = ledger.judge();
        assert_eq!((verdict.delivered, verdict.silent, verdict.duplicated), expected, "{times} times");
    }
}

#[test]
fn publishers_of_one_channel_are_ordered_each_for_itself() {
    let ledger = Ledger::new();
    let mut publishers = [1, 2].map(|seed| ledger.publisher(Random::from_seed(seed)));
    let [left, right] = &mut publishers;
    let events = [left.compose("a", 100), right.compose("a", 100), left.compose("a", 100), right.compose("a", 100)];
    for event in &events {
        ledger.confirm(event);
    }
    let interleaved = ledger.reader("interleaved", &["a"], Start::After(Mark::BEGINNING));
    receive(&interleaved, &events, &[1, 0, 3, 2]);
    interleaved.stopped(ledger.mark());
    ledger.judge().assert_whole();
    let swapped = ledger.reader("swapped", &["a"], Start::After(Mark::BEGINNING));
    receive(&swapped, &events, &[2, 1, 0, 3]);
    swapped.stopped(ledger.mark());
    assert_eq!(ledger.judge().reordered, 1);
}

#[test]
fn the_end_of_a_stream_is_part_of_the_verdict() {
    let (ledger, _) = published(2);
    let end = |end| ledger.reader("r", &[], Start::After(Mark::BEGINNING)).ended(end, ledger.mark());
    end(End::Clean);
    assert!(ledger.judge().is_clean());
    end(End::Cut);
    end(End::Reset);
    assert_eq!(ledger.judge().cut, 2);
}

#[test]
fn a_reader_that_left_is_owed_no_tail_but_one_without_an_end_is_a_fault() {
    let (ledger, events) = published(4);
    let reader = ledger.reader("r", &["a"], Start::After(Mark::BEGINNING));
    reader.receive(&events[0].text);
    let verdict = ledger.judge();
    assert_eq!((verdict.unfinished, verdict.is_clean()), (1, false));
    reader.left();
    ledger.judge().assert_whole();
}

#[test]
#[should_panic(expected = "nothing was proved")]
fn a_verdict_over_nothing_proves_nothing() {
    Ledger::new().judge().assert_clean();
}

#[test]
fn the_verdict_tells_all_counts_and_the_first_faults() {
    let (ledger, _) = published(60);
    let text = judge(&ledger, &[]).to_string();
    assert!(text.starts_with("readers 1, delivered 0, gaps 0, declared 0"), "{text}");
    assert!(text.contains("silent 60"), "{text}");
    assert_eq!(text.lines().count(), 21);
}

/// The text of a gap event.
fn gap_event(channel: &str, reason: &str) -> Event {
    let data = format!("{{\"channel\":\"{channel}\",\"reason\":\"{reason}\"}}");
    Event { event: "fantail.gap".into(), data, id: "x".into(), own_id: None, retry: None }
}

#[test]
fn behind_a_gap_that_begins_anew_earlier_events_may_come_once_more() {
    let (ledger, events) = published(8);
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&reader, &events, &[0, 1, 2, 3]);
    for channel in ["a", "b"] {
        reader.record(&gap_event(channel, "unknown-id"));
    }
    receive(&reader, &events, &[1, 2, 3, 4, 5, 6, 7]);
    reader.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!(verdict, only(|verdict| (verdict.delivered, verdict.gaps, verdict.repeated) = (8, 2, 3)));
}

#[test]
fn a_channel_that_did_not_begin_anew_stays_in_order_when_another_did() {
    let judge = |late: &[usize]| {
        let (ledger, events) = published(6);
        let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
        receive(&reader, &events, &[0, 1, 2, 5]);
        reader.record(&gap_event("a", "unknown-id"));
        receive(&reader, &events, late);
        reader.stopped(ledger.mark());
        ledger.judge()
    };
    // Event 3 is of b, 2 and 4 are of a.
    let verdict = judge(&[3, 4]);
    assert_eq!((verdict.reordered, verdict.silent), (1, 0), "{verdict}");
    let verdict = judge(&[2, 4]);
    assert_eq!((verdict.reordered, verdict.silent, verdict.repeated), (0, 1, 1), "{verdict}");
    // A channel that begins anew goes back once, and forwards from there.
    let verdict = judge(&[4, 2]);
    assert_eq!((verdict.reordered, verdict.silent, verdict.repeated), (1, 1, 1), "{verdict}");
}

#[test]
fn behind_any_other_gap_nothing_may_come_again() {
    let (ledger, events) = published(4);
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&reader, &events, &[0, 1]);
    for channel in ["a", "b"] {
        reader.record(&gap_event(channel, "outage"));
    }
    receive(&reader, &events, &[0, 1, 2, 3]);
    reader.stopped(ledger.mark());
    assert_eq!(ledger.judge().duplicated, 2);
}

#[test]
fn a_repeated_event_is_found_also_behind_a_gap_that_begins_anew_and_so_is_a_hole() {
    let (ledger, events) = published(8);
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&reader, &events, &[0, 1]);
    for channel in ["a", "b"] {
        reader.record(&gap_event(channel, "unknown-id"));
    }
    receive(&reader, &events, &[0, 1, 1, 2, 3, 6, 7]);
    reader.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!((verdict.duplicated, verdict.silent), (1, 2), "{verdict}");
}

/// A reader of two channels comes to a node that does not know its id. The first channel gets a gap and begins anew.
/// Then its connection is cut, and it comes back with the id of that gap, which is known. So the second channel's gap
/// has another reason, and the retained events behind it follow.
#[test]
fn a_reader_that_is_cut_off_between_two_gaps_may_get_both_channels_again() {
    let (ledger, events) = published(8);
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&reader, &events, &[0, 1, 2, 3]);
    reader.record(&gap_event("a", "unknown-id"));
    reader.record(&gap_event("b", "not-followed"));
    receive(&reader, &events, &[3, 4, 5, 6, 7]);
    reader.record(&gap_event("b", "outage"));
    receive(&reader, &events, &[7]);
    reader.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!((verdict.duplicated, verdict.silent, verdict.delivered), (1, 0, 8), "{verdict}");
}

#[test]
fn an_event_that_reached_no_reader_is_counted_apart_from_one_that_a_single_reader_missed() {
    let (ledger, events) = published(6);
    let all = ledger.reader("all but one", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&all, &events, &[0, 1, 3, 4, 5]);
    all.stopped(ledger.mark());
    let few = ledger.reader("few", &["a", "b"], Start::After(Mark::BEGINNING));
    receive(&few, &events, &[0, 1]);
    few.stopped(ledger.mark());
    let verdict = ledger.judge();
    assert_eq!((verdict.silent, verdict.nowhere), (5, 1), "{verdict}");
}
