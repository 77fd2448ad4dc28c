//! Histories that cross: two commits with several newest common ancestors, and so a base that is no
//! ancestor of either.

use doltswarm_core::commit::{ConflictPolicy, Merge, MergeBase};
use doltswarm_core::id::CommitHash;
use serde_json::json;

use super::{MergeOutcome, MoveOutcome, Pair, Side, merge, open};

const SETTLE: ConflictPolicy = ConflictPolicy::Settle;
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT);
    INSERT INTO t VALUES (1, 0, 0), (2, 0, 0)";

/// Two sides, each of which wrote, met an earlier commit of the other, and wrote on.
struct Crossed {
    /// What the sides have in common, in the order of a fold.
    common: [CommitHash; 2],
    ours: CommitHash,
    theirs: CommitHash,
}

impl Pair {
    /// Runs SQL on a commit of the first database and commits it.
    fn on(&mut self, at: CommitHash, sql: &str) -> CommitHash {
        let main = self.a.main().unwrap();
        assert_eq!(self.a.move_main(&main, &at).unwrap(), MoveOutcome::Moved);
        self.exec(Side::A, sql)
    }

    fn merged(&mut self, ours: CommitHash, theirs: CommitHash) -> CommitHash {
        match merge(self.a.as_mut(), &ours, &theirs, SETTLE).unwrap() {
            MergeOutcome::Merged { commit, .. } => commit,
            MergeOutcome::Impossible { reason } => panic!("{reason}"),
        }
    }

    /// From `base`, two commits; each is written on, meets the other, and is written on.
    fn crossed(&mut self, base: &str, [first, second]: [&str; 2], on: [[&str; 2]; 2]) -> Crossed {
        let base = self.exec(Side::A, base);
        let (first, second) = (self.on(base, first), self.on(base, second));
        let [[ours, ours_on], [theirs, theirs_on]] = on;
        let (ours, theirs) = (self.on(first, ours), self.on(second, theirs));
        // Each is the later one of its own merge, as where it is the higher one.
        let ours = self.merged(second, ours);
        let theirs = self.merged(first, theirs);
        let (ours, theirs) = (self.on(ours, ours_on), self.on(theirs, theirs_on));
        for commit in [ours, theirs] {
            self.transfer(Side::A, &commit);
        }
        Crossed { common: [first, second], ours, theirs }
    }

    /// Merges the two sides on both databases and moves both mains there. Returns the merge, and
    /// how many conflicts it recorded.
    fn meet(&mut self, crossed: &Crossed) -> (CommitHash, u64) {
        let Crossed { common: [first, second], ours, theirs } = *crossed;
        let mut done = Vec::new();
        for engine in [&mut self.a, &mut self.b] {
            let base = match merge(engine.as_mut(), &first, &second, SETTLE).unwrap() {
                MergeOutcome::Merged { commit, .. } => MergeBase { commit, ancestor: first },
                MergeOutcome::Impossible { reason } => panic!("{reason}"),
            };
            let merge = Merge { ours, theirs, base };
            let MergeOutcome::Merged { commit, conflicts } = engine.merge(&merge, SETTLE).unwrap()
            else {
                panic!("the merge is said to be impossible")
            };
            let info = engine.commit_info(&commit).unwrap().unwrap();
            assert_eq!(info.as_merge(), Some((ours, theirs)));
            let main = engine.main().unwrap();
            assert_eq!(engine.move_main(&main, &commit).unwrap(), MoveOutcome::Moved);
            assert_eq!(engine.check_integrity().unwrap(), None);
            assert_eq!(engine.dirty_tables().unwrap(), Vec::<String>::new());
            done.push((commit, conflicts));
        }
        assert_eq!(done[0], done[1], "the two databases disagree");
        assert_eq!(self.a.state_hash().unwrap(), self.b.state_hash().unwrap());
        done[0]
    }
}

/// The engine's own base would be one of the two common ancestors, and lack the row.
pub(crate) fn a_deleted_row_stays_deleted(pair: &mut Pair) {
    for (id, deleted_by) in [(11, 0), (12, 1)] {
        let insert =
            [format!("INSERT INTO t{id} VALUES ({id}, 1)"), format!("UPDATE t{id} SET a = 5")];
        let base = format!(
            "CREATE TABLE t{id} (id INTEGER PRIMARY KEY, a INT); INSERT INTO t{id} VALUES (1, 0)"
        );
        let delete = format!("DELETE FROM t{id} WHERE id = {id}");
        let other = [
            format!("INSERT INTO t{id} VALUES (20, 0)"),
            format!("INSERT INTO t{id} VALUES (30, 0)"),
        ];
        let mut on =
            [[other[0].as_str(), "UPDATE t SET a = 7"], [other[1].as_str(), "UPDATE t SET b = 7"]];
        if id == 11 {
            pair.exec(Side::A, TABLE);
        }
        on[deleted_by][1] = &delete;
        let crossed = pair.crossed(&base, [&insert[0], &insert[1]], on);
        let (_, conflicts) = pair.meet(&crossed);
        assert_eq!(conflicts, 0);
        let rows = pair.query(&format!("SELECT id, a FROM t{id} ORDER BY id"));
        assert_eq!(rows, json!([[1, 5], [20, 0], [30, 0]]));
    }
}

/// What each side has changed of what both have stands beside what the other has.
pub(crate) fn cells_merge_over_a_base_of_two(pair: &mut Pair) {
    let crossed = pair.crossed(
        TABLE,
        ["UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET b = 1 WHERE id = 2"],
        [
            ["INSERT INTO t VALUES (3, 3, 3)", "UPDATE t SET b = 5 WHERE id = 1"],
            ["INSERT INTO t VALUES (4, 4, 4)", "UPDATE t SET a = 5 WHERE id = 2"],
        ],
    );
    let (_, conflicts) = pair.meet(&crossed);
    assert_eq!(conflicts, 0);
    let rows = json!([[1, 1, 5], [2, 5, 1], [3, 3, 3], [4, 4, 4]]);
    assert_eq!(pair.query("SELECT * FROM t ORDER BY id"), rows);
}

pub(crate) fn both_change_a_cell_of_the_base(pair: &mut Pair) {
    let crossed = pair.crossed(
        TABLE,
        ["UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET b = 1 WHERE id = 1"],
        [
            ["INSERT INTO t VALUES (3, 3, 3)", "UPDATE t SET a = 10 WHERE id = 1"],
            ["INSERT INTO t VALUES (4, 4, 4)", "UPDATE t SET a = 20 WHERE id = 1"],
        ],
    );
    let (_, conflicts) = pair.meet(&crossed);
    assert_eq!(conflicts, 1);
    assert_eq!(pair.query("SELECT * FROM t WHERE id = 1"), json!([[1, 20, 1]]));
    let row = |a| json!({"a": a});
    let expected = open("row", "t", json!({"id": 1}), [row(1), row(10), row(20)]);
    assert_eq!(pair.conflicts(), json!([expected]));
}

/// What was settled on the way to the base is recorded there, and in neither side: the sides
/// settled the same in another order. Of what the sides recorded nothing may go.
pub(crate) fn conflicts_of_a_base_take_none_away(pair: &mut Pair) {
    let crossed = pair.crossed(
        TABLE,
        ["UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET a = 2 WHERE id = 1"],
        [
            ["INSERT INTO t VALUES (3, 3, 3)", "UPDATE t SET b = 5 WHERE id = 2"],
            ["INSERT INTO t VALUES (4, 4, 4)", "UPDATE t SET b = 6 WHERE id = 2"],
        ],
    );
    // Ours kept 1 and recorded 2, theirs the other way round.
    let (_, conflicts) = pair.meet(&crossed);
    let cell = |name: &str, value: i64| json!({ name: value });
    let first = |loser, winner| {
        let versions = [cell("a", 0), cell("a", loser), cell("a", winner)];
        open("row", "t", json!({"id": 1}), versions)
    };
    let second = open("row", "t", json!({"id": 2}), [cell("b", 0), cell("b", 5), cell("b", 6)]);
    assert_eq!(conflicts, 1);
    assert_eq!(pair.conflicts(), json!([first(1, 2), first(2, 1), second]));
}

/// A resolution made on one side holds, whatever the base has.
pub(crate) fn a_resolution_holds_over_a_base_of_two(pair: &mut Pair) {
    let crossed = pair.crossed(
        TABLE,
        ["UPDATE t SET a = 1 WHERE id = 1", "UPDATE t SET a = 2 WHERE id = 1"],
        [
            ["INSERT INTO t VALUES (3, 3, 3)", "UPDATE swarm_conflicts SET state = 'resolved'"],
            ["INSERT INTO t VALUES (4, 4, 4)", "UPDATE t SET b = 6 WHERE id = 2"],
        ],
    );
    pair.meet(&crossed);
    let states = "SELECT loser LIKE '%\"a\":2%', state FROM swarm_conflicts ORDER BY 1";
    assert_eq!(pair.query(states), json!([[0, "open"], [1, "resolved"]]));
}

/// A base that the engine would find by itself gives the same commit as one that it is told.
pub(crate) fn a_base_that_is_told_gives_the_same_tables(pair: &mut Pair) {
    let split = pair.split(
        TABLE,
        "UPDATE t SET a = 1 WHERE id = 1; INSERT INTO t VALUES (3, 3, 3)",
        "UPDATE t SET a = 2 WHERE id = 1; DELETE FROM t WHERE id = 2",
    );
    let own = pair.a.merge_base(&split.ours, &split.theirs).unwrap().unwrap();
    let of = |ancestor| {
        let base = MergeBase { commit: own, ancestor };
        Merge { ours: split.ours, theirs: split.theirs, base }
    };
    // Its tables are the same one commit below, so what is compared is the same too.
    let below = pair.a.commit_info(&own).unwrap().unwrap().parents[0];
    let [native, told] = [of(own), of(below)].map(|merge| pair.a.merge(&merge, SETTLE).unwrap());
    assert_eq!(native, told);
}
