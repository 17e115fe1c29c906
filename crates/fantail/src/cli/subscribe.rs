//! `fantail subscribe`: its arguments.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fantail_config::{Faults, Location};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::{server, text, texts};
use crate::bearer::bearer_in;
use crate::subscribe_command::{Form, Subscribe};

pub(super) const NAME: &str = "subscribe";

/// Headers that the user may not set: the first has a flag of its own, the others frame the request.
const OWN_HEADERS: [(&str, &str); 4] = [
    ("last-event-id", "use --last-event-id"),
    ("connection", "this command sets it itself"),
    ("content-length", "a subscribe has no body"),
    ("transfer-encoding", "a subscribe has no body"),
];

const AFTER_HELP: &str = "\
Examples:
  fantail subscribe http://127.0.0.1:8080/sse/demo
  fantail subscribe --json 'http://127.0.0.1:8080/sse?channel=a&channel=b' | jq .data
  fantail subscribe --ca internal-ca.pem https://events.example/sse/demo
  fantail subscribe --token-file token http://127.0.0.1:8080/sse
  fantail subscribe --no-reconnect --limit 1 'http://127.0.0.1:8080/sse/demo?replay=1'

When the stream ends or the server is away, it connects again with the id of the last event; the server's retry: \
says how soon. Where events may be missing (event fantail.gap), a note on standard error says so, and so it does of the server's other \
events; with --json they are objects like any other. It ends by --limit, when the server answers 204 or an error that trying again would not \
change, when its certificate is not accepted, and when nobody reads its output any more.

Exit status: 0 ended as asked, 1 the server refused or the stream was lost, 2 wrong usage.";

/// The sub-command.
pub(super) fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new(NAME)
        .about("Print a stream's events as they come, and reconnect by itself")
        .after_help(AFTER_HELP)
        .arg(Arg::new("url").value_name("URL").required(true).help("The stream: http[s]://host[:port]/path[?query]"))
        .args(server::tls_args())
        .arg(flag("json").conflicts_with("data").help("Print one JSON object per line: event, data, id, retry"))
        .arg(flag("data").help("Print the data alone, as it is"))
        .arg(Arg::new("last-event-id").long("last-event-id").value_name("ID").help("Go on after this event"))
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("End after so many events; gaps are not counted"),
        )
        .arg(
            Arg::new("token-file")
                .long("token-file")
                .value_name("FILE")
                .help("File with the token that the node asks for. It is read again for each connection"),
        )
        .arg(
            Arg::new("header")
                .long("header")
                .value_name("NAME: VALUE")
                .action(ArgAction::Append)
                .help("Send this header too. May be repeated"),
        )
        .arg(flag("no-reconnect").help("End with the stream: status 0 if the server ended it, 1 if it was cut"))
}

/// The arguments, or all of their faults.
pub(super) fn read(matches: &ArgMatches) -> Result<Subscribe, Faults> {
    let mut faults = Faults::default();
    let server = server::read(matches, (Location::CommandLine, "URL: "), |_| Ok(()), &mut faults);
    let mut headers = HeaderMap::new();
    for given in texts(matches, "header") {
        match header(given) {
            Ok((name, value)) => drop(headers.append(name, value)),
            Err(reason) => faults.push(Location::Flag("--header".into()), reason),
        }
    }
    let last_event_id = text(matches, "last-event-id").map(str::to_owned);
    if last_event_id.as_ref().is_some_and(|id| HeaderValue::from_bytes(id.as_bytes()).is_err()) {
        faults.push(Location::Flag("--last-event-id".into()), "an id holds no control characters");
    }
    let token_file = text(matches, "token-file").map(PathBuf::from);
    if let Some(Err(reason)) = token_file.as_deref().map(bearer_in) {
        faults.push(Location::Flag("--token-file".into()), reason);
    }
    if token_file.is_some() && headers.contains_key(AUTHORIZATION) {
        faults.push(Location::Flag("--header".into()), "authorization: --token-file sends it already");
    }
    match server {
        Some(server) if faults.is_empty() => Ok(Subscribe {
            server,
            headers,
            token_file,
            last_event_id,
            limit: matches.get_one("limit").copied(),
            reconnect: !matches.get_flag("no-reconnect"),
            form: form(matches),
        }),
        _ => Err(faults),
    }
}

fn form(matches: &ArgMatches) -> Form {
    match (matches.get_flag("json"), matches.get_flag("data")) {
        (true, _) => Form::Json,
        (_, true) => Form::Data,
        _ => Form::Fields,
    }
}

/// An error names the header and does not quote its value, which may be a token.
fn header(given: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = given.split_once(':').ok_or("write it as 'Name: value'")?;
    let parsed: HeaderName = name.trim().parse().map_err(|_| format!("{name:?} is not the name of a header"))?;
    if let Some((_, reason)) = OWN_HEADERS.iter().find(|(own, _)| parsed == *own) {
        return Err(format!("{parsed}: {reason}"));
    }
    let mut value = HeaderValue::from_bytes(value.trim().as_bytes())
        .map_err(|_| format!("{parsed}: the value must not hold control characters"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn parse(args: &[&str]) -> Result<Subscribe, String> {
        let matches = command().no_binary_name(true).try_get_matches_from(args).map_err(|error| error.to_string())?;
        read(&matches).map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_argument_that_is_not_given_has_its_default() {
        let subscribe = parse(&["http://h/sse/a"]).unwrap();
        assert_eq!((subscribe.form, subscribe.limit, subscribe.reconnect), (Form::Fields, None, true));
        assert!(subscribe.headers.is_empty() && subscribe.last_event_id.is_none());
    }

    #[test]
    fn headers_are_taken_in_the_form_that_everyone_writes() {
        let subscribe = parse(&["http://h/", "--header", "Authorization: Bearer a:b", "--header=x-a:1"]).unwrap();
        assert_eq!(subscribe.headers["authorization"], "Bearer a:b");
        assert_eq!(subscribe.headers["x-a"], "1");
    }

    #[test]
    fn every_fault_is_told_and_no_value_of_a_header_quoted() {
        let faults = parse(&[
            "redis://h/",
            "--header=hunter2",
            "--header=a b: hunter2",
            "--header=x: hunter2\n",
            "--header=x: hun\nter2",
            "--header=Last-Event-ID: hunter2",
            "--last-event-id=a\nb",
        ])
        .unwrap_err();
        for part in ["URL: ", "write it as", "\"a b\"", "x: the value", "use --last-event-id", "--last-event-id: "] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        // A line break at the end is not part of a value.
        assert_eq!(faults.lines().count(), 6, "{faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }

    #[test]
    fn contradictions_are_refused() {
        for args in [&["--json", "--data", "http://h/"][..], &["--limit=0", "http://h/"], &[], &["http://h/", "x"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
