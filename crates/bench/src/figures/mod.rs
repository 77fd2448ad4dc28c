//! What is measured: one module for each kind of measurement, which may give several figures.

mod burst;
mod client;
mod clone;
mod conflict;
mod dice;
mod disk;
mod exec;
mod join;
mod memory;
mod readable;

use std::path::Path;

use crate::args::{Args, Size};
use crate::dolt::Dolt;
use crate::error::{BenchError, BenchResult};
use crate::report::Figure;

/// What every measurement works with.
pub(crate) struct Bench<'a> {
    /// Where swarms are made.
    pub(crate) root: &'a Path,
    /// How much is measured.
    pub(crate) size: Size,
    /// With this each node gets a Dolt server; without it, databases are in files.
    pub(crate) dolt: Option<&'a Dolt>,
    /// Only swarms of these sizes; all where empty.
    peers: &'a [usize],
}

impl Bench<'_> {
    /// Of these sizes of swarms, those that were asked for; where others were asked for, those.
    fn peers(&self, usual: &[usize]) -> Vec<usize> {
        let chosen = if self.peers.is_empty() { usual } else { self.peers };
        chosen.iter().copied().filter(|peers| *peers >= 2).collect()
    }

    /// Tells whoever waits what goes on.
    #[expect(clippy::print_stderr, reason = "progress is for people")]
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// The names of all figures, by the measurement that gives them.
const NAMES: [&[&str]; 8] = [
    &["exec"],
    &["readable", "unreached", "adverts"],
    &["burst"],
    &["conflict"],
    &["join"],
    &["disk"],
    &["memory"],
    &["client"],
];

/// What is measured only on Dolt: nothing but a server has other clients.
const ONLY_ON_DOLT: &str = "client";

/// Measures what `args` asks for, with swarms under `root`.
pub(crate) async fn measure(
    args: &Args,
    root: &Path,
    dolt: Option<&Dolt>,
) -> BenchResult<Vec<Figure>> {
    let wanted = |name: &str| {
        (dolt.is_some() || name != ONLY_ON_DOLT)
            && (args.filter.is_empty() || args.filter.iter().any(|part| name.contains(part)))
    };
    if !NAMES.iter().any(|names| names.iter().any(|name| wanted(name))) {
        let filters = args.filter.join(", ");
        return Err(BenchError::Usage(format!(
            "no figure of this engine has `{filters}` in its name"
        )));
    }
    let bench = Bench { root, size: args.size, dolt, peers: &args.peers };
    let mut figures = Vec::new();
    for names in NAMES.iter().filter(|names| names.iter().any(|name| wanted(name))) {
        bench.say(&format!("measuring {} ...", names.join(", ")));
        let measured = match names[0] {
            "exec" => exec::measure(&bench).await?,
            "readable" => readable::measure(&bench).await?,
            "burst" => burst::measure(&bench).await?,
            "conflict" => conflict::measure(&bench).await?,
            "join" => join::measure(&bench).await?,
            "disk" => disk::measure(&bench).await?,
            "memory" => memory::measure(&bench).await?,
            _ => client::measure(&bench).await?,
        };
        figures.extend(measured.into_iter().filter(|figure| wanted(figure.name)));
    }
    Ok(figures)
}
