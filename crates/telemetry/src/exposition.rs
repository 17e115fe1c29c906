//! Writing the table's numbers in the `OpenMetrics` text form.
//!
//! prometheus-client asks for every metric at each scrape and knows the format; this file knows
//! where the numbers are.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::counter::Counter;
use crate::hub_counters::HubCounters;
use crate::process::ProcessFigures;
use crate::rows::{Kind, MetricRow, ROWS, Reading, Words};
use crate::shard_counters::{ShardCounters, ShardFields};

/// All sources of numbers. Reading them disturbs no shard beyond one shared cache line.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) shards: Vec<Arc<ShardCounters>>,
    pub(crate) hub: Arc<HubCounters>,
    pub(crate) started: SystemTime,
}

/// The value of one series.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Whole(u64),
    Float(f64),
}

/// The rows that have numbers now: where `/proc` is hidden a scrape goes without those of the process.
pub(crate) fn rows(process: Option<&ProcessFigures>) -> impl Iterator<Item = &'static MetricRow> {
    let is_known = move |row: &&MetricRow| process.is_some() || !matches!(row.reading, Reading::Process(_));
    ROWS.iter().filter(is_known)
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = ProcessFigures::read(self.started);
        for row in rows(process.as_ref()) {
            let kind = match row.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            // The format ends a help text with a period; the table leaves it out.
            let help = format!("{}.", row.help);
            let mut to = encoder.encode_descriptor(row.name, &help, None, kind)?;
            self.each_sample(row, process.as_ref(), &mut |label, number| match label {
                None => encode_number(row.kind, number, &mut to),
                Some(label) => encode_number(row.kind, number, &mut to.encode_family(&[label])?),
            })?;
        }
        Ok(())
    }
}

/// Takes a series: its label, if it has one, and its value.
type Take<'a> = &'a mut dyn FnMut(Option<(&str, &str)>, Number) -> fmt::Result;

impl Sources {
    /// Hands over every series of a row.
    pub(crate) fn each_sample(&self, row: &MetricRow, process: Option<&ProcessFigures>, take: Take<'_>) -> fmt::Result {
        match &row.reading {
            Reading::Shards(read) => take(None, Number::Whole(self.sum(read))),
            Reading::EachShard(read) => {
                self.shards.iter().enumerate().try_for_each(|(number, shard)| {
                    take(Some(("shard", &number.to_string())), Number::Whole(read(shard)))
                })
            }
            Reading::ShardsBy(words, read) => {
                by_word(*words, |index| self.sum(&|shard| read(shard)[index].get()), take)
            }
            Reading::Hub(read) => take(None, Number::Whole(read(&self.hub))),
            Reading::HubBy(words, read) => {
                let counters: &[Counter] = read(&self.hub);
                by_word(*words, |index| counters[index].get(), take)
            }
            Reading::HubState(words, read) => {
                let current = read(&self.hub);
                by_word(*words, |index| u64::from(index == current), take)
            }
            Reading::Process(read) => process.map_or(Ok(()), |process| take(None, Number::Float(read(process)))),
        }
    }

    fn sum(&self, read: &dyn Fn(&ShardFields) -> u64) -> u64 {
        self.shards.iter().map(|shard| read(shard)).sum()
    }
}

fn by_word(words: Words, read: impl Fn(usize) -> u64, take: Take<'_>) -> fmt::Result {
    let mut words_by_index = words.values.iter().enumerate();
    words_by_index.try_for_each(|(index, value)| take(Some((words.label, value)), Number::Whole(read(index))))
}

fn encode_number(kind: Kind, number: Number, to: &mut MetricEncoder<'_>) -> fmt::Result {
    match (kind, number) {
        (Kind::Counter, Number::Whole(value)) => to.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Kind::Counter, Number::Float(value)) => to.encode_counter::<NoLabelSet, _, f64>(&value, None),
        (Kind::Gauge, Number::Whole(value)) => to.encode_gauge(&value),
        (Kind::Gauge, Number::Float(value)) => to.encode_gauge(&value),
    }
}
