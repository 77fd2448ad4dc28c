//! What every engine must do, as tests that run on two databases of one swarm.
//!
//! A backend makes the two databases ([`Backend::pair`]) and lists the cases with
//! [`conformance_tests!`](crate::engine::conformance::conformance_tests), which makes a test of
//! each. The SQL is kept to what the engines share; what only one of them has is tested beside it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use doltswarm_core::commit::{
    ConflictPolicy, MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, Merge, merge_message,
};
use doltswarm_core::id::{ChunkHash, CommitHash};
use serde_json::{Value as Json, json};

use super::{
    ChunkFormat, ChunkReader, ChunkSource, CommitMeta, Engine, EngineError, EngineResult, Executed,
    MergeOutcome, MoveOutcome, Statement,
};

pub(crate) mod bookkeeping;
pub(crate) mod constraints;
pub(crate) mod crossing;
pub(crate) mod history;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod transfer;
pub(crate) mod writing;

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first, which made the founding commit.
    A,
    /// The second, a copy of the first.
    B,
}

/// What a backend does beyond the trait, for the tests.
pub(crate) trait Backend {
    /// Lets another program run SQL on a database, without a commit.
    fn meddle(&mut self, side: Side, sql: &str);

    /// SQL that forbids NULL in the column `a` of the table `t (id INTEGER PRIMARY KEY, a INT)`.
    fn forbid_null(&self) -> &'static str;

    /// Whether a row of a table without a primary key stays the same row when it is changed. Else
    /// it is known by its values, and a change is a row that goes and another that comes.
    fn rows_without_a_key_last(&self) -> bool;

    /// The rules of the engine's chunks.
    fn format(&self) -> Box<dyn ChunkFormat>;
}

/// Two databases of one swarm.
pub(crate) struct Pair {
    /// The first.
    pub(crate) a: Box<dyn Engine>,
    /// The second.
    pub(crate) b: Box<dyn Engine>,
    /// What joins them.
    pub(crate) backend: Box<dyn Backend>,
    clock: Cell<i64>,
}

/// Two commits that have gone apart, known to both databases.
pub(crate) struct Split {
    /// The commit of the first database; its main stands there.
    pub(crate) ours: CommitHash,
    /// The commit of the second database; its main stands there.
    pub(crate) theirs: CommitHash,
}

/// Merges two commits over the base that the engine itself finds.
pub(crate) fn merge(
    engine: &mut dyn Engine,
    ours: &CommitHash,
    theirs: &CommitHash,
    policy: ConflictPolicy,
) -> EngineResult<MergeOutcome> {
    let base = engine.merge_base(ours, theirs)?.expect("they have a common ancestor");
    engine.merge(&Merge { ours: *ours, theirs: *theirs, base: base.into() }, policy)
}

impl Pair {
    /// Joins two databases with the same founding commit.
    pub(crate) fn new(a: Box<dyn Engine>, b: Box<dyn Engine>, backend: Box<dyn Backend>) -> Self {
        Self { a, b, backend, clock: Cell::new(1_800_000_000) }
    }

    /// What is said about the next commit; each is a second later than the one before.
    pub(crate) fn meta(&self, message: &str) -> CommitMeta {
        self.clock.set(self.clock.get() + 1);
        meta_at(message, self.clock.get())
    }

    /// Runs SQL on a database and commits it.
    pub(crate) fn exec(&mut self, side: Side, sql: &str) -> CommitHash {
        self.try_exec(side, sql).unwrap().commit.expect("the statements change something")
    }

    /// Runs SQL on a database and commits it, or not.
    pub(crate) fn try_exec(&mut self, side: Side, sql: &str) -> Result<Executed, EngineError> {
        let meta = self.meta("change");
        self.engine(side).exec_and_commit(&[sql.into()], &meta)
    }

    /// The engine of a side.
    pub(crate) fn engine(&mut self, side: Side) -> &mut dyn Engine {
        match side {
            Side::A => self.a.as_mut(),
            Side::B => self.b.as_mut(),
        }
    }

    /// Makes the other database hold a commit of this one.
    pub(crate) fn transfer(&mut self, from: Side, commit: &CommitHash) {
        let source = chunks_of(self.engine(from));
        let to = match from {
            Side::A => &mut self.b,
            Side::B => &mut self.a,
        };
        to.ingest(source, commit).unwrap();
    }

    /// Makes the second database hold a commit of the first and moves its main there.
    pub(crate) fn share(&mut self, commit: &CommitHash) {
        self.transfer(Side::A, commit);
        let main = self.b.main().unwrap();
        assert_eq!(self.b.move_main(&main, commit).unwrap(), MoveOutcome::Moved);
    }

    /// Runs `base` on the first database and shares it; then `ours` on the first and `theirs` on
    /// the second; then lets both hold both.
    pub(crate) fn split(&mut self, base: &str, ours: &str, theirs: &str) -> Split {
        if !base.is_empty() {
            let base = self.exec(Side::A, base);
            self.share(&base);
        }
        let split = Split { ours: self.exec(Side::A, ours), theirs: self.exec(Side::B, theirs) };
        self.transfer(Side::B, &split.theirs);
        self.transfer(Side::A, &split.ours);
        split
    }

    /// Merges on both databases and requires the same outcome.
    pub(crate) fn merge(&mut self, split: &Split, policy: ConflictPolicy) -> MergeOutcome {
        let mains = [self.a.main().unwrap(), self.b.main().unwrap()];
        let [outcome, other] = [&mut self.a, &mut self.b]
            .map(|engine| merge(engine.as_mut(), &split.ours, &split.theirs, policy).unwrap());
        assert_eq!(outcome, other, "the two databases disagree");
        assert_eq!(mains, [self.a.main().unwrap(), self.b.main().unwrap()], "main moved");
        for engine in [&mut self.a, &mut self.b] {
            assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
        }
        if let MergeOutcome::Merged { commit, .. } = &outcome {
            self.check_form(commit, split);
        }
        outcome
    }

    /// Merges, moves both mains to the merge, and checks that it is sound. Returns how many
    /// conflicts it recorded.
    pub(crate) fn settle(&mut self, split: &Split) -> u64 {
        let outcome = self.merge(split, ConflictPolicy::Settle);
        let MergeOutcome::Merged { commit, conflicts } = outcome else {
            panic!("the merge is said to be impossible: {outcome:?}")
        };
        for (engine, from) in [(&mut self.a, split.ours), (&mut self.b, split.theirs)] {
            assert_eq!(engine.move_main(&from, &commit).unwrap(), MoveOutcome::Moved);
            assert_eq!(engine.check_integrity().unwrap(), None);
        }
        assert_eq!(self.a.state_hash().unwrap(), self.b.state_hash().unwrap());
        conflicts
    }

    /// Splits and settles.
    pub(crate) fn settled(&mut self, base: &str, ours: &str, theirs: &str) -> u64 {
        let split = self.split(base, ours, theirs);
        self.settle(&split)
    }

    /// Queries both databases, requires the same answer, and returns it as JSON.
    pub(crate) fn query(&self, sql: &str) -> Json {
        let [a, b] = [&self.a, &self.b].map(|engine| query(engine.as_ref(), sql));
        assert_eq!(a, b, "the two databases differ in {sql}");
        a
    }

    /// What is in `swarm_conflicts`: kind, table, key, base, loser, winner, state.
    pub(crate) fn conflicts(&self) -> Json {
        self.query(
            "SELECT kind, table_name, row_key, base, loser, winner, state FROM swarm_conflicts \
             ORDER BY kind, table_name, row_key, loser",
        )
    }

    fn check_form(&mut self, commit: &CommitHash, split: &Split) {
        let info = self.a.commit_info(commit).unwrap().expect("the merge commit is there");
        let mut dates = [split.ours, split.theirs]
            .map(|commit| self.a.commit_info(&commit).unwrap().expect("a parent").seconds);
        dates.sort_unstable();
        assert_eq!(info.parents, [split.ours, split.theirs]);
        assert_eq!(info.author_name, MERGE_AUTHOR_NAME);
        assert_eq!(info.author_email, MERGE_AUTHOR_EMAIL);
        assert_eq!(info.message, merge_message(&split.ours, &split.theirs));
        assert_eq!(info.seconds, dates[1]);
        assert_eq!(info.as_merge(), Some((split.ours, split.theirs)));
    }
}

/// The chunks of a database as a pull gives them, until it has answered so many times.
pub(crate) struct Chunks {
    chunks: Mutex<Box<dyn ChunkReader>>,
    answers: AtomicUsize,
}

impl ChunkSource for Chunks {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        let answer = self.answers.fetch_update(set, fetch, |left| left.checked_sub(1));
        answer.map_err(|_| "this source has broken".to_owned())?;
        self.chunks.lock().unwrap().get_many(hashes).map_err(|error| error.to_string())
    }

    /// Little, so that the engine takes it with its own fetch.
    fn bytes(&self) -> u64 {
        0
    }
}

/// The chunks of a database as a pull gives them.
pub(crate) fn chunks_of(engine: &dyn Engine) -> Arc<Chunks> {
    breaking_after(engine, usize::MAX)
}

/// The chunks of a database from a source that breaks after so many answers.
pub(crate) fn breaking_after(engine: &dyn Engine, answers: usize) -> Arc<Chunks> {
    let chunks = Mutex::new(engine.chunks().unwrap());
    Arc::new(Chunks { chunks, answers: AtomicUsize::new(answers) })
}

/// A commit's description with a date.
pub(crate) fn meta_at(message: &str, seconds: i64) -> CommitMeta {
    CommitMeta {
        author_name: "Ada".to_owned(),
        author_email: "ada@example.org".to_owned(),
        message: message.to_owned(),
        seconds,
    }
}

/// Queries one database; rows as JSON arrays.
pub(crate) fn query(engine: &dyn Engine, sql: &str) -> Json {
    let rows = engine.reader().unwrap().query(sql, &[], 10_000).unwrap();
    let row =
        |row: &Vec<super::Value>| Json::Array(row.iter().map(super::Value::to_json).collect());
    Json::Array(rows.rows.iter().map(row).collect())
}

/// One open conflict as [`Pair::conflicts`] shows it. The versions are JSON texts in the table.
pub(crate) fn open(kind: &str, table: &str, key: Json, versions: [Json; 3]) -> Json {
    let text = |version: &Json| match version {
        Json::Null => Json::Null,
        version => version.to_string().into(),
    };
    let [base, loser, winner] = &versions;
    json!([kind, table, key.to_string(), text(base), text(loser), text(winner), "open"])
}

/// Makes a test of each conformance case, on the pairs that `$pair` makes.
macro_rules! conformance_tests {
    ($pair:path) => {
        $crate::engine::conformance::conformance_tests! { $pair =>
            rows::{
                different_cells_of_a_row_merge, the_same_change_is_no_conflict,
                the_same_cell_goes_to_theirs, both_insert_the_same_key,
                both_insert_the_same_row, ours_deletes_what_theirs_updates,
                theirs_deletes_what_ours_updates, composite_keys, text_keys,
                blobs_nulls_and_unicode, names_with_blanks_and_quotes,
                numbers_keep_their_digits, many_rows, tables_without_a_key,
                equal_rows_in_tables_without_a_key, nothing_to_merge,
            }
            constraints::{
                unique_against_unique, unique_chain_takes_theirs, null_is_unique_beside_null,
                two_unique_columns, unique_after_a_row_conflict,
                ours_deletes_the_parent, theirs_deletes_the_parent,
                a_parent_that_refers_to_itself, a_chain_of_parents,
                a_cascade_is_not_run_again, a_check_broken_by_the_merge,
                not_null_against_null, a_unique_index_that_only_ours_has,
                a_row_that_breaks_two_rules, without_a_key_and_unique,
            }
            schema::{
                columns_added_on_both_sides, a_column_of_ours_keeps_its_default,
                one_column_with_two_types, a_dropped_table_against_an_update,
                an_update_against_a_dropped_table, a_dropped_table_against_an_insert,
                both_drop_a_table,
                the_same_table_twice, a_name_for_two_tables, a_changed_key,
                reasons_are_for_people,
            }
            bookkeeping::{
                a_conflict_is_recorded_once, a_resolution_stays,
                a_resolution_beats_an_open_copy, both_resolve, the_park_policy_parks,
                the_park_policy_parks_violations, the_park_policy_merges_what_agrees,
                the_park_policy_allows_resolutions,
                the_park_policy_merges_new_rows_without_a_key, founding_twice_is_refused,
            }
            history::{
                merges_are_deterministic, commits_are_described, unknown_commits_are_named,
                main_moves_only_from_where_it_is, main_waits_for_uncommitted_work,
                readers_see_whole_moves, parked_heads_outlive_garbage_collection,
                signature_tags_are_kept, tables_that_changed, rows_that_changed,
                a_dropped_column_is_in_the_difference, merging_works_after_garbage_collection,
            }
            crossing::{
                a_deleted_row_stays_deleted, cells_merge_over_a_base_of_two,
                both_change_a_cell_of_the_base, conflicts_of_a_base_take_none_away,
                a_resolution_holds_over_a_base_of_two, a_base_that_is_told_gives_the_same_tables,
            }
            writing::{
                a_commit_says_what_it_did, nothing_changed_is_no_commit,
                an_error_leaves_nothing, several_statements_in_one_text,
                parameters_are_values, foreign_keys_are_enforced,
                version_control_is_refused, transactions_are_refused,
                uncommitted_work_is_not_swept_in, pending_work_is_committed,
                a_failed_commit_leaves_nothing, uncommitted_work_is_discarded,
                strange_authors_are_refused, readers_do_not_write, readers_have_a_limit,
            }
            transfer::{
                fetched_commits_are_whole, fetching_moves_nothing, old_commits_can_be_fetched,
                chunks_are_read_while_others_write, what_children_name_is_there,
            }
        }
    };
    ($pair:path => $($module:ident::{ $($case:ident),* $(,)? })*) => {
        $(mod $module {
            $(#[test]
            fn $case() {
                // An engine whose server is not installed here has no pair; it says so.
                if let Some(mut pair) = Option::from($pair()) {
                    $crate::engine::conformance::$module::$case(&mut pair);
                }
            })*
        })*
    };
}
pub(crate) use conformance_tests;
