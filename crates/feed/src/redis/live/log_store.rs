//! Publishing into the log and reading it, over whatever connection the caller has.

use std::sync::Arc;

use fantail_wire::{ChannelName, EndedTerm, EventId, LaneName, Publication, Term, Terms};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, Value, cmd};

use super::library::Library;
use crate::redis::envelope;
use crate::redis::log::{EntryError, LogEntry};
use crate::redis::names;
use crate::redis::reach::Link;
use crate::redis::reach::ServerRole;
use crate::redis::retention::LogRetention;

/// One lane's log in Redis. It holds no connection; it knows how the server is called.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    library: Library,
    log_key: Arc<str>,
    tops_key: Arc<str>,
    /// Whether events are sent by sharded channels, to the subscribers at the server that has the log.
    is_sharded: bool,
}

/// The log as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) terms: Terms,
    /// A channel that is not among the tops has no event above this number.
    pub(crate) horizon: u64,
    /// The Redis process that numbers.
    pub(crate) run_id: String,
}

/// The entries that were read from a channel's Stream.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Oldest first.
    pub(crate) entries: Vec<LogEntry>,
    /// Entries among them that are no events. To the entries' chain it is a hole, or not there at all.
    pub(crate) malformed: Vec<EntryError>,
}

/// The event before a place in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Previous {
    /// It has this number, and nothing is missing in between.
    Number(u64),
    /// Redis numbers in another term than the caller knows, and the numbers of both cannot be compared.
    InAnotherTerm,
    /// Redis has lost it.
    Lost,
}

/// A place in a Stream: milliseconds and number.
pub(crate) type StreamPlace = (u64, u64);

impl LogStore {
    /// Brings the functions and the retention into the server.
    pub(crate) async fn load(link: &Link, lane: &LaneName, retention: LogRetention) -> RedisResult<Self> {
        let store = Self::attach(link, lane).await?;
        store.configure(&mut link.connection.clone(), retention).await?;
        Ok(store)
    }

    /// For publishing alone: the functions are loaded if they are missing, the retention is left as it is.
    pub(crate) async fn attach(link: &Link, lane: &LaneName) -> RedisResult<Self> {
        let library = Library::load(&mut link.connection.clone()).await?;
        // The text knows by itself. As a script it is for servers that have no sharded channels either.
        let is_sharded = link.role == ServerRole::ClusterNode && matches!(library, Library::Functions);
        Ok(Self::new(library, lane, is_sharded))
    }

    /// The form for servers without functions, on any server.
    #[cfg(test)]
    pub(crate) async fn attach_script(connection: &mut MultiplexedConnection, lane: &LaneName) -> RedisResult<Self> {
        Ok(Self::new(Library::script(connection).await?, lane, false))
    }

    fn new(library: Library, lane: &LaneName, is_sharded: bool) -> Self {
        let [log_key, tops_key] = [names::log_key(lane), names::tops_key(lane)].map(Arc::from);
        Self { library, log_key, tops_key, is_sharded }
    }

    /// Whether its channels are followed by `SSUBSCRIBE`.
    pub(crate) fn is_sharded(&self) -> bool {
        self.is_sharded
    }

    #[cfg(test)]
    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    /// Sets how much is kept, for every node and publisher. It counts from each channel's next event on.
    pub(crate) async fn configure(
        &self,
        connection: &mut MultiplexedConnection,
        retention: LogRetention,
    ) -> RedisResult<()> {
        let events_max = retention.events_max.to_string();
        let age_ms = retention.age_max.as_millis().to_string();
        self.library.call(connection, &self.log_key, "configure", &[events_max.as_bytes(), age_ms.as_bytes()]).await
    }

    /// Numbers, keeps and publishes an event. Returns its id, and how many receivers the channel with the most has.
    pub(crate) async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        publication: &Publication,
    ) -> RedisResult<(EventId, u64)> {
        let envelope = envelope::write_event(&publication.event);
        let names = publication.channels.iter().map(|channel| channel.as_str().as_bytes());
        let arguments: Vec<&[u8]> = std::iter::once(envelope.as_slice()).chain(names).collect();
        let (id, receivers): (String, u64) =
            self.library.call(connection, &self.log_key, "publish", &arguments).await?;
        let id = EventId::parse(&id).map_err(|error| unexpected(format!("an event has the id {id:?}: {error}")))?;
        Ok((id, receivers))
    }

    /// The numbering as it is now. This begins a term on a server that did not number before, and where the term is
    /// below `seen`. Example: `seen` is 60 and Redis is at 51: its keys were set back.
    pub(crate) async fn state(
        &self,
        connection: &mut MultiplexedConnection,
        seen: Option<(Term, u64)>,
    ) -> RedisResult<LogState> {
        let seen = seen.map(|(term, number)| [term.to_string(), number.to_string()]);
        let arguments: Vec<&[u8]> = seen.iter().flatten().map(String::as_bytes).collect();
        let reply: Vec<String> = self.library.call(connection, &self.log_key, "state", &arguments).await?;
        read_state(&reply).ok_or_else(|| unexpected(format!("the state of the log is {reply:?}")))
    }

    /// The channels that have events above `number`, each with its newest number.
    pub(crate) async fn changed_since(
        &self,
        connection: &mut MultiplexedConnection,
        number: u64,
    ) -> RedisResult<Vec<(String, u64)>> {
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(&*self.tops_key).arg(format!("({number}")).arg("+inf").arg("WITHSCORES");
        let changed: Vec<(String, f64)> = command.query_async(connection).await?;
        changed.into_iter().map(|(channel, score)| Ok((channel, self.top(score)?))).collect()
    }

    /// The newest number of each of `channels`, if it has one above the horizon.
    #[cfg(test)]
    pub(crate) async fn tops(
        &self,
        connection: &mut MultiplexedConnection,
        channels: &[ChannelName],
    ) -> RedisResult<Vec<Option<u64>>> {
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = cmd("ZMSCORE");
        command.arg(&*self.tops_key);
        for channel in channels {
            command.arg(channel.as_str());
        }
        let scores: Vec<Option<f64>> = command.query_async(connection).await?;
        scores.into_iter().map(|score| score.map(|score| self.top(score)).transpose()).collect()
    }

    /// The newest `newest_max` entries of a channel above one place, and up to another one.
    pub(crate) async fn entries(
        &self,
        connection: &mut MultiplexedConnection,
        channel: &ChannelName,
        above: Option<StreamPlace>,
        up_to: Option<StreamPlace>,
        newest_max: usize,
    ) -> RedisResult<Entries> {
        let key = names::stream(channel);
        let end = up_to.map_or_else(|| "+".to_owned(), |(ms, number)| format!("{ms}-{number}"));
        let start = above.map_or_else(|| "-".to_owned(), |(ms, number)| format!("({ms}-{number}"));
        let mut command = cmd("XREVRANGE");
        command.arg(&key).arg(end).arg(start).arg("COUNT").arg(newest_max);
        let newest_first: Vec<Value> = command.query_async(connection).await?;
        let mut read = Entries::default();
        for value in newest_first.iter().rev() {
            match read_entry(&key, value) {
                Ok(entry) => read.entries.push(entry),
                Err(error) => {
                    tracing::debug!(%error, "an entry in the log of a channel is no event and is passed over");
                    read.malformed.push(error);
                }
            }
        }
        Ok(read)
    }

    /// The number of the event before the first one above a place, or of the channel's newest if there is none above.
    pub(crate) async fn previous_above(
        &self,
        connection: &mut MultiplexedConnection,
        channel: &ChannelName,
        above: StreamPlace,
        term: Term,
    ) -> RedisResult<Previous> {
        let place = format!("{}-{}", above.0, above.1);
        // In one step: otherwise a first event could come in between, and the newest number be its own.
        let arguments = [channel.as_str().as_bytes(), place.as_bytes()];
        let (first, newest, told_in): (Vec<Value>, u64, String) =
            self.library.call(connection, &self.log_key, "above", &arguments).await?;
        Ok(match first.first().map(|value| read_entry(&names::stream(channel), value)) {
            Some(Ok(entry)) => Previous::Number(entry.previous),
            None if told_in == term.as_str() => Previous::Number(newest),
            None if !told_in.is_empty() => Previous::InAnotherTerm,
            Some(Err(_)) | None => Previous::Lost,
        })
    }

    /// A score of the tops as the number it is.
    fn top(&self, score: f64) -> RedisResult<u64> {
        const BEYOND: f64 = 9_007_199_254_740_992.0;
        if (0.0..BEYOND).contains(&score) && score.fract() == 0.0 {
            #[allow(clippy::cast_sign_loss, reason = "it is not negative")]
            return Ok(score as u64);
        }
        let key = &self.tops_key;
        Err(unexpected(format!("the key {key} holds the score {score}, which is no number; delete it")))
    }
}

/// Term, number, ms, start, horizon and `run_id`, then term, start and end of each ended term.
fn read_state(reply: &[String]) -> Option<LogState> {
    let ([term, number, ms, start, horizon, run_id], ended) = reply.split_first_chunk()?;
    let number_in = |text: &str| text.parse::<u64>().ok();
    let (terms, rest) = ended.as_chunks::<3>();
    let ended_term = |[term, start, end]: &[String; 3]| {
        Some(EndedTerm { term: Term::parse(term).ok()?, start: number_in(start)?, end: number_in(end)? })
    };
    let terms = Terms {
        current: Term::parse(term).ok()?,
        start: number_in(start)?,
        number: number_in(number)?,
        ms: number_in(ms)?,
        ended: terms.iter().map(ended_term).collect::<Option<_>>()?,
    };
    rest.is_empty().then_some(LogState { terms, horizon: number_in(horizon)?, run_id: run_id.clone() })
}

/// Takes one element of the answer to `XRANGE` and its like apart. Another shape is read as an entry without fields.
fn read_entry<'v>(key: &str, value: &'v Value) -> Result<LogEntry, EntryError> {
    let (id, fields) = match value {
        Value::Array(parts) => match parts.as_slice() {
            [Value::BulkString(id), Value::Array(fields)] => (String::from_utf8_lossy(id), fields.as_slice()),
            _ => ("".into(), &[][..]),
        },
        _ => ("".into(), &[][..]),
    };
    let text = |value: &'v Value| if let Value::BulkString(text) = value { Some(text.as_slice()) } else { None };
    LogEntry::read(key, &id, fields.iter().map(text))
}

fn unexpected(what: String) -> RedisError {
    (ErrorKind::UnexpectedReturnType, "the log in redis is not as fantail writes it", what).into()
}

#[cfg(test)]
mod tests;
