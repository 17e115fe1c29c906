//! The life of the process, in order.

#![forbid(unsafe_code)]

mod accept;
mod access;
mod address_bound;
mod app;
mod banner;
mod bearer;
mod bounded_server;
mod broker;
mod cli;
mod connection;
mod control;
mod descriptors;
mod drain;
mod feed_figures;
mod feed_news;
mod files_in_use;
mod handshakes;
mod hangup;
mod health;
mod health_command;
mod health_guard;
mod hosted_shard;
mod http2;
mod http_client;
mod hub_settings;
mod inherited_sockets;
mod intake;
mod interest;
mod internal;
mod internal_access;
mod json_answer;
mod listener;
mod listening_socket;
mod memory;
mod new_connections;
mod place;
mod plain_http;
mod problem;
mod proxy_header;
mod public;
mod publish_batch;
mod publish_body;
mod publish_command;
mod redis_settings;
mod refusals;
mod request_host;
mod request_log;
mod reserve;
mod response_head;
mod revocations;
mod running_node;
mod settings_json;
mod shard_thread;
mod stream_places;
mod subscribe_command;
mod subscribe_request;
mod supervisor;
mod tls;
mod token_command;
mod unflushed;
mod web_page;

use std::io::{self, Write};
use std::process::ExitCode;

use fantail_telemetry::logging::{self, Format};

use self::inherited_sockets::SocketUnitFault;

/// One thread allocates a frame and the thread that wrote it last frees it: mimalloc keeps that cheap on many cores. On
/// one core it is no better than the C library's allocator, and no worse.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The status of a process that was given settings with which it cannot run.
const SETTINGS_FAULT: u8 = 2;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(cli::Task::Serve(config)) => {
            let format = cli::format_of(config.logging.log_format);
            report(app::serve(*config), format)
        }
        Ok(cli::Task::Subscribe(subscribe)) => report(subscribe_command::run(*subscribe), Format::Text),
        Ok(cli::Task::Publish(publish)) => report(publish_command::run(*publish), Format::Text),
        Ok(cli::Task::Health(health)) => report(health_command::run(*health), Format::Text),
        Ok(cli::Task::Token(token)) => report(token_command::run(*token), Format::Text),
        Ok(cli::Task::Print(text)) => {
            // A reader that closed the pipe has read enough of it.
            let _ = write!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            refusal.tell();
            ExitCode::from(SETTINGS_FAULT)
        }
    }
}

fn report(result: anyhow::Result<()>, format: Format) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::write_last(format, &format!("fantail: {error:#}"));
            // A supervisor must not start this again (RestartPreventExitStatus= of systemd).
            if error.is::<SocketUnitFault>() { ExitCode::from(SETTINGS_FAULT) } else { ExitCode::FAILURE }
        }
    }
}
