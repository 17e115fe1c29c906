//! `fantail-loadgen`: opens streams by the thousand, checks every event on every stream, and reports the cost for the
//! server. The parent publishes and measures; `hold` workers hold the streams.

#![allow(
    clippy::disallowed_methods,
    reason = "its threads do nothing but wait for the next event, and its queues are bounded by what it was asked to send"
)]

mod access;
mod answer;
mod clock;
mod compare;
mod crowd;
mod fleet;
mod hold;
mod http2_options;
mod latency;
mod message;
mod payload;
mod proc;
mod progress;
mod publisher;
mod report;
mod round;
mod run;
mod run_verdict;
mod slope;
mod suite;
mod target;
mod tls_options;
mod unicast;
mod url_template;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::access::AccessOptions;
use crate::compare::CompareOptions;
use crate::crowd::CrowdOptions;
use crate::hold::Worker;
use crate::run::RunOptions;
use crate::run_verdict::RunVerdict;
use crate::slope::SlopeOptions;
use crate::suite::SuiteOptions;
use crate::unicast::UnicastOptions;

/// A load generator for Server-Sent Events that checks what it receives.
///
/// Exits with 0 when every stream got every event once, in order and whole; 3 when not; 1 when the run itself failed; 2
/// when the command line is wrong.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: LoadgenCommand,
}

#[derive(Debug, Subcommand)]
enum LoadgenCommand {
    /// Open streams on a server, publish, check every event, tell latency and cost
    Run(RunOptions),
    /// Tell the memory of one idle stream, as the slope between two stream counts
    Slope(SlopeOptions),
    /// Play the same rounds on two servers in turn and tell the ratio of their CPU cost
    Compare(CompareOptions),
    /// Give every stream a channel of its own, publish events for one stream each, tell cost and latency per event
    Unicast(UnicastOptions),
    /// Play the scenarios on Fantail and its peers and write the results; scripts/bench runs it
    Suite(SuiteOptions),
    /// Hold a very large number of streams on several Fantail processes that share a port; scripts/million runs it
    Crowd(CrowdOptions),
    /// Measure the cost of deciding who may read, and how clients come back when their tokens end; scripts/bench-access runs it
    Access(AccessOptions),
    /// Hold streams for a parent that speaks JSON lines on standard input; started by the others
    Hold,
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        LoadgenCommand::Run(options) => run::run(options),
        LoadgenCommand::Slope(options) => slope::slope(options),
        LoadgenCommand::Compare(options) => compare::compare(options),
        LoadgenCommand::Unicast(options) => unicast::unicast(options),
        LoadgenCommand::Suite(options) => suite::suite(&options),
        LoadgenCommand::Crowd(options) => crowd::crowd(&options),
        LoadgenCommand::Access(options) => access::access(&options),
        LoadgenCommand::Hold => Worker::new().and_then(Worker::run).map(|()| RunVerdict::Kept),
    };
    match outcome {
        Ok(verdict) => {
            if let RunVerdict::Broken { faults } = verdict {
                eprintln!("{faults} events were lost, duplicated, reordered, corrupt or foreign");
            }
            verdict.into()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
