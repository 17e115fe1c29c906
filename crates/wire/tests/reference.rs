//! The page for those who write clients names every reason that a stream can tell, and no other.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

use std::collections::BTreeSet;
use std::path::Path;

use fantail_wire::{Closing, GapReason};

/// The words in the first column of the table that begins with this row.
fn documented<'a>(page: &'a str, first_row: &str) -> BTreeSet<&'a str> {
    let (_, table) = page.split_once(first_row).unwrap_or_else(|| panic!("the table {first_row:?} is gone"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.strip_prefix("| `").unwrap().split_once("` |").unwrap().0).collect()
}

#[test]
fn the_page_about_subscribing_names_every_reason_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/subscribing.md");
    let page = std::fs::read_to_string(path).unwrap();
    let gaps = GapReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(documented(&page, "\n| reason | why |"), gaps);
    let closings = Closing::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(documented(&page, "\n| reason of `fantail.close` | why |"), closings);
}
