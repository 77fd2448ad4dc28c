//! The arguments of the commands that take changes back, and of those that are about the program
//! itself.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    /// The commit: its hash or the beginning of it, or main~1
    pub(crate) commit: String,
    /// The new commit's message
    #[arg(short, long)]
    pub(crate) message: String,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The table
    pub(crate) table: String,
    /// The commit whose rows come back: its hash or the beginning of it, or main~1
    #[arg(long, value_name = "COMMIT")]
    pub(crate) at: String,
    /// The new commit's message
    #[arg(short, long)]
    pub(crate) message: String,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell they are for
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where the pages are written; the directory is made
    pub(crate) dir: PathBuf,
}
