//! The cost of turning an event into its frame.
#![allow(clippy::unwrap_used, reason = "the inputs are constants")]

use fantail_bench_micro::{Bench, main as run};
use fantail_wire::{Event, EventId, Term, encode};

const BYTES_MAX: usize = 1 << 20;
const ID: &str = "0123456789abcdef.1700000000000.123456";

fn main() {
    let small = Event::text("x".repeat(128));
    let large = Event::text("x".repeat(16 * 1024));
    let lines = Event::text(format!("{}\n", "x".repeat(63)).repeat(256));
    let length = |event: &Event| encode(event, Some(ID), BYTES_MAX).unwrap().len() as u64;
    let id = EventId::new(Term::from_random(42), 1_760_000_000_000, 123_456);
    run(&mut [
        Bench::new("id_to_text", || id.to_string().len() as u64),
        Bench::new("encode_128_bytes", || length(&small)),
        Bench::new("encode_16_kib_in_one_line", || length(&large)),
        Bench::new("encode_16_kib_in_256_lines", || length(&lines)),
    ]);
}
