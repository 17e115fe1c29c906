//! The example is run, and gives the bytes that a stream would get.

#[path = "../examples/fan_out.rs"]
#[allow(dead_code)] // its `main`
mod fan_out;

#[test]
fn the_example_gives_one_event_with_its_id_to_the_subscriber() {
    let text = fan_out::text_for_a_subscriber();
    let (id, rest) = text.split_once('\n').unwrap_or_default();
    assert!(id.starts_with("id: ") && id.ends_with(".1764000000000.1"), "{text}");
    assert_eq!(rest, "data: paid\ndata: shipped\n\n");
}
