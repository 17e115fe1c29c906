//! The judge at the end of a real wire: hostile payloads through sockets, cuts and resumes.

use std::net::SocketAddr;

use fantail_testkit::{End, Ledger, Mark, PATIENCE, Random, Reader, SseClient, Start, Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const EVENTS: usize = 200;

/// The encoding of one event by the little server.
type Encode = fn(usize, &str) -> String;

fn faithful(id: usize, text: &str) -> String {
    format!("id: {id}\ndata: {}\n\n", text.replace('\n', "\ndata: "))
}

fn careless_of_spaces(id: usize, text: &str) -> String {
    format!("id: {id}\ndata:{}\n\n", text.replace('\n', "\ndata:"))
}

/// Serves all texts behind the client's `Last-Event-ID`, but each connection only so many bytes.
async fn serve(texts: Vec<String>, encode: Encode, bytes_per_connection: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request).unwrap();
            let id = request.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
            let from = id.map_or(0, |id| id.parse::<usize>().unwrap() + 1);
            let numbered = texts.iter().enumerate().skip(from);
            let body: String = numbered.map(|(id, text)| encode(id, text)).collect();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            let whole = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes();
            stream.write_all(&whole[..whole.len().min(bytes_per_connection)]).await.unwrap();
        }
    });
    addr
}

/// Reads, resuming by id after each cut, until the stream ends cleanly.
async fn follow(addr: SocketAddr, reader: &Reader) -> End {
    let mut id = String::new();
    loop {
        let mut request = SseClient::request(addr, "/");
        if !id.is_empty() {
            request = request.last_event_id(&id);
        }
        let mut client = request.connect().await.unwrap();
        let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
        for event in &events {
            reader.record(event);
        }
        client.last_event_id().clone_into(&mut id);
        if end == End::Clean {
            return end;
        }
    }
}

/// Publishes to two channels, sends everything through `encode` and judges one reader.
async fn judged(encode: Encode, bytes_per_connection: usize) -> Verdict {
    let ledger = Ledger::new();
    let mut publisher = ledger.publisher(Random::from_seed(11));
    let mut texts = Vec::new();
    for number in 0..EVENTS {
        let event = publisher.compose(["a", "b"][number % 2], 100 + number * 3);
        publisher.confirm(&event);
        texts.push(event.text);
    }
    let addr = serve(texts, encode, bytes_per_connection).await;
    let reader = ledger.reader("r", &["a", "b"], Start::After(Mark::BEGINNING));
    let end = follow(addr, &reader).await;
    reader.ended(end, ledger.mark());
    ledger.judge()
}

#[tokio::test]
async fn hostile_payloads_survive_a_faithful_server_and_many_cuts() {
    // Each connection brings some thousand bytes and is cut wherever that happens to be.
    let verdict = judged(faithful, 5_003).await;
    assert_eq!(verdict.delivered, EVENTS as u64);
    verdict.assert_whole();
}

#[tokio::test]
async fn a_server_that_loses_leading_spaces_is_found() {
    let verdict = judged(careless_of_spaces, usize::MAX).await;
    assert!(verdict.corrupted + verdict.cut > 0, "{verdict}");
}

#[tokio::test]
async fn a_server_that_splits_at_unicode_line_ends_is_found() {
    let verdict = judged(|id, text| faithful(id, &text.replace('\u{2028}', "\n")), usize::MAX).await;
    assert!(verdict.corrupted + verdict.cut > 0, "{verdict}");
}

#[tokio::test]
async fn a_server_that_names_ids_one_too_high_is_found_at_the_seam() {
    let verdict = judged(|id, text| faithful(id + 1, text), 5_003).await;
    assert!(verdict.silent > 0, "{verdict}");
    let verdict = judged(|id, text| faithful(id.saturating_sub(1), text), 5_003).await;
    assert!(verdict.duplicated > 0 && verdict.silent == 0, "{verdict}");
}
