//! Where the server is, and how to log in to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::super::{EngineError, EngineResult};

/// The port of a MySQL server.
const DEFAULT_PORT: u16 = 3306;
/// The user that Dolt has from the start.
const DEFAULT_USER: &str = "root";

/// How a node reaches its Dolt server.
#[derive(Debug, Clone)]
pub struct DoltOptions {
    /// The server and the database.
    pub url: DoltUrl,
    /// Where the password comes from.
    pub password: Password,
    /// A folder that the node and the server both reach under the same path; chunks go through it.
    pub folder: PathBuf,
}

/// Where a password comes from. It is read anew for each connection and never kept in a text that
/// could be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    Empty,
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

impl Password {
    /// Reads the password.
    pub(super) fn read(&self) -> EngineResult<Option<String>> {
        let unreadable = |what: String| EngineError::Rejected { message: what };
        match self {
            Self::Empty => Ok(None),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let path = path.display();
                    unreadable(format!("the file with the password, {path}: {error}"))
                })?;
                Ok(Some(text.lines().next().unwrap_or("").to_owned()))
            }
            Self::Environment(name) => std::env::var(name).map(Some).map_err(|_| {
                unreadable(format!("the environment variable {name} with the password is not set"))
            }),
        }
    }
}

/// A server and a database on it: `mysql://USER@HOST:PORT/DATABASE`, or
/// `mysql://USER@localhost/DATABASE?socket=/path/to/socket`. It holds no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoltUrl {
    /// The user.
    pub user: String,
    /// The host; not used where there is a socket.
    pub host: String,
    /// The port; not used where there is a socket.
    pub port: u16,
    /// The path of the server's Unix socket.
    pub socket: Option<String>,
    /// The database.
    pub database: String,
}

/// The text is not the address of a database on a Dolt server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the address of a Dolt database: {what}; write mysql://USER@HOST:PORT/DATABASE"
)]
pub struct DoltUrlError {
    /// What is wrong. The address itself is left out: someone may have put a password in it.
    what: &'static str,
}

impl FromStr for DoltUrl {
    type Err = DoltUrlError;

    fn from_str(text: &str) -> Result<Self, DoltUrlError> {
        let wrong = |what| DoltUrlError { what };
        let rest = text.strip_prefix("mysql://").ok_or(wrong("it has to begin with mysql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, database) = rest.split_once('/').ok_or(wrong("it names no database"))?;
        let (user, server) = server.rsplit_once('@').unwrap_or((DEFAULT_USER, server));
        if user.contains(':') {
            return Err(wrong(
                "a password does not belong into it: name a file or an environment variable",
            ));
        }
        let (host, port) = split_port(server).ok_or(wrong("its port is not a number"))?;
        let decoded = |part: &str| percent_decode(part).ok_or(wrong("it is not well-formed"));
        let database = decoded(database)?;
        check_database(&database).map_err(wrong)?;
        let socket = match query.strip_prefix("socket=") {
            Some(path) => Some(decoded(path)?).filter(|path| !path.is_empty()),
            None if query.is_empty() => None,
            None => return Err(wrong("it can only have the option `socket`")),
        };
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Self { user: decoded(user)?, host: host.to_owned(), port, socket, database })
    }
}

impl fmt::Display for DoltUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, socket, database } = self;
        match socket {
            Some(path) => write!(f, "mysql://{user}@localhost/{database}?socket={path}"),
            None if host.contains(':') => write!(f, "mysql://{user}@[{host}]:{port}/{database}"),
            None => write!(f, "mysql://{user}@{host}:{port}/{database}"),
        }
    }
}

fn split_port(server: &str) -> Option<(&str, u16)> {
    // An IPv6 address stands in brackets.
    if let Some((host, rest)) = server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => rest.is_empty().then_some((host, DEFAULT_PORT)),
        };
    }
    match server.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((server, DEFAULT_PORT)),
    }
}

/// A database's name becomes part of paths and of the names of branches' databases.
fn check_database(name: &str) -> Result<(), &'static str> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '$');
    match name {
        "" => Err("it names no database"),
        name if name.len() > 64 || !name.chars().all(fits) => {
            Err("a database's name has letters, digits, `_`, `-`, `$` and blanks, at most 64 bytes")
        }
        name if ["mysql", "information_schema", "performance_schema", "sys"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own)) =>
        {
            Err("that database is the server's own")
        }
        _ => Ok(()),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let url: DoltUrl = "mysql://ann@db.example:3307/shop".parse().unwrap();
        assert_eq!((url.user.as_str(), url.host.as_str(), url.port), ("ann", "db.example", 3307));
        assert_eq!(url.database, "shop");
        let url: DoltUrl = "mysql://[::1]/a%20b".parse().unwrap();
        assert_eq!((url.user.as_str(), url.host.as_str(), url.port), ("root", "::1", 3306));
        assert_eq!(url.database, "a b");
        let text = "mysql://root@localhost/x?socket=/run/dolt.sock";
        let url: DoltUrl = text.parse().unwrap();
        assert_eq!(url.socket.as_deref(), Some("/run/dolt.sock"));
        assert_eq!(url.to_string(), text);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = "mysql://ann:s3cret@h/x".parse::<DoltUrl>().unwrap_err().to_string();
        assert!(error.contains("password") && !error.contains("s3cret"), "{error}");
        for text in ["", "http://x/y", "mysql://h", "mysql://h/", "mysql://h:x/y", "mysql://h/a/b"]
        {
            assert!(text.parse::<DoltUrl>().is_err(), "{text}");
        }
        for text in ["mysql://h/mysql", "mysql://h/x?tls=1", "mysql://h/x%2", "mysql://h/x`y"] {
            assert!(text.parse::<DoltUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word\nmore\n").unwrap();
        let read = Password::File(file.path().to_owned()).read().unwrap();
        assert_eq!(read.as_deref(), Some("pass word"));
        let missing = Password::Environment("DOLTSWARM_NO_SUCH_VARIABLE".to_owned());
        assert!(missing.read().is_err());
    }
}
