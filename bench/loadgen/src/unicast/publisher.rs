//! The publishing connections of a round: HTTP with one POST each under way, or one to Redis or NATS with as many as the round
//! lets out. It decides where an event may go now, not when it is due.

use std::collections::VecDeque;

use mio::{Registry, Token};

use crate::clock::now_nanos;
use crate::latency::Latency;
use crate::payload::Payload;
use crate::target::ServerUnderTest;
use crate::unicast::connection::PublishConnection;
use crate::unicast::pace::{LoadOptions, Order, UnicastPace, WaitFor};
use crate::unicast::requests::Requests;
use crate::url_template::Scheme;

/// The largest read of answers.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// The most events that are written into one connection together.
const TOGETHER_MAX: u64 = 1024;

/// Publishes the events of one round.
#[derive(Debug)]
pub(crate) struct UnicastPublisher {
    connections: Vec<PublishConnection>,
    requests: Requests,
    buffer: Vec<u8>,
    form: Form,
    unanswered: u64,
    /// From just before a POST was written to its answer.
    answered: Latency,
}

#[derive(Debug)]
enum Form {
    Http(Posts),
    /// Redis or NATS.
    Broker {
        in_flight_max: u64,
    },
}

/// POSTs under way.
#[derive(Debug)]
struct Posts {
    wait_for: WaitFor,
    /// Connections without one, in the order in which they were done.
    idle: VecDeque<usize>,
    under_way: Vec<Option<Post>>,
    /// The connection with the channel's POST. Two at once on different connections could overtake each other.
    by_channel: Vec<Option<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct Post {
    channel: u32,
    written_nanos: u64,
    needs_answer: bool,
    needs_event: bool,
}

impl UnicastPublisher {
    /// Connects; connection n has the token `first_token` + n.
    pub(crate) fn connect(
        target: &ServerUnderTest,
        options: &LoadOptions,
        requests: Requests,
        registry: &Registry,
        first_token: usize,
        channels: usize,
    ) -> anyhow::Result<Self> {
        let scheme = target.publish.scheme();
        let is_broker = [Scheme::Redis, Scheme::Nats].contains(&scheme);
        let count = if is_broker { 1 } else { options.publish_connections as usize };
        let connect =
            |number| PublishConnection::connect(target.publish.address, scheme, registry, Token(first_token + number));
        let posts = || Posts {
            wait_for: options.wait_for,
            idle: (0..count).collect(),
            under_way: vec![None; count],
            by_channel: vec![None; channels],
        };
        let in_flight_max = match options.pace() {
            UnicastPace::Closed => options.in_flight,
            UnicastPace::Open { .. } => u64::MAX,
        };
        Ok(Self {
            connections: (0..count).map(connect).collect::<anyhow::Result<_>>()?,
            requests,
            buffer: vec![0; READ_BUFFER_BYTES],
            form: if is_broker { Form::Broker { in_flight_max } } else { Form::Http(posts()) },
            unanswered: 0,
            answered: Latency::new()?,
        })
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    pub(crate) fn answered(&self) -> &Latency {
        &self.answered
    }

    pub(crate) fn forget_answered(&mut self) {
        self.answered.clear();
    }

    /// Publishes up to `most` events as far as connections are free and returns how many. `due_nanos` gives the time of
    /// the n-th of them, or none if it is due now. `undelivered` events are under way to their streams.
    pub(crate) fn publish(
        &mut self,
        order: &mut Order,
        most: u64,
        undelivered: u64,
        due_nanos: impl Fn(u64) -> Option<u64>,
    ) -> anyhow::Result<u64> {
        let published = match &self.form {
            Form::Http(_) => self.publish_posts(order, most, &due_nanos)?,
            Form::Broker { in_flight_max } => {
                let count = most.min(in_flight_max.saturating_sub(undelivered)).min(TOGETHER_MAX);
                self.publish_messages(order, count, &due_nanos)?;
                count
            }
        };
        self.unanswered += published;
        Ok(published)
    }

    /// One event on each free connection.
    fn publish_posts(
        &mut self,
        order: &mut Order,
        most: u64,
        due_nanos: &impl Fn(u64) -> Option<u64>,
    ) -> anyhow::Result<u64> {
        let Self { connections, requests, form: Form::Http(posts), .. } = self else { return Ok(0) };
        let mut published = 0;
        while published < most
            && let Some(number) = posts.free(order.channel())
        {
            let now = now_nanos();
            let event = order.next_event(due_nanos(published).unwrap_or(now));
            posts.begin(number, event, now);
            requests.write(event, connections[number].outgoing());
            connections[number].send()?;
            published += 1;
        }
        Ok(published)
    }

    /// All events in one write.
    fn publish_messages(
        &mut self,
        order: &mut Order,
        count: u64,
        due_nanos: &impl Fn(u64) -> Option<u64>,
    ) -> anyhow::Result<()> {
        let connection = &mut self.connections[0];
        for number in 0..count {
            let event = order.next_event(due_nanos(number).unwrap_or_else(now_nanos));
            self.requests.write(event, connection.outgoing());
        }
        connection.send()
    }

    /// A connection can be read or written again.
    pub(crate) fn ready(&mut self, number: usize, is_writable: bool) -> anyhow::Result<()> {
        let connection = &mut self.connections[number];
        if is_writable {
            connection.send()?;
        }
        let answers = connection.receive(&mut self.buffer)?;
        self.unanswered -= answers.min(self.unanswered);
        if let Form::Http(posts) = &mut self.form
            && answers > 0
            && let Some(written_nanos) = posts.note_answer(number)
        {
            self.answered.record(now_nanos().saturating_sub(written_nanos));
        }
        Ok(())
    }

    /// An event has come at its stream.
    pub(crate) fn note_event(&mut self, channel: usize) {
        if let Form::Http(posts) = &mut self.form {
            posts.note_event(channel);
        }
    }
}

impl Posts {
    /// A connection for the next event of this channel, if one is free and none has an earlier event of the channel.
    fn free(&mut self, channel: u32) -> Option<usize> {
        if self.by_channel[channel as usize].is_some() {
            return None;
        }
        self.idle.pop_front()
    }

    fn begin(&mut self, number: usize, event: Payload, written_nanos: u64) {
        let needs_event = self.wait_for == WaitFor::Both;
        self.by_channel[event.channel as usize] = Some(number);
        self.under_way[number] = Some(Post { channel: event.channel, written_nanos, needs_answer: true, needs_event });
    }

    /// Returns when the answered POST was written.
    fn note_answer(&mut self, number: usize) -> Option<u64> {
        let post = self.under_way[number].as_mut()?;
        post.needs_answer = false;
        let written_nanos = post.written_nanos;
        self.finish(number);
        Some(written_nanos)
    }

    fn note_event(&mut self, channel: usize) {
        let Some(number) = self.by_channel[channel] else { return };
        if let Some(post) = &mut self.under_way[number] {
            post.needs_event = false;
        }
        self.finish(number);
    }

    fn finish(&mut self, number: usize) {
        let done = self.under_way[number].take_if(|post| !post.needs_answer && !post.needs_event);
        if let Some(Post { channel, .. }) = done {
            self.by_channel[channel as usize] = None;
            self.idle.push_back(number);
        }
    }
}
