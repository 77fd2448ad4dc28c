//! Merging two commits whose definitions differ: definitions first, rows second.
//!
//! The engine's own merge evaluates defaults, refuses definitions that differ, and may give a
//! schema that does not parse. So when a definition differs between the two sides or from the base,
//! it is not asked. Each object is decided by itself ([`plan`]); a table that both sides changed
//! becomes theirs' rows in the form that stands, onto which ours' changes are put row by row
//! ([`rows`]). Every step is an ordinary statement on the private branch, at ours, so that the
//! schema that comes of it was accepted by the engine object by object.
//!
//! Which merges are made so is a function of the three commits: [`SchemaDigests`],
//! [`is_needed_for_rows`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use doltswarm_core::id::CommitHash;

use self::changes::{Change, changes};
use self::plan::{Plan, plan};
use self::schema::{Kind, Object, Schema};
use self::tables::at;
use super::connection::{During, hash_value, open_at, quote, text};
use super::ffi::Connection;
use super::record::Record;
use super::table::{Table, require};
use crate::engine::{EngineResult, Value};

mod carry;
mod changes;
mod create_table;
mod foreign_modules;
mod functions;
mod objects;
mod plan;
mod rows;
mod schema;
mod tables;
mod tokens;
mod virtual_tables;

pub(super) use carry::Form;
pub(super) use changes::Identity;
pub(super) use foreign_modules::{has_virtual_tables, missing_modules};
pub(super) use functions::{called_in_checks, define_lacking, is_known};
pub(super) use schema::fold_case;

/// One commit of the merge.
struct Side {
    commit: CommitHash,
    /// The database as it is there.
    connection: Connection,
    schema: Schema,
}

impl Side {
    fn open(path: &Path, commit: &CommitHash) -> EngineResult<Self> {
        let connection = open_at(path, commit)?;
        let schema = Schema::read(&connection)?;
        Ok(Self { commit: *commit, connection, schema })
    }

    /// A table with its shape, if the side has it.
    fn table(&self, name: &str) -> EngineResult<Option<(Table, &Object)>> {
        let Some(object) = self.schema.table(name) else { return Ok(None) };
        Ok(Table::load(&self.connection, &object.name)?.map(|table| (table, object)))
    }
}

/// The tables with rows that a side added, changed or removed since the base; names in lower case.
pub(super) type ChangedTables = BTreeSet<String>;

/// Reads which tables have rows that `side` changed since `base`.
pub(super) fn changed_tables(
    connection: &Connection,
    base: &CommitHash,
    side: &CommitHash,
) -> EngineResult<ChangedTables> {
    let sql = "SELECT from_table_name, to_table_name, data_change FROM dolt_diff_summary(?, ?)";
    let rows = connection.rows(sql, &[hash_value(base), hash_value(side)]);
    let mut changed = ChangedTables::new();
    for row in rows.during("list the changed tables")? {
        let (from, to) = (text(row.first()), text(row.get(1)));
        if from != to || row.get(2) == Some(&Value::Integer(1)) {
            let names = [from, to].into_iter().filter(|name| !name.is_empty());
            changed.extend(names.map(schema::fold_case));
        }
    }
    Ok(changed)
}

/// Whether two statements create the same table, however they are written.
pub(super) fn creates_the_same(a: &str, b: &str) -> bool {
    let [a, b] = [a, b].map(|sql| Object::new(Kind::Table, "", "", sql));
    a == b
}

/// How many commits' schemas are remembered by their digests. A merge looks at three, two of which
/// the merge before has seen.
const SCHEMAS_REMEMBERED_MAX: usize = 1_024;

/// Digests of the schemas of commits: equal when all objects are written alike.
#[derive(Debug, Default)]
pub(super) struct SchemaDigests {
    known: BTreeMap<CommitHash, [u8; 32]>,
    /// What each schema may call, by its digest.
    called: BTreeMap<[u8; 32], BTreeSet<String>>,
    /// Of each schema, whether all its foreign keys can be checked.
    checkable: BTreeMap<[u8; 32], bool>,
}

/// The foreign keys to what is no table, or that name a column, or a primary key, that their parent
/// does not have.
const UNCHECKABLE_KEYS: &str = "SELECT 1 FROM sqlite_schema AS child, \
    pragma_foreign_key_list(child.name) AS key \
    WHERE child.type = 'table' \
    AND NOT EXISTS (SELECT 1 FROM sqlite_schema AS parent, pragma_table_info(parent.name) AS part \
        WHERE parent.type = 'table' AND parent.sql NOT LIKE 'CREATE VIRTUAL%' \
        AND parent.name = key.\"table\" COLLATE NOCASE \
        AND CASE WHEN key.\"to\" IS NULL THEN part.pk > 0 \
            ELSE part.name = key.\"to\" COLLATE NOCASE END) LIMIT 1";

impl SchemaDigests {
    /// The digest of the schema at `commit`.
    pub(super) fn of(&mut self, path: &Path, commit: &CommitHash) -> EngineResult<[u8; 32]> {
        if let Some(digest) = self.known.get(commit) {
            return Ok(*digest);
        }
        let connection = open_at(path, commit)?;
        let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
                   WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name";
        let mut hasher = blake3::Hasher::new();
        let rows = connection.rows(sql, &[]).during("read the schema")?;
        for value in rows.iter().flatten() {
            let bytes = value.bytes().unwrap_or(&[]);
            hasher.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
        }
        if self.known.len() >= SCHEMAS_REMEMBERED_MAX {
            self.known.clear();
            self.called.clear();
            self.checkable.clear();
        }
        let digest = *hasher.finalize().as_bytes();
        let calls = || rows.iter().flat_map(|row| functions::called(text(row.get(3)))).collect();
        self.called.entry(digest).or_insert_with(calls);
        if let Entry::Vacant(unknown) = self.checkable.entry(digest) {
            let rows = connection.rows(UNCHECKABLE_KEYS, &[]);
            unknown.insert(rows.during("check the foreign keys")?.is_empty());
        }
        self.known.insert(*commit, digest);
        Ok(digest)
    }

    /// The names, in lower case, of what may be functions in the schemas of these commits.
    pub(super) fn called(
        &mut self,
        path: &Path,
        commits: [&CommitHash; 3],
    ) -> EngineResult<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for commit in commits {
            let digest = self.of(path, commit)?;
            all.extend(self.called.get(&digest).into_iter().flatten().cloned());
        }
        Ok(all)
    }

    /// Whether the engine can merge the three commits: their schemas are the same, and each foreign
    /// key refers to columns that are there.
    pub(super) fn suit_the_engine(
        &mut self,
        path: &Path,
        commits: [&CommitHash; 3],
    ) -> EngineResult<bool> {
        let [base, ours, theirs] = commits.map(|commit| self.of(path, commit));
        let (base, ours, theirs) = (base?, ours?, theirs?);
        let checkable = self.checkable.get(&base).copied().unwrap_or(false);
        Ok(base == ours && ours == theirs && checkable)
    }
}

/// The widest table whose conflicts the engine can show: they have three columns for each of the
/// table's and four more, and SQLite's limit is 2,000.
const WIDTH_MAX: usize = 665;

/// Whether two sides with the same definitions have to be merged here rather than by the engine:
/// both changed a table whose rows the engine cannot merge. `connection` stands at any of the
/// commits.
pub(super) fn is_needed_for_rows(
    connection: &Connection,
    ours: &ChangedTables,
    theirs: &ChangedTables,
) -> EngineResult<bool> {
    let both: Vec<_> = ours.intersection(theirs).collect();
    // The two may have changed different tables of one virtual table.
    if foreign_modules::has_virtual_tables(connection)? {
        let shadows = Schema::read(connection)?.shadows;
        let owners = |changed: &ChangedTables| -> BTreeSet<String> {
            changed.iter().filter_map(|name| shadows.get(name).cloned()).collect()
        };
        if !owners(ours).is_disjoint(&owners(theirs)) {
            return Ok(true);
        }
    }
    if both.is_empty() {
        return Ok(false);
    }
    // The counters of AUTOINCREMENT.
    if both.iter().any(|name| *name == "sqlite_sequence") {
        return Ok(true);
    }
    let schema = Schema::read(connection)?;
    for name in both {
        let Some(object) = schema.table(name) else { continue };
        let table = require(connection, &object.name)?;
        if table.width() > WIDTH_MAX || !table.has_key() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A merge of definitions under way, in its transaction.
pub(super) struct DefinitionMerge<'a> {
    connection: &'a Connection,
    base: Side,
    ours: Side,
    theirs: Side,
    /// Tables with rows that ours changed since the base; names in lower case.
    our_rows: BTreeSet<String>,
    /// The same of theirs.
    their_rows: BTreeSet<String>,
    /// Functions that definitions call and nobody here has; they give NULL.
    absent: &'a BTreeSet<String>,
    /// What was lost so far.
    pub(super) records: Vec<Record>,
}

impl<'a> DefinitionMerge<'a> {
    /// Opens the three commits. `connection` stands at ours, with nothing uncommitted.
    pub(super) fn open(
        path: &Path,
        connection: &'a Connection,
        [base, ours, theirs]: [&CommitHash; 3],
        changed: [&ChangedTables; 2],
        absent: &'a BTreeSet<String>,
    ) -> EngineResult<Self> {
        let [base, ours, theirs] =
            [Side::open(path, base)?, Side::open(path, ours)?, Side::open(path, theirs)?];
        for side in [&base, &ours, &theirs] {
            define_absent(&side.connection, absent)?;
        }
        // The rows of a virtual table are in its shadow tables.
        let rows = |changed: &ChangedTables, side: &Side| {
            let shadows = base.schema.shadows.iter().chain(&side.schema.shadows);
            let owners = shadows.filter(|(shadow, _)| changed.contains(*shadow));
            let owners: Vec<_> = owners.map(|(_, owner)| owner.clone()).collect();
            // The engine's difference says nothing about rows when the key is another one.
            let redefined = side.schema.relations.iter().filter(|(name, object)| {
                base.schema.table(name).is_some_and(|before| before != *object)
            });
            let redefined = redefined.map(|(name, _)| name.clone());
            changed.iter().cloned().chain(owners).chain(redefined).collect()
        };
        let (our_rows, their_rows) = (rows(changed[0], &ours), rows(changed[1], &theirs));
        let records = Vec::new();
        Ok(Self { connection, base, ours, theirs, our_rows, their_rows, absent, records })
    }

    /// The tables that both sides changed, in rows or in definition; names in lower case.
    pub(super) fn changed_by_both(&self) -> ChangedTables {
        self.our_rows.intersection(&self.their_rows).cloned().collect()
    }

    /// Merges objects and rows. Returns the tables whose constraints are to be checked.
    pub(super) fn run(&mut self) -> EngineResult<Vec<String>> {
        let plan = self.plan()?;
        self.record_objects(&plan);
        self.record_lost_tables(&plan)?;
        self.drop_what_goes(&plan)?;
        for (name, object) in &plan.relations {
            if object.kind == Kind::Table {
                self.make_table(&plan, name, object)?;
            }
        }
        self.make_virtual_tables(&plan)?;
        self.make_indexes(&plan)?;
        self.merge_sequences()?;
        self.make_views_and_triggers(&plan)?;
        let tables = plan.relations.values().filter(|object| object.kind == Kind::Table);
        Ok(tables.map(|object| object.name.clone()).collect())
    }

    fn plan(&self) -> EngineResult<Plan> {
        let scratch = Connection::open(Path::new(":memory:"), true).during("check a definition")?;
        define_absent(&scratch, self.absent)?;
        let is_valid = |sql: &str| {
            let valid = scratch.batch(sql).is_ok();
            // The next one may have the same name.
            let tables = scratch.rows("SELECT name FROM sqlite_schema WHERE type = 'table'", &[]);
            for row in tables.unwrap_or_default() {
                let _ = scratch.batch(&format!("DROP TABLE {}", quote(text(row.first()))));
            }
            valid
        };
        let sides = plan::Sides {
            base: &self.base.schema,
            ours: &self.ours.schema,
            theirs: &self.theirs.schema,
            our_rows: &self.our_rows,
            their_rows: &self.their_rows,
        };
        Ok(plan(&sides, &is_valid))
    }

    /// Records the objects of ours that do not stand.
    fn record_objects(&mut self, plan: &Plan) {
        for lost in &plan.lost {
            let versions = [&lost.base, &lost.loser, &lost.winner].map(Option::as_deref);
            self.records.push(Record::definition(lost.kind.word(), &lost.name, versions));
        }
    }

    /// Records the rows that ours added or changed in tables that go.
    fn record_lost_tables(&mut self, plan: &Plan) -> EngineResult<()> {
        for name in &plan.tables_lost {
            let Some((table, object)) = self.ours.table(name)? else {
                self.record_lost_virtual(name)?;
                continue;
            };
            let base = self.base.table(name)?;
            let identity = identity(&[Some(&table), base.as_ref().map(|(table, _)| table)]);
            let base_at = base.as_ref().map(|(table, object)| at(&self.base, table, object));
            let ours = at(&self.ours, &table, object);
            let found = changes(base_at, ours, &identity)?;
            let before = base.as_ref().map(|(table, _)| table);
            self.records.extend(gone(&table, before, &found));
        }
        Ok(())
    }
}

/// What is recorded of the rows that ours added or changed in a table that goes.
fn gone<'a>(
    table: &'a Table,
    base: Option<&'a Table>,
    found: &'a [Change],
) -> impl Iterator<Item = Record> + 'a {
    found.iter().filter_map(move |change| {
        let row = change.after.as_ref()?;
        let before = base.zip(change.before.as_ref());
        Some(Record {
            kind: "row".to_owned(),
            table: table.name.clone(),
            key: table.key_json(row),
            base: before.map(|(base, row)| base.json(row)),
            loser: Some(table.json(row)),
            winner: None,
        })
    })
}

/// Makes functions known that nobody here has.
fn define_absent(connection: &Connection, names: &BTreeSet<String>) -> EngineResult<()> {
    let mut defined = names.iter().map(|name| connection.define_absent(name));
    defined.try_for_each(|result| result.during("define a function"))
}

/// By what the rows of a table are known in all of these definitions of it.
fn identity(tables: &[Option<&Table>]) -> Identity {
    let tables: Vec<_> = tables.iter().flatten().collect();
    let keys = tables.iter().filter(|table| table.has_key());
    for keyed in keys {
        let names: Vec<_> = keyed.key_names().into_iter().map(str::to_owned).collect();
        if tables.iter().all(|table| table.has_columns(&names)) {
            return Identity::Columns(names);
        }
    }
    if tables.iter().any(|table| table.has_key()) {
        return Identity::Nothing;
    }
    Identity::Number
}

/// The record of a row that no row stands for.
fn lost_row(table: &Table, kind: &str, row: &[Value]) -> Record {
    Record {
        kind: kind.to_owned(),
        table: table.name.clone(),
        key: table.key_json(row),
        base: None,
        loser: Some(table.json(row)),
        winner: None,
    }
}
