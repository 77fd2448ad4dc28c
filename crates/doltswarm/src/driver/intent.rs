//! Which merge is under way, so that a node that dies in it knows at its next start.
//!
//! What a peer committed may crash the engine or use up the memory, and then a node would do the
//! same merge at each start, and die. So a merge is written down before it begins. The file is not
//! synced: it outlives the death of the process, which is what it is for, and costs a merge two
//! small writes to memory. If the machine dies too, at worst a death is not counted.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::MERGE_DEATHS_MAX;

/// The file, in the node's directory.
const FILE: &str = "merging";

/// The merge that is under way, and how often the node died in merges before.
pub(crate) struct MergeIntents(Mutex<Inner>);

struct Inner {
    /// Nothing if it cannot be written: then deaths are not counted.
    file: Option<File>,
    /// How many bytes the file has.
    length: usize,
    deaths: BTreeMap<CommitHash, u32>,
}

impl MergeIntents {
    /// Reads what the last run of the node left. A merge that it had begun and not ended is a
    /// death.
    pub(crate) fn open(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let text = fs::read(&path).unwrap_or_default();
        let deaths = read(&String::from_utf8_lossy(&text));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        if let Err(error) = &file {
            tracing::warn!(%error, "merges cannot be written down: a deadly one is not recognised");
        }
        let mut inner = Inner { file: file.ok(), length: text.len(), deaths };
        inner.write(None);
        Self(Mutex::new(inner))
    }

    /// The heads in whose merge the node died too often.
    pub(crate) fn deadly(&self) -> Vec<CommitHash> {
        let inner = self.lock();
        let deadly = inner.deaths.iter().filter(|(_, count)| **count >= MERGE_DEATHS_MAX);
        deadly.map(|(head, _)| *head).collect()
    }

    /// Takes note that a head is about to be merged.
    pub(crate) fn begin(&self, head: &CommitHash) {
        self.lock().write(Some(head));
    }

    /// Takes note that the merge of a head has ended, however, or is not tried again.
    pub(crate) fn end(&self, head: &CommitHash) {
        let mut inner = self.lock();
        inner.deaths.remove(head);
        inner.write(None);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("because no holder of this lock panics")
    }
}

impl Inner {
    /// Writes the deaths, and which merge is under way. The file never shrinks: cutting it would
    /// make the file system write at once.
    fn write(&mut self, under_way: Option<&CommitHash>) {
        let counts = self.deaths.iter().map(|(head, count)| format!("{head} {count}\n"));
        let mut text: String = counts.chain(under_way.map(|head| format!("{head}\n"))).collect();
        let padding = self.length.saturating_sub(text.len());
        text.extend(std::iter::repeat_n('\n', padding));
        self.length = text.len();
        let Some(file) = &mut self.file else { return };
        let written = rewrite(file, text.as_bytes());
        if let Err(error) = written {
            tracing::debug!(%error, "a merge could not be written down");
        }
    }
}

fn rewrite(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytes)
}

/// Reads the file. A line without a count is the merge that was under way.
fn read(text: &str) -> BTreeMap<CommitHash, u32> {
    let mut deaths = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(Ok(head)) = words.next().map(str::parse::<CommitHash>) else { continue };
        match words.next().map(str::parse::<u32>) {
            Some(Ok(count)) => *deaths.entry(head).or_insert(0) = count,
            Some(Err(_)) => {}
            None => *deaths.entry(head).or_insert(0) += 1,
        }
    }
    deaths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(byte: u8) -> CommitHash {
        CommitHash::from_bytes([byte; 20])
    }

    #[test]
    fn a_head_is_deadly_after_two_deaths_in_its_merge() {
        let dir = tempfile::tempdir().expect("a directory");
        MergeIntents::open(dir.path()).begin(&head(1));
        let once = MergeIntents::open(dir.path());
        assert_eq!(once.deadly(), []);
        // Other merges in between end well.
        once.begin(&head(2));
        once.end(&head(2));
        once.begin(&head(1));
        let twice = MergeIntents::open(dir.path());
        assert_eq!(twice.deadly(), [head(1)]);
        twice.end(&head(1));
        assert_eq!(MergeIntents::open(dir.path()).deadly(), []);
    }

    #[test]
    fn a_merge_that_ends_is_no_death() {
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..3 {
            let intents = MergeIntents::open(dir.path());
            intents.begin(&head(1));
            intents.end(&head(1));
            MergeIntents::open(dir.path()).begin(&head(1));
            let again = MergeIntents::open(dir.path());
            assert_eq!(again.deadly(), []);
            again.begin(&head(1));
            again.end(&head(1));
        }
    }

    #[test]
    fn a_damaged_file_is_no_death() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(FILE), b"nonsense\n12 x\n\xff\xff").expect("a file");
        assert_eq!(MergeIntents::open(dir.path()).deadly(), []);
    }
}
