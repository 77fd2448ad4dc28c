//! The arguments of the commands that bring data in.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The CSV file, whose first line names the columns; `-` reads standard input
    pub(crate) file: PathBuf,
    /// The table: one that is there, or a new one
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: String,
    /// For a new table: the column that is its primary key
    #[arg(long, value_name = "COLUMN")]
    pub(crate) key: Option<String>,
    /// The commit's message
    #[arg(short, long)]
    pub(crate) message: Option<String>,
}
