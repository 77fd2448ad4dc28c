//! The arguments of the commands that decide something for everyone: conflicts, parked heads,
//! uncommitted work.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    /// Do it; without this the command only lists what would go
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConflictsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ConflictsCommand>,
    /// Show resolved conflicts too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConflictsCommand {
    /// List them
    List {
        /// Show resolved conflicts too
        #[arg(long)]
        all: bool,
    },
    /// Show one with its three versions
    Show {
        /// The conflict's id, or the beginning of it
        id: String,
    },
    /// Decide what stands, in one commit
    Resolve(ResolveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The conflicts' ids, or the beginnings of them
    #[arg(required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All that are open
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// With --all: only those of this table
    #[arg(long, value_name = "TABLE", requires = "all")]
    pub(crate) table: Option<String>,
    /// Which version stands
    #[arg(long, value_enum, required_unless_present = "set")]
    pub(crate) keep: Option<KeepWord>,
    /// Or: give a column a value. NULL, numbers, 'texts' and x'blobs' as in SQL, anything else is a
    /// text as it is; repeat for more columns
    #[arg(long, value_name = "COLUMN=VALUE", conflicts_with = "keep")]
    pub(crate) set: Vec<String>,
    /// The commit's message
    #[arg(short, long)]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeepWord {
    /// What stands now
    Winner,
    /// What lost
    Loser,
    /// Both rows, if they have different keys or none
    Both,
}

#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ParkedCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedCommand {
    /// List them, with the reason
    List,
    /// Close a head: main's tables stay as they are
    Drop(CloseArgs),
    /// Close a head: its work comes into main, and where both changed the same, it stands
    Take(CloseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// The head: its hash, or the beginning of it
    pub(crate) head: String,
    /// The commit's message
    #[arg(short, long)]
    pub(crate) message: String,
}
