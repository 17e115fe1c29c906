//! The crate `h2` as the client: what it sends is understood, and what it is sent it understands, through windows of any size that it
//! changes as it goes.

#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use fantail_http2::{Bounds, Connection, Incoming, PAYLOAD_BYTES_MAX, data_head, encode_head};
use fastrand::Rng;
use http::{HeaderMap, Request, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const BOUNDS: Bounds = Bounds { streams_max: 100, head_bytes_max: 16_384, fields_max: 64 };

/// Serves one connection: each request gets its own head back as text, and behind it as many bytes as its path says.
async fn serve(socket: DuplexStream, mut rng: Rng) {
    let (mut from, mut to) = tokio::io::split(socket);
    let mut out = Vec::new();
    let mut connection = Connection::begin(&BOUNDS, &mut out);
    let mut texts: BTreeMap<u32, Bytes> = BTreeMap::new();
    let mut buffer = vec![0; 4_096];
    loop {
        let room = rng.usize(1..buffer.len());
        // Both at once: the client may wait for its own writing before it reads.
        let taken = tokio::select! {
            written = to.write(&out), if !out.is_empty() => {
                drop(out.drain(..written.unwrap()));
                continue;
            }
            taken = from.read(&mut buffer[..room]) => taken,
        };
        let Ok(taken @ 1..) = taken else { return };
        let mut input = &buffer[..taken];
        while let Some(incoming) = connection.receive(&mut input, &BOUNDS, &mut out).expect("h2 makes no faults") {
            let Incoming::Request { stream, request, .. } = incoming else { continue };
            assert!(connection.give(stream, stream));
            connection.send_head(stream, &encode_head(200, [("content-type", &b"text/plain"[..])]), &mut out);
            texts.insert(stream, text_for(&request));
        }
        texts.retain(|stream, text| {
            while !text.is_empty() {
                let room = connection.room(*stream, 0).min(text.len()).min(rng.usize(1..=PAYLOAD_BYTES_MAX));
                if room == 0 {
                    return true;
                }
                out.extend_from_slice(&data_head(*stream, room));
                out.extend_from_slice(&text.split_to(room));
                connection.spend(*stream, room);
            }
            connection.end(*stream, &mut out);
            false
        });
    }
}

/// A request as lines in a fixed order, and the filling that its path asks for.
fn text_for(request: &Request<()>) -> Bytes {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    text.push_str(&lines(request.headers()));
    let filling: usize = request.uri().path()[1..].parse().unwrap();
    text.extend((0..filling).map(|at| char::from(b'a' + (at % 26) as u8)));
    text.into()
}

fn lines(headers: &HeaderMap) -> String {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines.concat()
}

fn request(filling_max: usize, rng: &mut Rng) -> Request<()> {
    let below = [300, 2_000, 40_000][rng.usize(..3)];
    let filling = rng.usize(..below).min(filling_max);
    let mut request = Request::builder().uri(format!("https://a.example/{filling}?x={}", rng.u32(..)));
    for _ in 0..rng.usize(..10) {
        let name = ["accept", "user-agent", "x-some", "authorization", "last-event-id"][rng.usize(..5)];
        let value: String = (0..rng.usize(1..60)).map(|_| char::from(rng.u8(0x21..0x7f))).collect();
        request = request.header(name, value);
    }
    request.version(Version::HTTP_2).body(()).unwrap()
}

/// The same request as it comes over HTTP/1.
fn as_received(request: &Request<()>) -> Request<()> {
    let mut received = request.clone();
    *received.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
    received.headers_mut().insert("host", "a.example".parse().unwrap());
    received
}

/// Reads a body, and gives back what it has read at once: the window of the connection is that of all its streams.
async fn read(body: &mut h2::RecvStream) -> Bytes {
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        text.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    text.into()
}

async fn talk(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (here, there) = duplex(rng.usize(1..20_000));
    let mut builder = h2::client::Builder::new();
    let window = [1, 7, 70, 300, 16_385, 65_535, 1_000_000][rng.usize(..7)];
    builder.initial_window_size(window);
    builder.header_table_size([0, 100, 4_096][rng.usize(..3)]);
    let (mut client, mut connection) = builder.handshake::<_, Bytes>(here).await.unwrap();
    let serving = tokio::task::spawn_local(serve(there, rng.fork()));
    let mut sizes = rng.fork();
    tokio::task::spawn_local(poll_fn(move |context| {
        if sizes.u8(..10) == 0 {
            // Refused while an earlier change is under way.
            let _ = connection.set_initial_window_size(sizes.u32(1..100_000));
        }
        Pin::new(&mut connection).poll(context)
    }));
    let mut readers = Vec::new();
    for _ in 0..rng.usize(1..30) {
        client = client.ready().await.unwrap();
        let request = request(window as usize * 300, &mut rng);
        let (answer, _) = client.send_request(request.clone(), true).unwrap();
        readers.push(tokio::task::spawn_local(async move {
            let mut answer = answer.await.unwrap();
            assert_eq!(answer.headers()["content-type"], "text/plain");
            let text = read(answer.body_mut()).await;
            assert!(text == text_for(&as_received(&request)), "seed {seed}");
        }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    drop(client);
    serving.abort();
}

#[tokio::test]
async fn h2_reads_every_text_whole_and_is_understood_through_windows_of_any_size() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            for seed in 0..150 {
                talk(seed).await;
            }
        })
        .await;
}
