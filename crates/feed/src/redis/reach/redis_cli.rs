//! How a person publishes to the same Redis, as a line for a shell.

use std::borrow::Cow;

use fantail_wire::LaneName;
use redis::ConnectionAddr;

use super::cluster::Cluster;
use super::settings::RedisSettings;
use super::tls::TlsFiles;

/// Where `redis-cli` goes by itself.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];
const PORT: u16 = 6379;

impl RedisSettings {
    /// A `redis-cli` line that publishes `hello` to the channel `demo` as the nodes expect it. A password is asked for,
    /// and never shown.
    pub fn redis_cli_line(&self) -> String {
        let mut line = vec!["redis-cli".into()];
        line.extend(self.options());
        if self.log.is_some() {
            let key = format!("'fantail-log:{{{}}}'", LaneName::default().as_str());
            let call = ["FCALL", "fantail_publish", "1", &key, "'{\"data\":\"hello\"}'", "demo"];
            line.extend(call.map(str::to_owned));
        } else {
            line.extend(["PUBLISH", "fantail:demo", "hello"].map(str::to_owned));
        }
        line.join(" ")
    }

    fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        let mut option = |name: &str, value: &str| options.extend([name.to_owned(), quoted(value).into_owned()]);
        if self.sentinels.is_some() {
            option("-h", "MASTER");
        } else if let Some(first) = self.cluster.as_ref().map(Cluster::first) {
            option("-h", &first.host);
            option("-p", &first.port.to_string());
        } else {
            match self.location() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    if !HOSTS.contains(&host.as_str()) {
                        option("-h", host);
                    }
                    if *port != PORT {
                        option("-p", &port.to_string());
                    }
                }
                ConnectionAddr::Unix(path) => option("-s", &path.to_string_lossy()),
                _ => {}
            }
        }
        // A name without a password is likely a password in the wrong place.
        if let Some(name) = self.username().filter(|_| self.has_password()) {
            option("--user", name);
        }
        if self.is_tls() {
            let TlsFiles { ca, client } = &self.tls;
            let (certificate, key) = client.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
            for (name, file) in [("--cacert", ca.as_ref()), ("--cert", certificate), ("--key", key)] {
                if let Some(file) = file {
                    option(name, &file.to_string_lossy());
                }
            }
        }
        // Keys are of a database; messages are of all.
        if self.log.is_some() && self.database() != 0 {
            option("-n", &self.database().to_string());
        }
        let flags = [(self.is_tls(), "--tls"), (self.has_password(), "--askpass"), (self.cluster.is_some(), "-c")];
        options.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.to_owned()));
        options
    }
}

/// The text as one word of a shell.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.into()
    } else {
        // Control characters would be the terminal's.
        let shown: String = text.chars().filter(|c| !c.is_control()).collect();
        format!("'{}'", shown.replace('\'', r"'\''")).into()
    }
}

#[cfg(test)]
mod tests {
    use crate::redis::reach::redis_reach::RedisReach;
    use crate::redis::retention::LogRetention;

    use super::*;

    fn line(reach: RedisReach, log: bool) -> String {
        let mut settings = RedisSettings::new(reach).expect("settings");
        settings.log = log.then(LogRetention::default);
        settings.redis_cli_line()
    }

    fn at(url: &str) -> RedisReach {
        RedisReach { url: url.into(), ..RedisReach::default() }
    }

    #[test]
    fn the_line_leads_to_the_redis_of_the_settings_and_publishes_as_its_nodes_expect_it() {
        let call = r#"FCALL fantail_publish 1 'fantail-log:{0}' '{"data":"hello"}' demo"#;
        for (url, options) in [
            ("redis://127.0.0.1", ""),
            ("redis://localhost:6379", ""),
            ("redis://127.0.0.1:7000", " -p 7000"),
            ("redis://db.example:7000", " -h db.example -p 7000"),
            ("redis://[::1]", " -h ::1"),
            ("redis://:hunter2@db", " -h db --askpass"),
            ("redis://edge:hunter2@db", " -h db --user edge --askpass"),
            ("redis://it's%20me:hunter2@db", r" -h db --user 'it'\''s me' --askpass"),
            ("rediss://db", " -h db --tls"),
            ("unix:///run/redis.sock?user=edge&pass=hunter2", " -s /run/redis.sock --user edge --askpass"),
        ] {
            assert_eq!(line(at(url), false), format!("redis-cli{options} PUBLISH fantail:demo hello"), "{url}");
            assert_eq!(line(at(url), true), format!("redis-cli{options} {call}"), "{url}");
        }
        assert_eq!(line(at("redis://127.0.0.1/3"), true), format!("redis-cli -n 3 {call}"));
        assert_eq!(line(at("redis://127.0.0.1/3"), false), "redis-cli PUBLISH fantail:demo hello");
    }

    #[test]
    fn files_sentinels_and_clusters_have_their_options() {
        let files = RedisReach {
            tls_ca: Some("/etc/ca.pem".into()),
            tls_cert: Some("/etc/cert.pem".into()),
            tls_key: Some("/etc/key.pem".into()),
            password_file: Some("/run/password".into()),
            ..at("rediss://db")
        };
        let options = "-h db --cacert /etc/ca.pem --cert /etc/cert.pem --key /etc/key.pem --tls --askpass";
        assert_eq!(line(files, false), format!("redis-cli {options} PUBLISH fantail:demo hello"));
        let sentinels =
            RedisReach { sentinels: vec!["s1:26379".into()], sentinel_master: Some("main".into()), ..at("") };
        assert_eq!(line(sentinels, false), "redis-cli -h MASTER PUBLISH fantail:demo hello");
        let cluster = RedisReach { cluster_nodes: vec!["n1:7000".into(), "n2:7000".into()], ..at("") };
        assert_eq!(line(cluster, false), "redis-cli -h n1 -p 7000 -c PUBLISH fantail:demo hello");
    }
}
