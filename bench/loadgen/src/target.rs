//! The server under test: its addresses for streams and events, their form, and its processes. Everything that is
//! specific to one server product stands here as values.

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::hold::event_template::EventTemplate;
use crate::http2_options::{Http2Options, WINDOW_MAX};
use crate::tls_options::{KeyExchange, TlsOptions, TlsVersion};
use crate::url_template::{Scheme, UrlTemplate};

const SUBSCRIBE_DEFAULT: &str = "http://127.0.0.1:8080/sse/{channel}";
const PUBLISH_DEFAULT: &str = "http://127.0.0.1:8081/publish/{channel}";

/// How events are put into requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PublishForm {
    /// One POST per event, the body is the data; several events are pipelined in one write
    #[default]
    Post,
    /// One POST for all events that are due, a JSON array of {"channel", "data"}
    Array,
    /// The same, one JSON object per line
    Ndjson,
}

/// A server under test.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerUnderTest {
    pub(crate) name: String,
    #[serde(serialize_with = "as_text")]
    pub(crate) subscribe: UrlTemplate,
    /// Of no meaning unless `subscribe` is at an `https://` URL.
    pub(crate) tls: TlsOptions,
    pub(crate) http2: Http2Options,
    #[serde(serialize_with = "as_text")]
    pub(crate) publish: UrlTemplate,
    pub(crate) form: PublishForm,
    pub(crate) pids: Vec<u32>,
    /// The template of a publish request whose body is not just the data: `{channel}` and `{data}` are replaced.
    pub(crate) body: Option<String>,
    /// More header lines of a publish request.
    pub(crate) headers: Vec<String>,
    /// The form of its events, if it puts the data into something of its own.
    pub(crate) event: Option<EventTemplate>,
}

/// A target on the command line of `run` and `slope`.
#[derive(Debug, Args)]
pub(crate) struct TargetOptions {
    /// Where streams are opened
    #[arg(long, value_name = "URL", default_value = SUBSCRIBE_DEFAULT)]
    subscribe_url_template: UrlTemplate,

    #[command(flatten)]
    tls: TlsOptions,

    #[command(flatten)]
    http2: Http2Options,

    /// Where events are posted
    #[arg(long, value_name = "URL", default_value = PUBLISH_DEFAULT)]
    publish_url_template: UrlTemplate,

    /// Where batches are posted; default: the publish URL without its /{channel}
    #[arg(long, value_name = "URL")]
    publish_batch_url: Option<UrlTemplate>,

    /// How events are put into requests
    #[arg(long, value_enum, default_value_t)]
    publish_form: PublishForm,

    /// The server's process; several, with commas between them, are added up
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pid: Vec<u32>,

    /// The body of a POST, if it is not just the data; {channel} and {data} are replaced
    #[arg(long, value_name = "TEMPLATE")]
    publish_body: Option<String>,

    /// A header line of a POST in place of Content-Type; may be given several times
    #[arg(long, value_name = "LINE")]
    publish_header: Vec<String>,

    /// The form of events on streams, if it is not just the data; others are the server's own
    #[arg(long, value_name = "TEMPLATE")]
    event_template: Option<EventTemplate>,
}

impl TargetOptions {
    pub(crate) fn into_target(self) -> anyhow::Result<ServerUnderTest> {
        let form = self.publish_form;
        ServerUnderTest {
            name: "server".to_owned(),
            subscribe: self.subscribe_url_template,
            tls: self.tls,
            http2: self.http2,
            publish: publish_url(form, self.publish_url_template, self.publish_batch_url)?,
            form,
            pids: self.server_pid,
            body: self.publish_body,
            headers: self.publish_header,
            event: self.event_template,
        }
        .checked()
    }
}

impl ServerUnderTest {
    /// A target given as words like `pid=42`, as `compare` takes them.
    pub(crate) fn from_words(name: &str, words: &[String]) -> anyhow::Result<Self> {
        let mut target = Self {
            name: name.to_owned(),
            subscribe: SUBSCRIBE_DEFAULT.parse()?,
            tls: TlsOptions::default(),
            http2: Http2Options::HTTP1,
            publish: PUBLISH_DEFAULT.parse()?,
            form: PublishForm::Post,
            pids: Vec::new(),
            body: None,
            headers: Vec::new(),
            event: None,
        };
        let mut batch = None;
        for word in words {
            let Some((key, value)) = word.split_once('=') else { bail!("{word:?} is not of the form key=value") };
            match key {
                "name" => value.clone_into(&mut target.name),
                "subscribe" => target.subscribe = value.parse()?,
                "tls-ca" => target.tls.authority = Some(value.into()),
                "tls-version" => target.tls.version = chosen::<TlsVersion>(value)?,
                "tls-key-exchange" => target.tls.key_exchange = chosen::<KeyExchange>(value)?,
                "http2" => target.http2.streams_per_connection = Some(number(value)?),
                "http2-window" => target.http2.window = number(value)?,
                "publish" => target.publish = value.parse()?,
                "batch" => batch = Some(value.parse()?),
                "form" => target.form = chosen::<PublishForm>(value)?,
                "pid" => target.pids = pids(value)?,
                "event" => target.event = Some(value.parse()?),
                "body" => target.body = Some(value.to_owned()),
                "header" => target.headers.push(value.to_owned()),
                _ => bail!(
                    "{key:?} is none of name, subscribe, tls-ca, tls-version, tls-key-exchange, http2, http2-window, publish, batch, form, pid, body, header, event"
                ),
            }
        }
        target.publish = publish_url(target.form, target.publish, batch)?;
        target.checked()
    }

    /// The TLS of its streams; `None` if they are plain.
    pub(crate) fn tls(&self) -> Option<&TlsOptions> {
        (self.subscribe.scheme() == Scheme::Https).then_some(&self.tls)
    }

    /// Refuses several channels if this server has no place for their name.
    pub(crate) fn check_channels(&self, channels: u32) -> anyhow::Result<()> {
        let in_body =
            self.form != PublishForm::Post || self.body.as_ref().is_some_and(|body| body.contains("{channel}"));
        // A message of ownCloud names its user.
        let in_body = in_body || self.publish.scheme() == Scheme::Nats;
        let names = self.subscribe.names_channel() && (self.publish.names_channel() || in_body);
        ensure!(
            channels == 1 || names,
            "several channels need {{channel}} in both URL templates ({} and {})",
            self.subscribe,
            self.publish
        );
        Ok(())
    }

    /// A wrong process id should end the run before it begins.
    fn checked(self) -> anyhow::Result<Self> {
        let Self { subscribe, publish, tls, .. } = &self;
        let opens = [Scheme::Http, Scheme::Https].contains(&subscribe.scheme());
        ensure!(opens, "streams are opened over http:// or https://, not at {subscribe}");
        ensure!(
            publish.scheme() != Scheme::Https,
            "events are published over http://, redis:// or nats://, not at {publish}"
        );
        ensure!(
            self.tls().is_none() || tls.authority.is_some(),
            "streams at {subscribe} need --tls-ca, or tls-ca= as a word"
        );
        crate::proc::cpu(&self.pids)?;
        Ok(self)
    }
}

fn number(text: &str) -> anyhow::Result<u32> {
    let number = text.parse().with_context(|| format!("{text:?} is no number"))?;
    ensure!((1..=WINDOW_MAX).contains(&number), "{text:?} is not from 1 to {WINDOW_MAX}");
    Ok(number)
}

fn publish_url(form: PublishForm, single: UrlTemplate, batch: Option<UrlTemplate>) -> anyhow::Result<UrlTemplate> {
    match (form, batch) {
        (PublishForm::Post, _) => Ok(single),
        (PublishForm::Array | PublishForm::Ndjson, Some(batch)) => Ok(batch),
        (PublishForm::Array | PublishForm::Ndjson, None) => single.without_channel(),
    }
}

fn pids(text: &str) -> anyhow::Result<Vec<u32>> {
    text.split(',').map(|pid| pid.parse().with_context(|| format!("{pid:?} is not a process id"))).collect()
}

fn chosen<T: ValueEnum>(text: &str) -> anyhow::Result<T> {
    T::from_str(text, false).map_err(|reason| anyhow!("{text:?}: {reason}"))
}

fn as_text<S: serde::Serializer>(url: &UrlTemplate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a value that does not parse is a failed test")]
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_describe_a_target() {
        let pid = std::process::id();
        let text = format!("name=nchan subscribe=http://127.0.0.1:1/sub/{{channel}} pid={pid},{pid}");
        let target = ServerUnderTest::from_words("a", &words(&text)).unwrap();
        assert_eq!((target.name.as_str(), target.pids.as_slice()), ("nchan", &[pid, pid][..]));
        assert_eq!(target.subscribe.to_string(), "http://127.0.0.1:1/sub/{channel}");
    }

    #[test]
    fn batches_go_to_the_batch_url() {
        let array = ServerUnderTest::from_words("a", &words("form=array")).unwrap();
        assert_eq!(array.publish.to_string(), "http://127.0.0.1:8081/publish");
        let given = ServerUnderTest::from_words("a", &words("form=ndjson batch=http://127.0.0.1:2/all")).unwrap();
        assert_eq!(given.publish.to_string(), "http://127.0.0.1:2/all");
        assert!(array.check_channels(5).is_ok());
    }

    #[test]
    fn mistakes_are_refused_before_the_run() {
        for text in [
            "pid=4294967295",
            "pid=x",
            "colour=red",
            "subscribe",
            "form=xml",
            "subscribe=ftp://x",
            "subscribe=nats://127.0.0.1:1/x",
            "tls-version=1.1",
            "http2=0",
        ] {
            assert!(ServerUnderTest::from_words("a", &words(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn streams_over_tls_need_an_authority() {
        let bare = "subscribe=https://127.0.0.1:1/sse";
        assert!(ServerUnderTest::from_words("a", &words(bare)).is_err());
        let trusting = format!("{bare} tls-ca=ca.pem tls-version=1.2");
        let target = ServerUnderTest::from_words("a", &words(&trusting)).unwrap();
        assert_eq!(target.tls().unwrap().version, TlsVersion::V1_2);
        assert!(ServerUnderTest::from_words("a", &words("publish=https://127.0.0.1:1/")).is_err());
    }

    #[test]
    fn several_channels_need_a_place_for_their_name() {
        let fixed = ServerUnderTest::from_words("a", &words("subscribe=http://127.0.0.1:1/sse")).unwrap();
        assert!(fixed.check_channels(1).is_ok());
        assert!(fixed.check_channels(2).is_err());
    }
}
