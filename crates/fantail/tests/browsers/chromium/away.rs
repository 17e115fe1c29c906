//! No node answers for a while, behind nginx with the file in `deploy`: the page goes on by itself.

use fantail_testkit::port::free_port;
use fantail_testkit::{Fantail, Nginx, PATIENCE, RedisServer, Signal};

use super::page::BrowserEvent;
use super::scenarios::{look_until, publish_told, until_live, until_streams};
use crate::node::node;
use crate::recipe::recipe;

/// The signals that end a node, by the name of the source that sees it.
pub(crate) const ENDS: [(&str, Signal); 2] = [("killed", Signal::KILL), ("terminated", Signal::TERM)];

/// Refusals that nginx must have seen before the node comes back. Then a browser was told at least once that nobody
/// answers, waited for `retry` and asked again.
const REFUSALS: usize = 3;

/// A node that goes away and comes back on its port, the two ways to it, and a second node through which the test
/// publishes.
pub(crate) struct Away {
    source: &'static str,
    signal: Signal,
    flags: Vec<String>,
    node: Fantail,
    beside: Fantail,
    recipe: Nginx,
    bare: Nginx,
}

impl Away {
    pub(crate) async fn set((source, signal): (&'static str, Signal), redis: &RedisServer, origin: &str) -> Self {
        let mut flags = ["--redis-log", "--drain-window", "0s", "--retry", "50ms", "--cors-origin", origin]
            .map(String::from)
            .to_vec();
        flags.extend(["--redis-url".into(), redis.url()]);
        let beside = start(&flags).await;
        flags.extend(["--listen".into(), format!("127.0.0.1:{}", free_port().unwrap())]);
        let node = start(&flags).await;
        let recipe = Nginx::start_site(|port| recipe(port, node.public(), origin)).await.unwrap();
        let bare = Nginx::start(node.public()).await.unwrap();
        Self { source, signal, flags, node, beside, recipe, bare }
    }

    /// The source behind the recipe, and the one behind nothing but `proxy_pass`.
    pub(crate) fn sources(&self) -> [(String, String); 2] {
        let bare = format!("bare-{}", self.source);
        [
            (self.source.to_owned(), format!("http://{}/sse/{}", self.recipe.addr(), self.source)),
            (bare.clone(), format!("http://{}/sse/{bare}", self.bare.addr())),
        ]
    }

    /// The stream by which the second node sees that the page has had an event from the first.
    pub(crate) fn answer(&self) -> (String, String) {
        (self.source.to_owned(), format!("http://{}/sse/{}", self.beside.public(), self.answer_channel()))
    }

    fn answer_channel(&self) -> String {
        format!("{}-told", self.source)
    }

    /// The node goes away for longer than `retry` and comes back. Returns the events that the source must have seen by
    /// its end.
    pub(crate) async fn play(mut self) -> (String, Vec<BrowserEvent>) {
        let (channel, mut owed) = (self.source, Vec::new());
        until_live(&self.node, channel).await;
        until_live(&self.node, &format!("bare-{channel}")).await;
        owed.push(publish_told(&self.beside, channel, "before").await.0);
        // When a connection is cut, a browser drops bytes that it has received and not read yet, ids too. The page must
        // have an id to come back with.
        until_streams(&self.beside, &self.answer_channel(), 1).await;
        self.node.signal(self.signal).unwrap();
        self.node.wait(PATIENCE).await.unwrap();
        owed.push(publish_told(&self.beside, channel, "while it is away").await.0);
        look_until("the browser came back in vain", async || {
            self.recipe.error_log().matches("Connection refused").count() >= REFUSALS
        })
        .await;
        self.node = start(&self.flags).await;
        until_streams(&self.node, channel, 1).await;
        for data in ["after", "end"] {
            owed.push(publish_told(&self.beside, channel, data).await.0);
        }
        until_streams(&self.node, channel, 0).await;
        (channel.to_owned(), owed)
    }
}

async fn start(flags: &[String]) -> Fantail {
    node(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}
