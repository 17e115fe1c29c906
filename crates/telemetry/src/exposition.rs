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
use crate::rows::{Kind, ROWS, Reading, Row, Words};
use crate::shard_counters::{ShardCounters, ShardFields};

/// The media type of what [`Metrics::render`](crate::Metrics::render) returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All sources of numbers. Reading them disturbs no shard beyond one shared cache line.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) shards: Vec<Arc<ShardCounters>>,
    pub(crate) hub: Arc<HubCounters>,
    pub(crate) started: SystemTime,
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = ProcessFigures::read(self.started);
        for row in &ROWS {
            if matches!(row.reading, Reading::Process(_)) && process.is_none() {
                continue;
            }
            let kind = match row.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            // The format ends a help text with a period; the table leaves it out.
            let help = format!("{}.", row.help);
            let encoder = encoder.encode_descriptor(row.name, &help, None, kind)?;
            self.encode_row(row, process.as_ref(), encoder)?;
        }
        Ok(())
    }
}

impl Sources {
    fn encode_row(&self, row: &Row, process: Option<&ProcessFigures>, mut to: MetricEncoder<'_>) -> fmt::Result {
        match &row.reading {
            Reading::Shards(read) => write_u64(row.kind, self.sum(read), &mut to),
            Reading::EachShard(read) => self.shards.iter().enumerate().try_for_each(|(number, shard)| {
                let label = [("shard", number.to_string())];
                write_u64(row.kind, read(shard), &mut to.encode_family(&label)?)
            }),
            Reading::ShardsBy(words, read) => {
                write_by(*words, |index| self.sum(&|shard| read(shard)[index].get()), row.kind, &mut to)
            }
            Reading::Hub(read) => write_u64(row.kind, read(&self.hub), &mut to),
            Reading::HubBy(words, read) => {
                let counters: &[Counter] = read(&self.hub);
                write_by(*words, |index| counters[index].get(), row.kind, &mut to)
            }
            Reading::HubState(words, read) => {
                let current = read(&self.hub);
                write_by(*words, |index| u64::from(index == current), row.kind, &mut to)
            }
            Reading::Process(read) => process.map_or(Ok(()), |process| write_f64(row.kind, read(process), &mut to)),
        }
    }

    fn sum(&self, read: &dyn Fn(&ShardFields) -> u64) -> u64 {
        self.shards.iter().map(|shard| read(shard)).sum()
    }
}

fn write_by(words: Words, read: impl Fn(usize) -> u64, kind: Kind, to: &mut MetricEncoder<'_>) -> fmt::Result {
    words.values.iter().enumerate().try_for_each(|(index, value)| {
        let label = [(words.label, *value)];
        write_u64(kind, read(index), &mut to.encode_family(&label)?)
    })
}

fn write_u64(kind: Kind, value: u64, to: &mut MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => to.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge => to.encode_gauge(&value),
    }
}

fn write_f64(kind: Kind, value: f64, to: &mut MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => to.encode_counter::<NoLabelSet, _, f64>(&value, None),
        Kind::Gauge => to.encode_gauge(&value),
    }
}
