//! `config.toml` in the node's directory: the few things a person may want to set.
//!
//! A node works without the file; every key may be left out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use doltswarm_core::limits;
use serde::{Deserialize, Deserializer};

use crate::engine::DoltUrl;

/// The configuration's file in the node's directory.
pub const FILE_NAME: &str = "config.toml";

/// The bounds of `sync.foreign_commit_poll_ms`.
const POLL_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

/// What a person can set for one node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's name for people, of at most [`limits::NAME_BYTES_MAX`] bytes; may be empty.
    pub name: String,
    /// Where the node listens.
    pub network: NetworkConfig,
    /// How the node works with the database.
    pub sync: SyncConfig,
    /// What other programs write to the database.
    pub sidecar: SidecarConfig,
    /// The server that has the database; only where the swarm's engine is Dolt.
    pub dolt: Option<DoltConfig>,
}

/// Where the node listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// The addresses to listen on. Port 0 is the port of the last time if it is free, else any.
    pub bind: Vec<SocketAddr>,
}

/// How the node works with the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// How often the database is looked at for commits by other programs, in milliseconds.
    pub foreign_commit_poll_ms: u64,
    /// How many of the newest commits have their signature as a tag of the database, at most
    /// [`limits::SIGNATURE_TAGS_MAX`].
    pub signature_tags: usize,
}

/// What other programs write to the database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SidecarConfig {
    /// How long their work may lie uncommitted before the node commits it, as `5s`; empty: for
    /// ever.
    pub auto_commit: String,
}

/// The server that has the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoltConfig {
    /// The server and the database, as `mysql://USER@HOST:PORT/DATABASE`.
    #[serde(deserialize_with = "parse_url")]
    pub url: DoltUrl,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
}

fn parse_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DoltUrl, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl SidecarConfig {
    /// [`Self::auto_commit`] as a duration; `None` where it is empty, or not one.
    pub fn auto_commit(&self) -> Option<Duration> {
        let text = self.auto_commit.as_str();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { bind: vec![(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()] }
    }
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self { foreign_commit_poll_ms: 50, signature_tags: limits::SIGNATURE_TAGS_MAX }
    }
}

impl SyncConfig {
    /// [`Self::foreign_commit_poll_ms`] as a duration.
    pub fn foreign_commit_poll(&self) -> Duration {
        Duration::from_millis(self.foreign_commit_poll_ms)
    }
}

/// Why the configuration could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML, has an unknown key, or a value of the wrong kind.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line and the key.
        message: String,
    },
    /// A value is out of bounds.
    #[error("{}: `{key}` {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with the value.
        message: String,
    },
    /// There is a configuration already; it is never overwritten.
    #[error("there is a configuration already at {}", path.display())]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

impl Config {
    /// Loads the configuration of the node in `dir`; the defaults where there is no file.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE_NAME);
        let failed = |source| ConfigError::Io { what: "read", path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(limits::CONFIG_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        let syntax = |message: String| ConfigError::Syntax { path: path.clone(), message };
        if text.len() as u64 > limits::CONFIG_BYTES_MAX {
            return Err(syntax(format!("is larger than {} bytes", limits::CONFIG_BYTES_MAX)));
        }
        let config: Self =
            toml::from_str(&text).map_err(|error| syntax(error.to_string().trim().to_owned()))?;
        config.check(&path)?;
        Ok(config)
    }

    /// Writes this configuration to `dir` as a file that explains itself: what has its default
    /// value stands there as a comment.
    ///
    /// # Errors
    ///
    /// [`ConfigError::AlreadyThere`] where there is a file; [`ConfigError::Value`] where a value is
    /// out of bounds.
    pub fn write_new(&self, dir: &Path) -> Result<(), ConfigError> {
        let path = dir.join(FILE_NAME);
        self.check(&path)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::AlreadyExists => {
                        ConfigError::AlreadyThere { path: path.clone() }
                    }
                    _ => ConfigError::Io { what: "create", path: path.clone(), source },
                }
            })?;
        let written = file.write_all(self.to_text().as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|source| {
            // Half a configuration would be in the way of the next try.
            let _ = fs::remove_file(&path);
            ConfigError::Io { what: "write", path, source }
        })
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |key, message: String| ConfigError::Value { path: path.into(), key, message };
        if self.name.len() > limits::NAME_BYTES_MAX || self.name.chars().any(char::is_control) {
            let most = limits::NAME_BYTES_MAX;
            return Err(wrong("name", format!("must be at most {most} bytes of printable text")));
        }
        let most = limits::ADDRESSES_PER_PEER_MAX;
        if !(1..=most).contains(&self.network.bind.len()) {
            return Err(wrong("network.bind", format!("must have 1 to {most} addresses")));
        }
        if !self.sidecar.auto_commit.is_empty() && self.sidecar.auto_commit().is_none() {
            let message = "must be a whole number of ms, s, m or h, as in \"5s\"".to_owned();
            return Err(wrong("sidecar.auto_commit", message));
        }
        let (poll, tags) = (self.sync.foreign_commit_poll_ms, self.sync.signature_tags);
        if !POLL_MS.contains(&poll) {
            let (least, most) = (POLL_MS.start(), POLL_MS.end());
            let message = format!("is {poll}, and must be from {least} to {most}");
            return Err(wrong("sync.foreign_commit_poll_ms", message));
        }
        if tags > limits::SIGNATURE_TAGS_MAX {
            let message = format!("is {tags}, and must be at most {}", limits::SIGNATURE_TAGS_MAX);
            return Err(wrong("sync.signature_tags", message));
        }
        Ok(())
    }

    fn to_text(&self) -> String {
        let default = Self::default();
        let line = |key: &str, value: toml::Value, is_default: bool| {
            format!("{}{key} = {value}", if is_default { "# " } else { "" })
        };
        let addresses =
            self.network.bind.iter().map(|address| address.to_string().into()).collect();
        let poll = i64::try_from(self.sync.foreign_commit_poll_ms).unwrap_or(i64::MAX);
        let tags = i64::try_from(self.sync.signature_tags).unwrap_or(i64::MAX);
        let name = line("name", self.name.as_str().into(), self.name.is_empty());
        let bind =
            line("bind", toml::Value::Array(addresses), self.network.bind == default.network.bind);
        let poll = line(
            "foreign_commit_poll_ms",
            poll.into(),
            self.sync.foreign_commit_poll_ms == default.sync.foreign_commit_poll_ms,
        );
        let tags = line(
            "signature_tags",
            tags.into(),
            self.sync.signature_tags == default.sync.signature_tags,
        );
        let auto_commit = match self.sidecar.auto_commit.as_str() {
            "" => "# For example: auto_commit = \"5s\"".to_owned(),
            text => line("auto_commit", text.into(), false),
        };
        let dolt = self.dolt.as_ref().map_or_else(String::new, DoltConfig::to_text);
        format!(
            "# The configuration of this DoltSwarm node. Every key may be left out; a line that starts
# with # shows the default. Changes count from the next start of the node.

# The name of this node, for people. At most {name_max} bytes.
{name}

[network]
# The addresses to listen on. Port 0 is the port of the last time if it is free, else any.
{bind}

[sync]
# How often the database is looked at for commits by other programs, in milliseconds:
# {poll_min} to {poll_max}. Less finds them sooner and costs more.
{poll}
# How many of the newest commits have their signature as a tag of the database: 0 to {tags_max}.
# The node's own store has the signatures of all commits.
{tags}

[sidecar]
# How long the work of other programs may lie uncommitted before the node commits it: a whole
# number of ms, s, m or h. Without it main waits until somebody commits.
{auto_commit}
{dolt}",
            name_max = limits::NAME_BYTES_MAX,
            poll_min = POLL_MS.start(),
            poll_max = POLL_MS.end(),
            tags_max = limits::SIGNATURE_TAGS_MAX,
        )
    }
}

impl DoltConfig {
    fn to_text(&self) -> String {
        let url = toml::Value::from(self.url.to_string());
        let password = match &self.password_file {
            Some(path) => {
                format!("password_file = {}", toml::Value::from(path.to_string_lossy().as_ref()))
            }
            None => "# password_file = \"/etc/doltswarm/password\"".to_owned(),
        };
        format!(
            "
[dolt]
# The server that has the database. Never with a password in it.
url = {url}
# A file whose first line is the password. Without it the password is in the environment variable
# DOLTSWARM_DOLT_PASSWORD, or there is none.
{password}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), text).unwrap();
        Config::load(dir.path())
    }

    #[test]
    fn new_file_reads_back_as_what_was_written() {
        let odd = Config {
            name: "the \"blue\" one\\ #1 é".to_owned(),
            network: NetworkConfig { bind: vec!["[::1]:4711".parse().unwrap()] },
            sync: SyncConfig { foreign_commit_poll_ms: 250, signature_tags: 0 },
            sidecar: SidecarConfig { auto_commit: "5s".to_owned() },
            dolt: Some(DoltConfig {
                url: "mysql://ann@127.0.0.1:3307/a%20b".parse().unwrap(),
                password_file: Some("/tmp/pass word".into()),
            }),
        };
        for config in [Config::default(), odd] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(Config::load(dir.path()).unwrap(), Config::default());
            config.write_new(dir.path()).unwrap();
            assert_eq!(Config::load(dir.path()).unwrap(), config);
            let again = config.write_new(dir.path());
            assert!(matches!(again, Err(ConfigError::AlreadyThere { .. })), "{again:?}");
        }
    }

    #[test]
    fn commented_defaults_are_the_defaults() {
        let text = Config::default().to_text();
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.split(' ').nth(1) == Some("=") => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert_ne!(text, uncommented);
        assert_eq!(load(&uncommented).unwrap(), Config::default());
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let long = format!("name = \"{}\"", "x".repeat(limits::NAME_BYTES_MAX + 1));
        let cases = [
            ("nam = \"x\"", "nam"),
            ("[sync]\npoll = 1", "poll"),
            ("[network]\nbind = [\"nowhere\"]", "bind"),
            ("[network]\nbind = []", "network.bind"),
            ("[sync]\nforeign_commit_poll_ms = 1", "sync.foreign_commit_poll_ms"),
            ("[sync]\nsignature_tags = 17", "sync.signature_tags"),
            ("[sync]\nsignature_tags = -1", "signature_tags"),
            ("name = \"a\\u0007\"", "name"),
            ("[sidecar]\nauto_commit = \"5\"", "sidecar.auto_commit"),
            ("[dolt]\nurl = \"mysql://a:b@h/x\"", "url"),
            (&long, "name"),
            ("name = ", "name"),
        ];
        for (text, key) in cases {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(FILE_NAME) && error.contains(key), "{text}: {error}");
        }
        let huge = "#".repeat(limits::CONFIG_BYTES_MAX as usize + 1);
        assert!(matches!(load(&huge), Err(ConfigError::Syntax { .. })));
    }
}
