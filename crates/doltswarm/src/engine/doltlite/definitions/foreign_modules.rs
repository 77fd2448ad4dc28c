//! Virtual tables whose module this program may lack: they merge as a whole, without the module.
//!
//! Without it no statement on the virtual table works, not even DROP. But its definition is a row
//! of the schema, and its rows are in ordinary tables whose names begin with its own.

use super::changes::{At, changes};
use super::schema::{Kind, Object, Schema, fold_case};
use super::{DefinitionMerge, Side, gone, identity};
use crate::engine::doltlite::connection::{During, hash_value, quote, text};
use crate::engine::doltlite::ffi::Connection;
use crate::engine::doltlite::table::Table;
use crate::engine::{EngineResult, Value};

/// The modules whose tables merge by their own rows.
const MERGED: [&str; 2] = ["fts5", "rtree"];

/// Whether a virtual table merges as a whole, whether or not this program has its module.
pub(super) fn is_foreign(object: &Object) -> bool {
    object.kind == Kind::Virtual
        && object.module().is_none_or(|module| !MERGED.contains(&module.as_str()))
}

/// The virtual tables that a connection sees and whose modules it lacks, each with its module;
/// sorted.
pub(in super::super) fn missing_modules(
    connection: &Connection,
) -> EngineResult<Vec<(String, String)>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 \
               AND sql IS NOT NULL ORDER BY name";
    let mut missing = Vec::new();
    for row in connection.rows(sql, &[]).during("list the virtual tables")? {
        let name = text(row.first());
        let object = Object::new(Kind::Virtual, name, name, text(row.get(1)));
        let Some(module) = object.module() else { continue };
        let sql = "SELECT 1 FROM pragma_module_list WHERE name = ? COLLATE NOCASE";
        let known = connection.rows(sql, &[module.as_str().into()]);
        if known.during("list the modules")?.is_empty() {
            missing.push((name.to_owned(), module));
        }
    }
    Ok(missing)
}

/// Whether a connection sees virtual tables.
pub(in super::super) fn has_virtual_tables(connection: &Connection) -> EngineResult<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 \
               AND sql IS NOT NULL LIMIT 1";
    Ok(!connection.rows(sql, &[]).during("list the virtual tables")?.is_empty())
}

impl DefinitionMerge<'_> {
    /// Removes a virtual table, with the tables that hold its rows.
    pub(super) fn drop_foreign(&self, name: &str) -> EngineResult<()> {
        let shadows = shadows(&Schema::read(self.connection)?, name);
        let sql = "DELETE FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE";
        self.write_schema(sql, &[name.into()])?;
        for shadow in shadows {
            let sql = format!("DROP TABLE {}", quote(&shadow));
            self.connection.batch(&sql).during("drop a virtual table")?;
        }
        Ok(())
    }

    /// Makes a virtual table what it is in theirs, with the tables that hold its rows.
    pub(super) fn take_foreign_over(&self, object: &Object) -> EngineResult<()> {
        self.drop_foreign(&object.name)?;
        for shadow in shadows(&self.theirs.schema, &object.name) {
            let Some((table, _)) = load(&self.theirs, &shadow)? else { continue };
            let params = [hash_value(&self.theirs.commit), table.name.into()];
            let sql = "SELECT dolt_checkout(?, ?)";
            self.connection.run(sql, &params).during("take a table over")?;
        }
        let sql = "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) \
                   VALUES ('table', ?1, ?1, 0, ?2)";
        self.write_schema(sql, &[object.name.as_str().into(), object.sql.as_str().into()])
    }

    fn write_schema(&self, sql: &str, params: &[Value]) -> EngineResult<()> {
        let what = "write the schema";
        self.connection.batch("PRAGMA writable_schema = ON").during(what)?;
        let written = self.connection.run(sql, params).during(what);
        // It also reads the schema again.
        self.connection.batch("PRAGMA writable_schema = RESET").during(what)?;
        written
    }

    /// Records the rows that ours added or changed in the tables of a virtual table that does not
    /// stand.
    pub(super) fn record_foreign_rows(&mut self, name: &str) -> EngineResult<()> {
        for shadow in shadows(&self.ours.schema, name) {
            let Some((table, sql)) = load(&self.ours, &shadow)? else { continue };
            let base = load(&self.base, &shadow)?;
            let identity = identity(&[Some(&table), base.as_ref().map(|(table, _)| table)]);
            let base_at = base.as_ref().map(|(table, sql)| at(&self.base, table, sql));
            let found = changes(base_at, at(&self.ours, &table, &sql), &identity)?;
            let before = base.as_ref().map(|(table, _)| table);
            self.records.extend(gone(&table, before, &found));
        }
        Ok(())
    }
}

/// The tables that hold the rows of a virtual table; names in lower case.
fn shadows(schema: &Schema, name: &str) -> Vec<String> {
    let name = fold_case(name);
    let of_it = schema.shadows.iter().filter(|(_, owner)| **owner == name);
    of_it.map(|(shadow, _)| shadow.clone()).collect()
}

/// A table that holds rows of a virtual table, with the statement that creates it.
fn load(side: &Side, name: &str) -> EngineResult<Option<(Table, String)>> {
    let sql = "SELECT name, sql FROM sqlite_schema \
               WHERE type = 'table' AND name = ? COLLATE NOCASE";
    let rows = side.connection.rows(sql, &[name.into()]).during("read the schema")?;
    let Some(row) = rows.first() else { return Ok(None) };
    let table = Table::load(&side.connection, text(row.first()))?;
    Ok(table.map(|table| (table, text(row.get(1)).to_owned())))
}

fn at<'a>(side: &'a Side, table: &'a Table, sql: &'a str) -> At<'a> {
    At { connection: &side.connection, commit: &side.commit, table, sql }
}
