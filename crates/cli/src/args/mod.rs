//! The command line: names, defaults and help. The commands themselves are in `commands`.

mod data;
mod decide;
mod undo;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use doltswarm::DoltServer;
use doltswarm::core::commit::{ConflictPolicy, EngineKind};
use doltswarm::core::membership::Role;
use doltswarm::engine::dolt::DoltUrlError;

pub(crate) use self::data::ImportArgs;
pub(crate) use self::decide::{
    CloseArgs, ConflictsArgs, ConflictsCommand, DiscardArgs, KeepWord, ParkedArgs, ParkedCommand,
    ResolveArgs,
};
pub(crate) use self::undo::{CompletionsArgs, ManArgs, RestoreArgs, RevertArgs};

use crate::duration;
use crate::error::{CommandError, CommandResult};

/// Keeps one SQL database in step on many machines, with no server in the middle.
#[derive(Debug, Parser)]
#[command(
    name = "doltswarm",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The node's directory
    #[arg(
        short = 'C',
        long = "dir",
        value_name = "DIR",
        env = "DOLTSWARM_DIR",
        default_value = ".",
        global = true,
        hide_default_value = true
    )]
    pub(crate) dir: PathBuf,
    /// Give one JSON value on standard output (`events`: one a line)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log to standard error; repeat for more. RUST_LOG overrides it
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Found a swarm in this directory, on a new or an existing database
    Init(InitArgs),
    /// Print a ticket with which another machine can join
    Invite(InviteArgs),
    /// Become a member: clone the database into this directory
    Join(JoinArgs),
    /// Run the node until SIGTERM or SIGINT
    Up(UpArgs),
    /// Execute SQL and commit, atomically
    Exec(ExecArgs),
    /// Run a read-only query
    Query(QueryArgs),
    /// Read SQL statements from standard input and run each: an interactive shell
    Sql,
    /// Commit what other programs left uncommitted
    Commit(CommitArgs),
    /// Throw away what other programs left uncommitted
    Discard(DiscardArgs),
    /// Show what is going on, and why a peer is not in step
    Status,
    /// List the other peers, or change where they are found
    Peers(PeersArgs),
    /// List the members and their roles
    Members,
    /// Show the newest commits of main
    Log(LogArgs),
    /// Show the rows that differ between two commits
    Diff(DiffArgs),
    /// Put the records of a CSV file into a table, and commit
    Import(ImportArgs),
    /// Name what in the schema will hurt when several peers write
    Lint,
    /// Take back what one commit changed, by a new commit
    Revert(RevertArgs),
    /// Make a table's rows what they were at a commit, by a new commit
    Restore(RestoreArgs),
    /// See the versions that lost, and decide what stands
    Conflicts(ConflictsArgs),
    /// See the heads that main could not include, and close them
    Parked(ParkedArgs),
    /// Ask peers for their news now
    Pull(PullArgs),
    /// Wait until in step, or until a commit is on enough peers
    Wait(WaitArgs),
    /// Show what happens, as it happens
    Events,
    /// Show the rows of a query, and each change of them
    Watch(WatchArgs),
    /// Watch three peers on this machine write, disagree, part and heal
    Demo(DemoArgs),
    /// Print the script that teaches a shell these commands
    Completions(CompletionsArgs),
    /// Write manual pages into a directory
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// This peer's name, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// The storage engine of the swarm, for ever: doltlite or dolt
    #[arg(long, default_value = "doltlite", value_parser = parse_engine)]
    pub(crate) engine: EngineKind,
    #[command(flatten)]
    pub(crate) dolt: DoltArgs,
    /// An existing database to start from: a DoltLite or SQLite file, or a dump; it is only read
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// What happens to conflicts, for ever: settle (the later version stands, the other is
    /// recorded) or park (the head waits)
    #[arg(long, default_value = "settle", value_parser = parse_policy)]
    pub(crate) policy: ConflictPolicy,
}

/// A database on a Dolt server.
#[derive(Debug, Args)]
pub(crate) struct DoltArgs {
    /// The database on this machine's Dolt server: mysql://USER@HOST:PORT/DATABASE. A password is
    /// read from the file of --dolt-password-file, or from DOLTSWARM_DOLT_PASSWORD
    #[arg(long = "dolt-url", value_name = "URL")]
    url: Option<String>,
    /// The file whose first line is the password for the Dolt server
    #[arg(long = "dolt-password-file", value_name = "FILE", requires = "url")]
    password_file: Option<PathBuf>,
}

impl DoltArgs {
    /// The server, where one is named.
    ///
    /// # Errors
    ///
    /// Where the address is not one. It is read here, because what reads arguments would repeat it,
    /// with a password that somebody wrote into it.
    pub(crate) fn server(self) -> CommandResult<Option<DoltServer>> {
        let Self { url, password_file } = self;
        let Some(url) = url else { return Ok(None) };
        let url =
            url.parse().map_err(|error: DoltUrlError| CommandError::usage(error.to_string()))?;
        // The node may be started from another directory.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Ok(Some(DoltServer { url, password_file: password_file.map(absolute) }))
    }
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What the three databases are on: doltlite, or dolt with a server for each
    #[arg(long, default_value = "doltlite", value_parser = parse_engine)]
    pub(crate) engine: EngineKind,
}

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// What the bearer may do: writer, reader or admin
    #[arg(long, default_value = "writer", value_parser = parse_role)]
    pub(crate) role: Role,
    /// How many peers may use the ticket
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: u32,
    /// How long the ticket is good for
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    pub(crate) expires: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The text that `doltswarm invite` printed; `-` reads it from standard input. In several words
    /// if it was wrapped
    #[arg(required = true)]
    pub(crate) ticket: Vec<String>,
    /// This peer's name, for people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) dolt: DoltArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Listen here, and not where config.toml says; repeat for more
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Vec<SocketAddr>,
    /// Do not look for peers on the local network (it is off by default)
    #[arg(long)]
    pub(crate) no_discovery: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The commit's message
    #[arg(short, long)]
    pub(crate) message: String,
    /// SQL statements; `-` or none at all reads standard input
    #[arg(value_name = "SQL")]
    pub(crate) sql: Vec<String>,
    /// Read SQL from this file, before the SQL arguments; repeat for more
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// A value for the next `?` of the one statement: NULL, a number, 'text', x'00ff', or text as
    /// it is; repeat for more
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) params: Vec<String>,
    /// When to give up, with exit code 3; nothing is changed then
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// One statement that only reads
    pub(crate) sql: String,
    /// A value for the next `?`, as `exec` reads it; repeat for more
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) params: Vec<String>,
    /// How to print the rows; `--json` is the same as `--format json`
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// When to give up, with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// One statement that only reads; its first column names a row
    pub(crate) sql: String,
    /// A value for the next `?`, as `exec` reads it; repeat for more
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) params: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// RFC 4180, with a header; NULL is empty, an empty text is ""
    Csv,
    /// A list of objects
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// The commit's message
    #[arg(short, long)]
    pub(crate) message: String,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    pub(crate) command: Option<PeersCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// List the other peers
    List,
    /// Say where a member is found
    Add {
        /// The member's id, the beginning of it, or its name
        peer: String,
        /// Where it listens
        #[arg(required = true, value_name = "ADDR")]
        addresses: Vec<SocketAddr>,
    },
    /// Forget where a peer is found; it stays a member
    Remove {
        /// The peer's id, the beginning of it, or its name
        peer: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How many commits
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The older commit; by default the first parent of main
    #[arg(value_name = "A")]
    pub(crate) from: Option<String>,
    /// The newer commit; by default main
    #[arg(value_name = "B")]
    pub(crate) to: Option<String>,
    /// How many rows of a table at most
    #[arg(short = 'n', long, default_value_t = 1000, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Only this peer: its id, the beginning of it, or its name
    pub(crate) peer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait for this commit, rather than until in step
    #[arg(long, value_name = "HASH")]
    pub(crate) commit: Option<String>,
    /// On how many peers, this one included; by default here and on every connected peer
    #[arg(long, value_name = "N")]
    pub(crate) peers: Option<usize>,
    /// When to give up, with exit code 3
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
}

fn parse_engine(word: &str) -> Result<EngineKind, String> {
    EngineKind::from_word(word).ok_or_else(|| "expected doltlite or dolt".to_owned())
}

fn parse_policy(word: &str) -> Result<ConflictPolicy, String> {
    ConflictPolicy::from_word(word).ok_or_else(|| "expected settle or park".to_owned())
}

fn parse_role(word: &str) -> Result<Role, String> {
    Role::from_word(word).ok_or_else(|| "expected writer, reader or admin".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_go_before_and_after_the_command() {
        for line in [
            ["doltswarm", "--json", "-C", "x", "status"],
            ["doltswarm", "status", "--json", "-C", "x"],
        ] {
            let cli = Cli::parse_from(line);
            assert!(cli.global.json);
            assert_eq!(cli.global.dir, PathBuf::from("x"));
        }
    }
}
