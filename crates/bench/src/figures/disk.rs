//! `disk`: what a node's directory takes after many small commits.

use std::path::Path;

use super::Bench;
use crate::error::{BenchError, BenchResult};
use crate::fleet::Fleet;
use crate::protocol::{Request, Written};
use crate::report::Figure;
use crate::schema::insert_row;

/// How many commits are made at normal size.
const COMMITS: usize = 1_000;

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    // A larger size would be another figure, not a better one.
    let commits = bench.size.times(COMMITS).min(COMMITS);
    let fleet = Fleet::start(bench, 2, 0).await?;
    let row = |id| insert_row(i64::try_from(id).unwrap_or(i64::MAX), "disk");
    let statements = (0..commits).map(row).collect();
    let _: Vec<Written> = fleet.node(0).ask(Request::Write { statements, at: None }).await?;
    fleet.meet().await?;
    let mut figures = Vec::new();
    for collected in [false, true] {
        if collected {
            fleet.ask_all::<()>(|_| Request::CollectGarbage).await?;
        }
        for (number, who) in ["the writer", "the other"].into_iter().enumerate() {
            let directory = fleet.directory(number);
            let node = size_of(&directory).map_err(BenchError::io("look at", &directory))?;
            let (mut size, mut note) = (node, largest(&directory));
            if fleet.server(number).is_some() {
                let data = fleet.server_dir(number).join("data");
                let server = size_of(&data).map_err(BenchError::io("look at", &data))?;
                size += server;
                note = format!(
                    "the server's data {}, the node's folder {} (of it the spool {}, store.redb {})",
                    megabytes(server),
                    megabytes(node),
                    megabytes(size_of(&directory.join("dolt/spool")).unwrap_or(0)),
                    megabytes(file_size(&directory.join("store.redb"))),
                );
            }
            let when = if collected { "after gc" } else { "before gc" };
            let mut figure = Figure::new("disk", size as f64 / 1e6, "MB")
                .with("commits", commits)
                .with("who", who)
                .with("when", when)
                .note(note);
            if collected && commits == COMMITS {
                figure = figure.first("23 MB").at_most(8.0);
            }
            figures.push(figure);
        }
    }
    fleet.end().await?;
    Ok(figures)
}

fn size_of(directory: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        size += if meta.is_dir() { size_of(&entry.path())? } else { meta.len() };
    }
    Ok(size)
}

/// The two files that matter, in words.
fn largest(directory: &Path) -> String {
    let words = |name: &str| format!("{name} {}", megabytes(file_size(&directory.join(name))));
    format!("{}, {}", words("database.db"), words("store.redb"))
}

fn file_size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
