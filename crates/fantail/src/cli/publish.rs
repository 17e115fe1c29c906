//! `fantail publish`: its arguments.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fantail_config::{Faults, Location};
use fantail_feed::CHANNELS_PER_EVENT_MAX;
use fantail_wire::{ChannelName, Event, EventFields};
use http::HeaderValue;

use super::{nats, redis, server, text, texts};
use crate::bearer::bearer_in;
use crate::http_client::ServerUrl;
use crate::publish_command::{Destination, Publish, Source};

pub(super) const NAME: &str = "publish";

/// Settings that tell where a broker is.
const BROKERS: [&str; 4] = ["redis_url", "redis_sentinels", "redis_cluster_nodes", "nats_url"];

const USAGE: &str = "\
fantail publish [OPTIONS] CHANNEL [DATA]
       fantail publish [OPTIONS] --channel CHANNEL... [DATA]";

const AFTER_HELP: &str = "\
Examples:
  fantail publish demo hello
  fantail publish --event tick --channel a --channel b '{\"n\": 1}'
  date | fantail publish demo
  tail -f app.log | fantail publish --lines -q demo
  fantail publish --redis-url redis://127.0.0.1:6379 demo hello
  fantail publish --nats-url nats://127.0.0.1:4222 demo hello

Prints a receipt in JSON for each event: its id if it has one already, and how many streams, or through Redis how many \
nodes, it reached. An event for several channels reaches a stream once. Through Redis, plain data for one channel goes \
to fantail:CHANNEL, everything else to fantail-event:CHANNEL. With --redis-log it is numbered and kept by Redis first; \
the nodes must run with it, too. Through NATS, data goes to the subject fantail.CHANNEL, and the rest into headers. With \
--nats-stream the receipt waits for the stream.

With --lines, the first line that does not go through ends the command and is named.

Exit status: 0 published, 1 failed, 2 wrong usage.";

/// The sub-command.
pub(super) fn command() -> Command {
    let valued = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new(NAME)
        .about("Publish an event")
        .override_usage(USAGE)
        .after_help(AFTER_HELP)
        .arg(Arg::new("first").value_name("CHANNEL").help("The channel; left out with --channel"))
        .arg(
            Arg::new("second")
                .value_name("DATA")
                .allow_negative_numbers(true)
                .help("The event's data; from standard input if it is - or missing, without one last line break"),
        )
        .arg(
            valued("url", "URL")
                .conflicts_with_all(BROKERS)
                .default_value("http://127.0.0.1:8081")
                .help("A node's internal listener"),
        )
        .args(server::tls_args().map(|arg| arg.conflicts_with_all(BROKERS)))
        .arg(
            valued("token-file", "FILE")
                .conflicts_with_all(BROKERS)
                .help("File with the token that the internal listener asks for (internal_tokens)"),
        )
        .arg(valued("channel", "CHANNEL").action(ArgAction::Append).help("A channel for the event. May be repeated"))
        .arg(valued("event", "TYPE").help("The event type; message if missing"))
        .arg(valued("id", "ID").conflicts_with("lines").help("The event's id, instead of one given by Fantail"))
        .arg(
            valued("retry", "MS")
                .value_parser(value_parser!(u64))
                .help("Tell clients to wait so many milliseconds before they reconnect"),
        )
        .arg(flag("lines").help("Publish each line of standard input as an event of its own"))
        .arg(flag("quiet").short('q').help("Print no receipts"))
        .args(
            redis::args()
                .into_iter()
                .map(|arg| arg.help_heading("Through Redis instead, for all nodes that follow it")),
        )
        .args(nats::args().into_iter().map(|arg| {
            let arg = arg.help_heading("Through NATS instead, for all nodes that follow it");
            if arg.get_id() == "nats_url" { arg.conflicts_with_all(&BROKERS[..3]) } else { arg }
        }))
}

/// The arguments, or all of their faults. Nothing is sent before all of them are right.
pub(super) fn read(matches: &ArgMatches) -> Result<Publish, Faults> {
    let mut faults = Faults::default();
    let (names, data) = names_and_data(matches, &mut faults);
    let channels = channels(&names, &mut faults);
    let template = template(matches, &mut faults);
    let source = source(data, matches.get_flag("lines"), &mut faults);
    let destination = destination(matches, &mut faults);
    match (template, destination) {
        (Some(template), Some(destination)) if faults.is_empty() => {
            Ok(Publish { destination, channels, template, source, receipts: !matches.get_flag("quiet") })
        }
        _ => Err(faults),
    }
}

/// With `--channel` the only argument without a flag is the data.
fn names_and_data<'a>(matches: &'a ArgMatches, faults: &mut Faults) -> (Vec<&'a str>, Option<&'a str>) {
    let named: Vec<_> = texts(matches, "channel").collect();
    let (first, second) = (text(matches, "first"), text(matches, "second"));
    if named.is_empty() {
        return (first.into_iter().collect(), second);
    }
    if second.is_some() {
        faults.push(Location::Flag("--channel".into()), "name channels either with it or without it, not both ways");
    }
    (named, first)
}

fn channels(names: &[&str], faults: &mut Faults) -> Vec<ChannelName> {
    let place = Location::CommandLine;
    match names.len() {
        0 => faults.push(place.clone(), "CHANNEL: name a channel, or several with --channel"),
        found if found > CHANNELS_PER_EVENT_MAX => {
            let reason = format!("an event is for at most {CHANNELS_PER_EVENT_MAX} channels, this one is for {found}");
            faults.push(place.clone(), format!("CHANNEL: {reason}"));
        }
        _ => {}
    }
    let mut parse = |name: &&str| {
        ChannelName::parse(name).map_err(|error| faults.push(place.clone(), format!("CHANNEL: {error}"))).ok()
    };
    names.iter().filter_map(&mut parse).collect()
}

/// Everything about the event but its data.
fn template(matches: &ArgMatches, faults: &mut Faults) -> Option<Event> {
    let given = |id| text(matches, id).map(str::to_owned);
    // One at a time, since the check stops at the first fault.
    let fields = [
        EventFields { event: given("event"), ..EventFields::default() },
        EventFields { id: given("id"), ..EventFields::default() },
        EventFields { retry_ms: matches.get_one("retry").copied(), ..EventFields::default() },
    ];
    let mut events = fields.into_iter().map(|fields| {
        fields
            .validate()
            .map_err(|error| faults.push(Location::Flag(format!("--{}", error.field())), error.to_string()))
    });
    let (event, id, retry) = (events.next()?, events.next()?, events.next()?);
    Some(Event { data: String::new(), event: event.ok()?.event, id: id.ok()?.id, retry_ms: retry.ok()?.retry_ms })
}

fn source(data: Option<&str>, lines: bool, faults: &mut Faults) -> Source {
    match data {
        None | Some("-") if lines => Source::Lines,
        None | Some("-") => Source::Input,
        Some(data) => {
            if lines {
                faults.push(Location::Flag("--lines".into()), "data comes from standard input; leave DATA out");
            }
            Source::Argument(data.to_owned())
        }
    }
}

fn destination(matches: &ArgMatches, faults: &mut Faults) -> Option<Destination> {
    let faults_before = faults.len();
    if let Some(settings) = redis::read(matches, faults) {
        return Some(Destination::Redis(Box::new(settings)));
    }
    if let Some(settings) = nats::read(matches, faults) {
        return Some(Destination::Nats(Box::new(settings)));
    }
    if faults.len() > faults_before {
        return None;
    }
    let has_no_query = |url: &ServerUrl| match url.query() {
        Some(_) => Err("it has no query; --event, --id and --retry are flags".to_owned()),
        None => Ok(()),
    };
    let server = server::read(matches, (Location::Flag("--url".into()), ""), has_no_query, faults);
    let token = token(matches, faults);
    server.map(|server| Destination::Http(server, token))
}

fn token(matches: &ArgMatches, faults: &mut Faults) -> Option<HeaderValue> {
    let token = bearer_in(Path::new(text(matches, "token-file")?));
    token.map_err(|reason| faults.push(Location::Flag("--token-file".into()), reason)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn parse(args: &[&str]) -> Result<Publish, String> {
        let matches = command().no_binary_name(true).try_get_matches_from(args).map_err(|error| error.to_string())?;
        read(&matches).map_err(|faults| faults.to_string())
    }

    fn channels_and_source(args: &[&str]) -> (Vec<String>, Source) {
        let publish = parse(args).unwrap();
        (publish.channels.iter().map(ToString::to_string).collect(), publish.source)
    }

    #[test]
    fn channels_and_data_stand_where_they_are_expected() {
        let argument = |data: &str| Source::Argument(data.to_owned());
        for (args, channels, source) in [
            (&["a", "x"][..], &["a"][..], argument("x")),
            (&["a", "-1"], &["a"], argument("-1")),
            (&["a", ""], &["a"], argument("")),
            (&["a", "--", "--x"], &["a"], argument("--x")),
            (&["a"], &["a"], Source::Input),
            (&["a", "-"], &["a"], Source::Input),
            (&["--lines", "a"], &["a"], Source::Lines),
            (&["--lines", "a", "-"], &["a"], Source::Lines),
            (&["--channel", "a", "--channel=b", "x"], &["a", "b"], argument("x")),
            (&["--channel", "a"], &["a"], Source::Input),
        ] {
            let channels = channels.iter().map(ToString::to_string).collect();
            assert_eq!(channels_and_source(args), (channels, source), "{args:?}");
        }
    }

    #[test]
    fn every_bad_field_is_named_before_anything_is_sent() {
        let faults = parse(&["a*", "x", "--event=fantail.gap", "--id=", "--retry=99999999999", "--url=http://h/?q"])
            .unwrap_err();
        let places: Vec<_> =
            faults.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
        let expected = ["command line: CHANNEL", "--event: event types that begin with \"fantail.\" are reserved"];
        assert_eq!(places[..2], expected);
        for (line, flag) in faults.lines().skip(2).zip(["--id: ", "--retry: ", "--url: "]) {
            assert!(line.starts_with(flag), "{line}");
        }
        assert_eq!(places.len(), 5, "{faults}");
    }

    #[test]
    fn contradictions_are_refused() {
        for args in [
            &[][..],
            &["a", "x", "y"],
            &["--lines", "a", "x"],
            &["--lines", "--id=1", "a"],
            &["--channel=a", "b", "x"],
            &["--url=http://h", "--redis-url=redis://h", "a", "x"],
            &["--url=http://h", "--redis-sentinels=s1", "--redis-sentinel-master=m", "a", "x"],
            &["--redis-sentinels=s1", "a", "x"],
            &["--url=http://h", "--redis-cluster-nodes=n1", "a", "x"],
            &["--redis-url=redis://h", "--redis-cluster-nodes=n1", "a", "x"],
            &["--redis-tls-ca=/x", "a", "x"],
            &["--ca=/x", "--redis-url=redis://h", "a", "x"],
            &["--ca=/no/such/file", "--url=https://h", "a", "x"],
            &["--ca=/dev/null", "--url=http://h", "a", "x"],
            &["--redis-password=hunter2", "--redis-url=redis://h", "a", "x"],
            &["--redis-url=redis://h", "--redis-url=redis://h", "a", "x"],
            &["--redis-url=redis://h", "--redis-password-file=/no/such/file", "a", "x"],
            &["--retry=x", "a", "x"],
            &["--redis-log", "a", "x"],
            &["--redis-url=", "a", "x"],
            &["--redis-sentinels=", "a", "x"],
            &["--url=http://h", "--nats-url=nats://h", "a", "x"],
            &["--redis-url=redis://h", "--nats-url=nats://h", "a", "x"],
            &["--nats-stream=S", "a", "x"],
            &["--nats-url=", "a", "x"],
            &["--nats-url=nats://h", "--nats-username=u", "a", "x"],
            &["--nats-url=nats://h", "--nats-token-file=/no/such/file", "a", "x"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        let many: Vec<_> = (0..=CHANNELS_PER_EVENT_MAX).map(|number| format!("--channel=c{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(parse(&many).unwrap_err().contains("at most"), "{many:?}");
    }

    #[test]
    fn redis_is_reached_with_the_settings_of_a_node() {
        for (args, address) in [
            (&["--redis-url=redis://:hunter2@h:1", "a", "x"][..], "h:1"),
            (
                &["--redis-sentinels=s1,s2:1", "--redis-sentinel-master=m", "a", "x"],
                "the master m of the sentinels s1:26379, s2:1",
            ),
            (&["--redis-cluster-nodes=n1,n2:1", "--redis-log", "a", "x"], "the cluster of n1:6379, n2:1"),
        ] {
            let Destination::Redis(settings) = parse(args).unwrap().destination else { panic!("{args:?}") };
            assert_eq!(settings.address(), address);
        }
    }

    #[test]
    fn nats_is_reached_with_the_settings_of_a_node() {
        let args = ["--nats-url=nats://h,nats://i:1", "--nats-stream=EVENTS", "a", "x"];
        let Destination::Nats(settings) = parse(&args).unwrap().destination else { panic!("no way to nats") };
        assert_eq!((settings.address().as_str(), settings.stream.as_deref()), ("h:4222, i:1", Some("EVENTS")));
    }

    #[test]
    fn a_password_is_never_quoted() {
        for args in [
            &["--redis-url=http://:hunter2@h", "a", "x"][..],
            &["--redis-url=redis://:hunter2@h/x", "a", "x"],
            &["--url=http://a:hunter2@h", "a", "x"],
            &["--nats-url=nats://a:hunter2@h", "a", "x"],
        ] {
            let faults = parse(args).unwrap_err();
            assert!(!faults.contains("hunter2"), "{faults}");
        }
    }
}
