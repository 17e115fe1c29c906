//! The blocks that a browser reads from the bytes that came through.

/// One block of an event stream.
#[derive(Debug, Default)]
pub(super) struct SseBlock {
    pub(super) id: Option<String>,
    pub(super) event: Option<String>,
    pub(super) data: Option<String>,
}

/// Whole blocks, as the standard splits them; what is not ended by an empty line is dropped.
pub(super) fn blocks(text: &str) -> Vec<SseBlock> {
    let mut blocks = Vec::new();
    let mut block = SseBlock::default();
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    for line in whole.split_terminator('\n') {
        match line.split_once(": ") {
            _ if line.is_empty() => blocks.push(std::mem::take(&mut block)),
            Some(("id", id)) => block.id = Some(id.to_owned()),
            Some(("event", event)) => block.event = Some(event.to_owned()),
            Some(("data", data)) => block.data = Some(data.to_owned()),
            Some(("retry", _)) => {}
            _ => assert_eq!(line, ":", "an unknown line"),
        }
    }
    blocks
}

/// The body in these chunks, the last of which may be cut anywhere.
pub(super) fn unwrap_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
        let len = std::str::from_utf8(&bytes[..end - 1]).unwrap();
        let len = usize::from_str_radix(len, 16).unwrap();
        let rest = &bytes[end + 1..];
        body.extend_from_slice(&rest[..len.min(rest.len())]);
        let Some(after) = rest.get(len..) else { break };
        assert!(b"\r\n".starts_with(&after[..after.len().min(2)]), "a torn chunk");
        bytes = after.get(2..).unwrap_or_default();
    }
    body
}
