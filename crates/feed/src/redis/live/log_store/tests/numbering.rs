//! Numbers, the chain of each channel, the messages, and what is read back.

use fantail_testkit::Reply;
use fantail_wire::{Event, EventFields, Terms};

use super::lane::{STATE, TOPS, channel, publication, stream};
use super::{FORMS, TestLane};
use crate::CHANNELS_PER_EVENT_MAX;
use crate::redis::log::LogMessage;

#[tokio::test]
async fn numbers_rise_over_all_channels_and_each_channel_knows_the_number_before() {
    for form in FORMS {
        let lane = TestLane::start(form).await;
        for (channels, data) in [(&["a"][..], "1"), (&["b"], "2"), (&["a", "c"], "3"), (&["a"], "4"), (&["b"], "5")] {
            let id = lane.publish(channels, data).await;
            assert_eq!(id.number.to_string(), data, "{form:?}");
        }
        let chain = |numbers: &[(u64, u64)]| {
            numbers.iter().map(|(number, previous)| (*number, *previous, number.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(lane.chain("a").await, chain(&[(1, 0), (3, 1), (4, 3)]), "{form:?}");
        assert_eq!(lane.chain("b").await, chain(&[(2, 0), (5, 2)]), "{form:?}");
        assert_eq!(lane.chain("c").await, chain(&[(3, 0)]), "{form:?}");
        assert_eq!(lane.tops(&["a", "b", "c", "d"]).await, [Some(4), Some(5), Some(3), None]);
        let expected = [("c".into(), 3), ("a".into(), 4), ("b".into(), 5)];
        assert_eq!((&lane.changed_since(2).await[..], lane.changed_since(5).await), (&expected[..], vec![]));
    }
}

#[tokio::test]
async fn the_state_tells_term_number_and_time_of_the_newest_event() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let empty = lane.state().await;
        assert_eq!((empty.terms.number, empty.terms.start, empty.horizon), (0, 0, 0));
        let id = lane.publish(&["a"], "x").await;
        let state = lane.state().await;
        let expected = Terms { current: id.term, start: 0, number: 1, ms: id.ms, ended: Vec::new() };
        assert_eq!((state.terms, empty.terms.current), (expected, id.term), "{form:?}");
        let info = lane.redis(&["INFO", "server"]).await.text().unwrap();
        assert!(info.contains(&format!("run_id:{}\r\n", state.run_id)), "{form:?}");
    }
}

/// A reader that sees the copies of an event sees nothing in between, and each copy has the chain of its own channel.
#[tokio::test]
async fn every_channel_of_an_event_gets_its_own_copy_side_by_side() {
    for form in FORMS {
        let lane = TestLane::start(form).await;
        let mut reader = lane.server.connection().await.unwrap();
        let names = ["a", "b", "c"].map(|name| format!("{STATE}:{name}"));
        reader.send(&[&["SUBSCRIBE".to_owned()], &names[..]].concat()).await.unwrap();
        for _ in &names {
            reader.reply().await.unwrap();
        }
        let first = lane.publish(&["b"], "1").await;
        let (second, receivers) = lane.try_publish(&["a", "b", "c"], "2\n").await.unwrap();
        assert_eq!(receivers, 1);
        for (id, name, previous, channels) in [
            (first, "b", 0, &["b"][..]),
            (second, "a", 0, &["a", "b", "c"]),
            (second, "b", 1, &["a", "b", "c"]),
            (second, "c", 0, &["a", "b", "c"]),
        ] {
            let push = reader.reply().await.unwrap();
            let [_, redis_channel, Reply::Bulk(payload)] = push.array().unwrap() else { panic!("{push:?}") };
            assert_eq!(redis_channel.text().unwrap(), format!("{STATE}:{name}"));
            let message = LogMessage::read(payload).unwrap();
            assert_eq!((message.id, message.previous, &message.channels[..]), (id, previous, channels), "{form:?}");
            assert!(message.envelope.starts_with(br#"{"data":""#));
        }
    }
}

#[tokio::test]
async fn an_event_may_be_for_as_many_channels_as_are_allowed() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let names: Vec<_> = (0..CHANNELS_PER_EVENT_MAX).map(|at| format!("{at}{}", "x".repeat(250))).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for number in 1..=2 {
            lane.publish(&names, "x").await;
            assert_eq!(lane.tops(&names).await, vec![Some(number); names.len()], "{form:?}");
        }
        let entry = lane.entries(names[77]).await.pop().unwrap();
        assert_eq!((entry.previous, lane.list(names[77]).await), (1, Some(names.join(","))));
    }
}

#[tokio::test]
async fn every_field_of_an_event_is_read_back_as_it_was_published() {
    for form in FORMS {
        let lane = TestLane::start(form).await;
        let events = [
            EventFields { data: String::new(), ..EventFields::default() },
            EventFields {
                data: "l1\r\nl2\0\u{7f}\u{2028}é😀\"\\/\u{ffff}".into(),
                event: Some("tick/\"é".into()),
                id: Some("mine-1/€".into()),
                retry_ms: Some(86_400_000),
            },
            EventFields { data: "/é".repeat(100_000), retry_ms: Some(0), ..EventFields::default() },
        ];
        let events = events.map(|fields| fields.validate().unwrap());
        for event in &events {
            lane.store_publish(&publication(&["a"], event.clone())).await;
        }
        let read: Vec<Event> = lane.entries("a").await.into_iter().map(|entry| entry.event).collect();
        assert!(read == events, "{form:?}");
    }
}

#[tokio::test]
async fn a_range_of_a_channel_has_its_newest_entries_that_fit_oldest_first() {
    for form in FORMS {
        let lane = TestLane::start(form).await;
        let mut ids = Vec::new();
        for number in 0..10 {
            ids.push(lane.publish(&["a"], &number.to_string()).await);
        }
        let place = |at: usize| Some((ids[at].ms, ids[at].number));
        for (above, up_to, max, expected) in [
            (None, None, 100, 0..10),
            (place(2), None, 100, 3..10),
            (place(2), place(7), 100, 3..8),
            (place(2), place(7), 2, 6..8),
            (None, place(0), 100, 0..1),
            (place(9), None, 100, 10..10),
        ] {
            let entries = lane.entries_between("a", above, up_to, max).await;
            let read: Vec<_> = entries.iter().map(|entry| entry.id).collect();
            assert_eq!(read, ids[expected], "{form:?} {above:?} {up_to:?} {max}");
        }
        assert!(lane.entries("b").await.is_empty());
    }
}

#[tokio::test]
async fn numbers_beyond_fourteen_digits_are_exact_to_the_last() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.publish(&["a"], "x").await;
        let last = 9_007_199_254_740_991_u64;
        lane.redis(&["HSET", STATE, "number", &(last - 3).to_string()]).await;
        for number in [last - 2, last - 1, last] {
            assert_eq!(lane.publish(&["a"], "x").await.number, number);
            assert_eq!(lane.tops(&["a"]).await, [Some(number)]);
            assert_eq!(lane.changed_since(number - 1).await, [("a".into(), number)]);
        }
        let error = lane.try_publish(&["a"], "x").await.unwrap_err();
        assert!(error.to_string().contains("used up"), "{error}");
        assert_eq!(lane.chain("a").await.last().unwrap(), &(last, last - 1, "x".into()));
    }
}

#[tokio::test]
async fn entries_that_nobody_of_ours_wrote_are_named_and_passed_over() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.publish(&["a"], "1").await;
        let term = lane.state().await.terms.current.to_string();
        let key = stream("a");
        let good = ["t", &term, "p", "1", "e", r#"{"data":"x"}"#];
        let with = |field: &str, value: &'static str| {
            let mut fields = good;
            let at = fields.iter().position(|name| *name == field).unwrap();
            fields[at + 1] = value;
            fields.to_vec()
        };
        let foreign = [
            vec!["hello", "world"],
            with("t", "no term"),
            with("p", "-1"),
            with("p", "99999999999999999999"),
            with("p", "\u{ff}"),
            with("e", ""),
            with("e", "{}"),
            with("e", r#"{"data":"x","id":""}"#),
            [&good[..], &["c", "a,*"]].concat(),
            [&good[..], &["c", ""]].concat(),
        ];
        for (at, fields) in foreign.iter().enumerate() {
            let id = format!("9999999999999-{}", at + 2);
            lane.redis(&[&["XADD", &key, &id], &fields[..]].concat()).await;
        }
        lane.redis(&[&["XADD", &key, "9999999999999-99"], &good[..]].concat()).await;
        let read = lane.read("a").await;
        let numbers: Vec<_> = read.entries.iter().map(|entry| entry.id.number).collect();
        assert_eq!(numbers, [1, 99], "{form:?}");
        let named: Vec<_> = read.malformed.iter().map(|error| error.entry.clone()).collect();
        let expected: Vec<_> = (0..foreign.len()).map(|at| format!("9999999999999-{}", at + 2)).collect();
        assert_eq!(named, expected, "{form:?}");
        assert!(read.malformed.iter().all(|error| error.key == key && !error.fault.is_empty()));
    }
}

#[tokio::test]
async fn a_score_that_is_no_number_is_an_error_that_names_the_key() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.redis(&["ZADD", TOPS, "1.5", "a"]).await;
        let error = lane.store.tops(&mut lane.connection(), &[channel("a")]).await.unwrap_err();
        assert!(error.to_string().contains(TOPS), "{error}");
        let error = lane.try_publish(&["b"], "x").await.unwrap_err();
        assert!(error.to_string().contains(TOPS), "{error}");
    }
}
