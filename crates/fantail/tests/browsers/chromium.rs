//! A real browser with its own `EventSource`, directly and through nginx: after any end of a stream it comes back and
//! misses nothing, or is told.
//!
//! One browser runs once and reports the events of every source; each test looks at its part of that report.

mod away;
pub(crate) mod page;
pub(crate) mod scenarios;

use scenarios::told;

/// The state of a source between two connections, and of one that has given up for ever.
const CONNECTING: u64 = 0;
const CLOSED: u64 = 2;

/// The ways to a node that serves the same scenario twice.
const WAYS: [&str; 2] = ["direct", "nginx"];

#[tokio::test]
async fn types_ids_and_lines_are_what_was_published() {
    for way in WAYS {
        let told = told().await;
        let source = format!("{way}-named");
        assert_eq!(told.log(&source).events(), told.owed(&source));
        assert_eq!((told.log(&source).opened(), told.log(&source).errors()), (1, vec![]));
    }
}

#[tokio::test]
async fn a_stream_that_ends_at_its_limit_is_taken_up_again_without_loss() {
    for way in WAYS {
        let told = told().await;
        let source = format!("{way}-limited");
        assert_eq!(told.log(&source).events(), told.owed(&source));
        // Eight events, two by two.
        assert!(told.log(&source).opened() >= 4);
        assert!(told.log(&source).errors().iter().all(|state| *state == CONNECTING));
    }
}

#[tokio::test]
async fn a_stream_that_is_ended_among_events_resumes_by_its_id_without_loss() {
    for way in WAYS {
        let told = told().await;
        let source = format!("{way}-kicked");
        assert_eq!(told.log(&source).events(), told.owed(&source));
        assert!(told.log(&source).opened() > scenarios::KICKS);
    }
}

#[tokio::test]
async fn a_source_that_saw_no_event_yet_loses_none_over_a_reconnect() {
    for way in WAYS {
        let told = told().await;
        let source = format!("{way}-quiet");
        assert_eq!(told.log(&source).events(), told.owed(&source));
        assert_eq!(told.log(&source).before_the_first_event().opened(), 2, "it was ended before the first event");
    }
}

#[tokio::test]
async fn after_a_restart_the_gap_is_an_event_that_a_page_can_listen_to() {
    let told = told().await;
    let log = told.log("restarted");
    let events = log.events();
    let seen: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.data.as_str())).collect();
    let gap = r#"{"channel":"restarted","reason":"unknown-id"}"#;
    assert_eq!(
        seen,
        [("message", "before"), ("fantail.gap", gap), ("message", "after"), ("message", "end")],
        "{log:?}"
    );
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    assert!(ids.iter().all(|id| !id.is_empty()) && ids[1] != ids[0], "{ids:?}");
    assert!(log.errors().iter().all(|state| *state == CONNECTING), "{log:?}");
}

#[tokio::test]
async fn the_reconnection_time_is_honoured() {
    let told = told().await;
    // Both were ended at once. A browser that ignores the time would bring them back together.
    assert!(told.log("quick").opened() > scenarios::RETURNS);
    assert_eq!((told.log("slow").opened(), told.log("slow").errors()), (1, vec![CONNECTING]));
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_allowed_reads_nothing() {
    let told = told().await;
    let log = told.log("forbidden");
    assert_eq!((log.opened(), log.errors(), log.events()), (0, vec![CLOSED], vec![]));
}

#[tokio::test]
async fn shedding_ends_in_a_reconnect_and_not_in_giving_up() {
    for source in WAYS.iter().flat_map(|way| [format!("{way}-shed"), format!("{way}-full")]) {
        let told = told().await;
        let log = told.log(&source);
        assert!(log.before_the_first_event().opened() > scenarios::SHEDS, "{log:?}");
        assert!(log.errors().iter().all(|state| *state == CONNECTING), "{log:?}");
        assert_eq!(log.events().last().map(|event| event.data.as_str()), Some("end"));
    }
}

#[tokio::test]
async fn behind_nginx_with_our_file_a_page_goes_on_by_itself_though_no_node_answered_for_longer_than_retry() {
    for (source, _) in away::ENDS {
        let told = told().await;
        let log = told.log(source);
        assert_eq!(log.events(), told.owed(source), "{log:?}");
        assert!(log.errors().len() >= 2 && log.errors().iter().all(|state| *state == CONNECTING), "{log:?}");
    }
}

/// This is the reason for the file.
#[tokio::test]
async fn behind_a_bare_proxy_pass_a_browser_gives_up_when_no_node_answers_for_longer_than_retry() {
    for (source, _) in away::ENDS {
        let log = told().await.log(&format!("bare-{source}"));
        assert_eq!(log.errors().last(), Some(&CLOSED), "{log:?}");
    }
}
