//! The life of the process, in order.

#![forbid(unsafe_code)]

mod accept;
mod app;
mod bounded_server;
mod channel_classes;
mod cli;
mod connection;
mod control;
mod descriptors;
mod drain;
mod feed_figures;
mod feed_news;
mod health;
mod http_client;
mod intake;
mod internal;
mod json_answer;
mod listener;
mod problem;
mod public;
mod publish_batch;
mod publish_body;
mod publish_command;
mod redis_reach;
mod request_log;
mod response_head;
mod shard_thread;
mod subscribe_command;
mod subscribe_request;
mod unflushed;
mod web_page;

use std::io::{self, Write};
use std::process::ExitCode;

/// Frames are freed by the thread that wrote them last and were allocated by another: mimalloc keeps that cheap on many
/// cores. On one it is no better than the C library's allocator, and no worse.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(cli::Task::Serve(config)) => report(app::serve(*config)),
        Ok(cli::Task::Subscribe(subscribe)) => report(subscribe_command::run(*subscribe)),
        Ok(cli::Task::Publish(publish)) => report(publish_command::run(*publish)),
        Ok(cli::Task::Print(text)) => {
            // Whoever closed the pipe has read enough of it.
            let _ = write!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            let _ = write!(io::stderr(), "{faults}");
            ExitCode::from(2)
        }
    }
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fantail: {error:#}");
            ExitCode::FAILURE
        }
    }
}
