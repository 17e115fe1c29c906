//! A server just large enough to tell channels and batches apart, and to break its promise on demand: the tests must
//! see the checker catch a fault.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

/// The fault, always at the third event of a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    Drop,
    Double,
    /// The third comes after the fourth.
    Swap,
    /// The third loses its last bytes.
    Cut,
    /// The third goes to every stream, whatever its channel.
    Misdirect,
    /// Streams are closed in place of the third.
    Close,
    /// Streams are answered with 503.
    Refuse,
}

/// Serves streams and publishing on one port, in detached threads that end with the test.
pub(crate) struct ToyServer {
    pub(crate) address: String,
}

#[derive(Default)]
struct ToyChannel {
    streams: Vec<TcpStream>,
    events: u32,
    held_back: Option<String>,
}

type ToyChannels = Arc<Mutex<HashMap<String, ToyChannel>>>;

impl ToyServer {
    pub(crate) fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let channels = ToyChannels::default();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let channels = Arc::clone(&channels);
                std::thread::spawn(move || serve(&socket.unwrap(), &channels, lie));
            }
        });
        Self { address }
    }

    pub(crate) fn words(&self) -> [String; 4] {
        let Self { address } = self;
        [
            "--subscribe-url-template".to_owned(),
            format!("http://{address}/sse/{{channel}}"),
            "--publish-url-template".to_owned(),
            format!("http://{address}/publish/{{channel}}"),
        ]
    }
}

fn serve(socket: &TcpStream, channels: &ToyChannels, lie: Lie) {
    let mut input = BufReader::new(socket);
    let mut out = socket;
    // A peer that leaves ends this thread and nothing else.
    while let Some((path, body)) = read_request(&mut input) {
        if let Some(channel) = path.strip_prefix("/sse/") {
            if lie == Lie::Refuse {
                let _ = out.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            open_stream(socket, locked(channels).entry(channel.to_owned()).or_default());
            continue;
        }
        for (channel, data) in events(&path, &body) {
            deliver(&mut locked(channels), &channel, &data, lie);
        }
        if out.write_all(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn locked(channels: &ToyChannels) -> MutexGuard<'_, HashMap<String, ToyChannel>> {
    channels.lock().unwrap()
}

fn read_request(input: &mut BufReader<&TcpStream>) -> Option<(String, String)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines[0].split(' ').nth(1)?.to_owned();
    let length = lines.iter().find_map(|line| line.strip_prefix("Content-Length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    input.read_exact(&mut body).ok()?;
    Some((path, String::from_utf8(body).unwrap()))
}

/// The head, and the comment and start id that a real server sends first, cut at an awkward place.
fn open_stream(mut socket: &TcpStream, channel: &mut ToyChannel) {
    let _ =
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    let _ = socket.write_all(b"1d\r\n: hello\nretry: 3000\nid: a");
    let _ = socket.write_all(b".0\n\n\r\n");
    channel.streams.push(socket.try_clone().unwrap());
}

/// The events of one request: one by path, or a batch as an array or line by line.
fn events(path: &str, body: &str) -> Vec<(String, String)> {
    if let Some(channel) = path.strip_prefix("/publish/") {
        return vec![(channel.to_owned(), body.to_owned())];
    }
    let items: Vec<Value> = if body.starts_with('[') {
        serde_json::from_str(body).unwrap()
    } else {
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    items.iter().map(|item| (text(item, "channel"), text(item, "data"))).collect()
}

fn deliver(channels: &mut HashMap<String, ToyChannel>, name: &str, data: &str, lie: Lie) {
    let channel = channels.get_mut(name).unwrap();
    channel.events += 1;
    let third = channel.events == 3;
    if let Some(held_back) = channel.held_back.take() {
        channel.send(data);
        return channel.send(&held_back);
    }
    match lie {
        Lie::Drop if third => {}
        Lie::Double if third => {
            channel.send(data);
            channel.send(data);
        }
        Lie::Swap if third => channel.held_back = Some(data.to_owned()),
        Lie::Cut if third => channel.send(&data[..data.len() - 10]),
        Lie::Misdirect if third => channels.values_mut().for_each(|channel| channel.send(data)),
        Lie::Close if third => {
            for stream in channel.streams.drain(..) {
                stream.shutdown(std::net::Shutdown::Both).unwrap();
            }
        }
        _ => channel.send(data),
    }
}

impl ToyChannel {
    fn send(&mut self, data: &str) {
        let text = format!("id: a.{}\ndata: {data}\n\n", self.events);
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        for mut stream in &self.streams {
            let _ = stream.write_all(chunk.as_bytes());
        }
    }
}
