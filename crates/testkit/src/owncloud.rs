//! Events as ownCloud's services put them on the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The subject, which is also the name of the stream.
pub const OWNCLOUD_STREAM: &str = "main-queue";

/// A message for users by their ids, byte for byte as `userlog` and `clientlog` write it: without spaces, the keys of the
/// metadata in alphabetical order.
pub fn owncloud_message(users: &[&str], kind: &str, data: &str) -> String {
    let users: Vec<_> = users.iter().map(|user| format!("{user:?}")).collect();
    let data = BASE64.encode(data);
    owncloud_event(
        "events.SendSSE",
        &format!(r#"{{"UserIDs":[{}],"Type":"{kind}","Message":"{data}"}}"#, users.join(",")),
    )
}

/// A message of any type with this payload.
pub fn owncloud_event(eventtype: &str, payload: &str) -> String {
    let payload = BASE64.encode(payload);
    let id = "0a6e2a6c-9d0c-4f43-a7ad-6b1a1f9f2b11";
    format!(
        r#"{{"Timestamp":"2026-11-29T10:11:12.123456789Z","Metadata":{{"eventid":"{id}","eventtype":"{eventtype}","initiatorid":"","traceparent":""}},"ID":"{id}","Topic":"{OWNCLOUD_STREAM}","Payload":"{payload}"}}"#
    )
}
