//! The life of the process, in order.

#![forbid(unsafe_code)]

mod accept;
mod app;
mod cli;
mod connection;
mod control;
mod descriptors;
mod drain;
mod intake;
mod internal;
mod listener;
mod problem;
mod public;
mod publish_body;
mod response_head;
mod shard_thread;
mod subscribe_request;
mod unflushed;

use std::process::ExitCode;

/// Frames are freed by the thread that wrote them last and were allocated by another, and a mass disconnect frees much
/// at once: mimalloc keeps both cheap and gives memory back, which the C library's allocator does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(cli::Task::Serve(config)) => report(app::serve(*config)),
        Ok(cli::Task::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            eprint!("{faults}");
            ExitCode::from(2)
        }
    }
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fantail: {error:#}");
            ExitCode::FAILURE
        }
    }
}
