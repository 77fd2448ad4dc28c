//! One real database for each simulated node.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use doltlite::Connection;
use doltswarm::engine::{
    ChunkReader, ChunkSource, CommitMeta, DoltLite, Engine, EngineError, MergeOutcome, MoveOutcome,
};
use doltswarm_core::commit::{ConflictPolicy, EngineKind, Merge};
use doltswarm_core::id::{ChunkHash, CommitHash};
use doltswarm_core::sim::Options;
use doltswarm_core::sim::edit::Applied;
use doltswarm_core::sim::engine::Saying;
use doltswarm_core::sim::options::Fault;
use doltswarm_core::sim::root::Root;
use doltswarm_core::sim::twin::{Twin, Work};
use tempfile::TempDir;

use super::sql;

/// The databases of one history.
pub(crate) struct Engines {
    place: Box<dyn Place>,
    engines: Vec<Option<Box<dyn Engine>>>,
    /// The node that lies about its heads.
    liar: Option<usize>,
    founding: CommitHash,
    /// Who first merged two commits, and to what: everyone else must come to the same.
    merges: BTreeMap<(CommitHash, CommitHash), (usize, Result<CommitHash, String>)>,
}

/// Where the databases of a history are.
pub(crate) trait Place {
    /// The founding commit of all of them.
    fn founding(&self) -> CommitHash;

    /// Makes the database of a node, founded.
    fn make(&self, node: usize) -> Box<dyn Engine>;

    /// Opens it again.
    fn open(&self, node: usize) -> Box<dyn Engine>;

    /// Makes a node serve a commit that its engine holds and would not show by itself.
    fn show(&self, node: usize, commit: &CommitHash);
}

/// Files of DoltLite.
struct Files(TempDir);

impl Files {
    fn path(&self, node: usize) -> PathBuf {
        self.0.path().join(format!("{node}.db"))
    }
}

impl Place for Files {
    fn founding(&self) -> CommitHash {
        template().founding
    }

    fn make(&self, node: usize) -> Box<dyn Engine> {
        Box::new(DoltLite::copy_from(&template().path, &self.path(node)).unwrap())
    }

    fn open(&self, node: usize) -> Box<dyn Engine> {
        Box::new(DoltLite::open(&self.path(node)).unwrap())
    }

    /// Every chunk of a file can be read.
    fn show(&self, _node: usize, _commit: &CommitHash) {}
}

const SAME_EACH_DAY: &str = "SELECT dolt_commit('--amend', '--allow-empty', '-m', 'begin', \
     '--author', 'nobody <nobody@example.org>', '--date', '2026-01-01T00:00:00Z')";

/// A founded database, which every node of every history begins with a copy of.
struct Template {
    _dir: TempDir,
    path: PathBuf,
    founding: CommitHash,
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = temporary();
        let path = dir.path().join("template.db");
        let mut engine = DoltLite::create(&path).unwrap();
        let other = Connection::open(&path).unwrap();
        // A new database has the date of today; with another one a seed is the same history each
        // day.
        other.execute_batch(SAME_EACH_DAY).unwrap();
        other.execute_batch(&sql::founding(EngineKind::DoltLite)).unwrap();
        drop(other);
        let founding = engine.found(&founding_meta()).unwrap();
        Template { _dir: dir, path, founding }
    })
}

pub(crate) fn founding_meta() -> CommitMeta {
    meta(&Saying { author: "0".into(), message: "found".into(), seconds: 1_800_000_000 })
}

/// A directory in memory, where there is one: what is tested here is not the disk.
pub(crate) fn temporary() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = memory.is_dir().then(|| TempDir::new_in(memory).ok()).flatten();
    made.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

fn meta(saying: &Saying) -> CommitMeta {
    CommitMeta {
        author_name: saying.author.clone(),
        author_email: saying.email(),
        message: saying.message.clone(),
        seconds: saying.seconds,
    }
}

/// The chunks of one database.
pub(crate) struct Chunks(pub(crate) Mutex<Box<dyn ChunkReader>>);

impl ChunkSource for Chunks {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        self.0.lock().unwrap().get_many(hashes).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines").field("founding", &self.founding).finish_non_exhaustive()
    }
}

impl Engines {
    /// Makes the files of one swarm.
    pub(crate) fn files(options: &Options) -> Self {
        Self::create(options, Box::new(Files(temporary())))
    }

    /// Makes the databases of one swarm.
    pub(crate) fn create(options: &Options, place: Box<dyn Place>) -> Self {
        let engines = (0..options.machines()).map(|node| Some(place.make(node))).collect();
        let liar = options.has(Fault::Adversary).then_some(options.nodes);
        Self { engines, liar, founding: place.founding(), merges: BTreeMap::new(), place }
    }

    fn engine(&mut self, node: usize) -> &mut dyn Engine {
        self.engines[node].as_mut().unwrap().as_mut()
    }

    /// The whole database of a node at main.
    fn root(&mut self, node: usize) -> Root {
        let engine = self.engine(node);
        sql::read_root(engine.reader().unwrap().as_mut(), engine.kind())
    }

    fn compare(&mut self, node: usize, expected: &Root) {
        let root = self.root(node);
        assert_eq!(
            root,
            expected.as_stored(),
            "the engine of n{node} has other rows than the model"
        );
        if self.engine(node).kind() == EngineKind::Dolt {
            // It has no such question; at the end the whole database is checked.
            return;
        }
        let mut reader = self.engine(node).reader().unwrap();
        let broken = reader.query("PRAGMA foreign_key_check", &[], 10).unwrap();
        assert_eq!(broken.rows, Vec::<Vec<_>>::new(), "n{node} has dangling references");
    }
}

impl Twin for Engines {
    fn founding(&mut self) -> CommitHash {
        self.founding
    }

    fn commit(&mut self, node: usize, work: &Work<'_>) -> CommitHash {
        let mut root = work.before.clone();
        let mut statements = Vec::new();
        for edit in work.edits {
            let engine = self.engine(node);
            let (kind, mut reader) = (engine.kind(), engine.reader().unwrap());
            statements.push(sql::statement(&root, edit, kind, reader.as_mut()).into());
            assert_eq!(root.apply(edit), Applied::Changed);
        }
        assert_eq!(&root, work.after);
        let engine = self.engine(node);
        let done = engine.exec_and_commit(&statements, &meta(work.saying));
        let done = done.unwrap_or_else(|error| panic!("{statements:?}: {error}"));
        for edit in work.refused {
            let mut reader = engine.reader().unwrap();
            let statement = sql::statement(&root, edit, engine.kind(), reader.as_mut());
            match engine.exec_and_commit(&[statement.as_str().into()], &meta(work.saying)) {
                Err(EngineError::Rejected { .. }) => {}
                other => panic!("the model refuses `{statement}`, the engine says {other:?}"),
            }
        }
        done.commit.unwrap_or_else(|| panic!("{statements:?} changed nothing"))
    }

    fn merge(&mut self, node: usize, merge: &Merge, settles: bool) -> Result<CommitHash, String> {
        let policy = if settles { ConflictPolicy::Settle } else { ConflictPolicy::Park };
        let merged = match self.engine(node).merge(merge, policy).unwrap() {
            MergeOutcome::Merged { commit, .. } => Ok(commit),
            MergeOutcome::Impossible { reason } => Err(reason),
        };
        let first = self.merges.entry((merge.ours, merge.theirs)).or_insert((node, merged.clone()));
        let (other, first) = first.clone();
        if let (Ok(ours), Ok(theirs)) = (&merged, &first)
            && ours != theirs
        {
            self.fetch(node, other, &[*theirs]);
            let engine = self.engine(node);
            let tables = engine.changed_tables(theirs, ours).unwrap();
            let infos = [theirs, ours].map(|commit| engine.commit_info(commit).unwrap());
            panic!("n{other} and n{node} merge to other commits: {infos:#?}, tables {tables:?}");
        }
        assert_eq!(merged, first, "n{other} and n{node} merge alike");
        merged
    }

    fn fetch(&mut self, node: usize, from: usize, heads: &[CommitHash]) {
        for head in heads {
            if self.liar == Some(from) {
                // It may call a merge commit a head, and give it too. An honest node shows none by
                // itself.
                self.place.show(from, head);
            }
            let chunks = self.engine(from).chunks().unwrap();
            let source = Arc::new(Chunks(Mutex::new(chunks)));
            self.engine(node).ingest(source, head).unwrap();
        }
    }

    fn move_main(&mut self, node: usize, from: CommitHash, to: CommitHash, expected: &Root) {
        let moved = self.engine(node).move_main(&from, &to).unwrap();
        assert_eq!(moved, MoveOutcome::Moved);
        self.compare(node, expected);
    }

    fn catch_up(
        &mut self,
        node: usize,
        from: CommitHash,
        to: CommitHash,
        saying: &Saying,
        expected: Option<&Root>,
    ) -> Option<CommitHash> {
        // Nothing is brought into main if the sides disagree.
        let expected = expected?;
        let made = self.engine(node).catch_up(&from, &to, &meta(saying), None).unwrap()?;
        self.compare(node, expected);
        Some(made)
    }

    fn set_parked(&mut self, node: usize, heads: &[CommitHash]) {
        self.engine(node).set_parked(heads).unwrap();
    }

    fn restart(&mut self, node: usize) {
        self.engines[node] = None;
        self.engines[node] = Some(self.place.open(node));
    }

    fn check_end(&mut self, node: usize, main: CommitHash, expected: &Root) {
        self.compare(node, expected);
        assert_eq!(self.engine(node).main().unwrap(), main);
        assert_eq!(self.engine(node).check_integrity().unwrap(), None);
        assert_eq!(self.engine(node).dirty_tables().unwrap(), Vec::<String>::new());
    }
}
