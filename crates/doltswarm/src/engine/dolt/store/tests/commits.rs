//! Commits that real Dolt writes, and join commits that it takes.

use std::collections::BTreeSet;

use super::super::closure::{Closures, keys_of};
use super::super::derived::Chunks;
use super::super::{Derived, DoltCommit, Inbox, Spool, commit_text};
use super::cli::Repo;
use super::real::{push, spool, walk};
use crate::engine::{ChunkReader, EngineError};

fn commit(spool: &mut Spool, hash: doltswarm_core::id::CommitHash) -> DoltCommit {
    let chunk = spool.get_many(&[hash.into()]).unwrap().remove(0).unwrap();
    let commit = DoltCommit::parse(&chunk).unwrap();
    assert_eq!(commit.chunk(), chunk, "a commit is written as Dolt writes it");
    assert_eq!(commit.fault(), None);
    commit
}

#[test]
fn commits_are_read_and_written_as_dolt_does() {
    let Some(repo) = Repo::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool(&repo, &dir);
    let first = repo.head("main");
    repo.sql(
        "SET @@dolt_committer_name = 'Grace', @@dolt_committer_email = 'g@x', @@dolt_committer_date = '2026-01-03T00:00:00.250Z';
         CREATE TABLE t (id INT PRIMARY KEY);
         CALL DOLT_COMMIT('-A', '-m', 'it''s a \\n\"message\"', '--author', 'Ädä <a@x>', '--date', '2026-01-02T00:00:00.500Z')",
    );
    let second = repo.head("main");
    push(&repo, &mut spool);
    let root = commit(&mut spool, first);
    assert_eq!((root.parents.len(), root.height, root.closure), (0, 1, None));
    let next = commit(&mut spool, second);
    assert_eq!(next.parents, [first]);
    assert_eq!((next.author_name.as_str(), next.author_email.as_str()), ("Ädä", "a@x"));
    assert_eq!(next.committer_name.as_deref(), Some("Grace"));
    assert_eq!(next.committer_email.as_deref(), Some("g@x"));
    assert_eq!(next.author_millis, 1_767_312_000_500);
    assert_eq!(next.committer_millis, 1_767_398_400_250);
    assert_eq!(next.message, "it's a \n\"message\"");
    assert_eq!(next.height, 2);
    assert!(
        next.follows(std::slice::from_ref(&root)) && !next.follows(std::slice::from_ref(&next))
    );
    assert_eq!(next.info(second).seconds, 1_767_312_000);
    // One key in the set of ancestors; written anew it is the same chunk.
    let keys = keys_of(&mut spool, next.closure.unwrap());
    assert_eq!(keys, [(1, first)]);
    let mut closures = Closures { chunks: &mut spool, made: Chunks::new() };
    let again = closures.with(None, &keys.into_iter().collect()).unwrap();
    assert_eq!(Some(again), next.closure);
}

#[test]
fn main_moves_by_fast_forward_to_a_join_commit() {
    let Some(repo) = Repo::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool(&repo, &dir);
    // A history long enough that the sets of ancestors are trees.
    let empty = "CALL DOLT_COMMIT('--allow-empty', '-m', 'x');".repeat(700);
    repo.sql(&format!("CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1); CALL DOLT_COMMIT('-A', '-m', 'i'); {empty}"));
    repo.dolt(&["branch", "tip"]);
    let more = "CALL DOLT_COMMIT('--allow-empty', '-m', 'y');".repeat(40);
    let main = repo.commit(&format!(
        "UPDATE t SET a = 2; CREATE TABLE only_main (id INT PRIMARY KEY); {more}"
    ));
    repo.sql("CALL DOLT_CHECKOUT('tip'); UPDATE t SET a = 3; DROP TABLE IF EXISTS nothing; CALL DOLT_COMMIT('-A', '-m', 'tip')");
    let tip = repo.head("tip");
    repo.dolt(&["push", "spool", "tip"]);
    push(&repo, &mut spool);

    let join = Derived::join(&tip, &main, &mut spool).unwrap();
    assert_eq!(Derived::join(&tip, &main, &mut spool).unwrap().commit(), join.commit());
    assert_ne!(Derived::join(&main, &tip, &mut spool).unwrap().commit(), join.commit());
    let absent = doltswarm_core::id::CommitHash::from_bytes([1; 20]);
    let error = Derived::join(&absent, &main, &mut spool).unwrap_err();
    assert!(matches!(error, EngineError::NoSuchCommit(commit) if commit == absent));

    let inbox = Inbox::open(dir.path().join("inbox")).unwrap();
    repo.dolt(&["remote", "add", "inbox", &inbox.url()]);
    let filled = inbox.fill(&join.commit(), &join).unwrap();
    assert!(filled.chunks < 8, "most of the sets of ancestors is shared: {filled:?}");
    repo.dolt(&["fetch", "inbox", "main"]);
    repo.dolt(&["merge", "--ff-only", &commit_text(&join.commit())]);
    assert_eq!(repo.head("main"), join.commit());
    let state = |name: &str| repo.sql(&format!("SELECT DOLT_HASHOF_DB('{name}') AS state"));
    assert_eq!(state("main"), state("tip"));
    assert_eq!(repo.sql("SELECT a FROM t").trim(), "a\n3");
    assert!(
        repo.sql("SELECT COUNT(*) FROM dolt_log").contains("745"),
        "{}",
        repo.sql("SELECT COUNT(*) FROM dolt_log")
    );
    repo.dolt(&["fsck"]);

    // Dolt goes on from it: commits, merges and merge bases; what comes of it is a history like
    // any.
    repo.dolt(&["branch", "side", &commit_text(&tip)]);
    repo.sql("CALL DOLT_CHECKOUT('side'); INSERT INTO t VALUES (5, 5); CALL DOLT_COMMIT('-A', '-m', 'side')");
    repo.commit("INSERT INTO t VALUES (6, 6)");
    let base = repo.sql("SELECT DOLT_MERGE_BASE('main', 'side')");
    assert!(base.contains(&commit_text(&tip)), "{base}");
    repo.dolt(&["merge", "side", "-m", "merged"]);
    let merged = repo.head("main");
    push(&repo, &mut spool);
    walk(&mut spool, merged);
    let info = commit(&mut spool, merged);
    let keys = keys_of(&mut spool, info.closure.unwrap());
    let log = repo.sql("SELECT commit_hash FROM dolt_log");
    let logged =
        log.lines().skip(1).filter_map(super::super::commit_from_text).collect::<BTreeSet<_>>();
    let mut ancestors = keys.iter().map(|(_, hash)| *hash).collect::<BTreeSet<_>>();
    ancestors.insert(merged);
    assert_eq!(ancestors, logged);
    let parents = commit(&mut spool, join.commit());
    assert_eq!(Derived::parents_of(&parents), Some((tip, main)));
    assert_eq!(Derived::parents_of(&info), None);
}
