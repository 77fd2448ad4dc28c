//! The command line.

use std::str::FromStr;

use clap::{Parser, Subcommand};
use doltswarm::core::commit::EngineKind;

/// Measures DoltSwarm with real nodes: one process each, real QUIC on 127.0.0.1.
///
/// Every figure is printed beside what the first implementation (in Go, on Dolt) did on a machine
/// like this with 2 cores, and beside the value that is wanted. All nodes share this machine, so
/// timing is meaningless on a busy one: stop everything else first. The temporary directories go
/// where TMPDIR says, and are removed at the end.
#[derive(Debug, Parser)]
#[command(name = "doltswarm-bench", version, disable_help_subcommand = true)]
#[command(override_usage = "doltswarm-bench [OPTIONS]", args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// What the databases are on: doltlite, or dolt with a server of its own for each node.
    #[arg(long, default_value = "doltlite", value_parser = parse_engine)]
    pub(crate) engine: EngineKind,
    /// Measure only the figures with this in their name; may be given more than once. The names are
    /// exec, readable, unreached, adverts, burst, conflict, join, disk, memory, and client on Dolt.
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Vec<String>,
    /// How much is measured: small, normal, full, or a factor of normal such as 0.5. Only normal
    /// and more can be compared with what is wanted.
    #[arg(long, value_name = "SIZE", default_value = "normal")]
    pub(crate) size: Size,
    /// Only swarms of this many peers, for the figures that have several; may be given more than
    /// once.
    #[arg(long, value_name = "N")]
    pub(crate) peers: Vec<usize>,
    /// Print one JSON value on standard output rather than a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// End with 1 where a wanted value is missed.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// What the program is, where it is not the benchmark itself.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Part {
    /// Be a node of the benchmark, on standard input and output.
    #[command(hide = true)]
    Node,
}

fn parse_engine(word: &str) -> Result<EngineKind, String> {
    EngineKind::from_word(word).ok_or_else(|| "expected doltlite or dolt".to_owned())
}

/// How much is measured, as a factor of normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Size(f64);

impl Size {
    /// How often something is done that is done `normal` times at normal size.
    pub(crate) fn times(self, normal: usize) -> usize {
        ((normal as f64 * self.0).round() as usize).max(1)
    }

    /// Whether this is less than normal.
    pub(crate) fn is_reduced(self) -> bool {
        self.0 < 1.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor = match text {
            "small" => 0.1,
            "normal" => 1.0,
            "full" => 5.0,
            number => number
                .parse()
                .map_err(|_| "must be small, normal, full, or a factor such as 0.5".to_owned())?,
        };
        if (0.01..=100.0).contains(&factor) {
            Ok(Self(factor))
        } else {
            Err("must be from 0.01 to 100".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_word_or_a_factor() {
        let size = |text: &str| text.parse::<Size>();
        assert_eq!(size("normal").unwrap().times(40), 40);
        assert_eq!(size("small").unwrap().times(40), 4);
        assert_eq!(size("0.5").unwrap().times(1), 1);
        assert!(size("small").unwrap().is_reduced() && !size("full").unwrap().is_reduced());
        for wrong in ["", "big", "0", "-1", "1e9", "NaN"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
