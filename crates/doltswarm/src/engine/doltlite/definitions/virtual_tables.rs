//! Virtual tables: full-text and spatial indexes merge by their own rows, never by their shadow
//! tables; others as a whole.

use super::foreign_modules::is_foreign;
use super::plan::Plan;
use super::schema::{Kind, Object, fold_case};
use super::tokens::tokens;
use super::{DefinitionMerge, Side};
use crate::engine::doltlite::connection::{During, hash_value, quote, text};
use crate::engine::doltlite::record::{Record, row_json};
use crate::engine::total::{RowMerge, merge_row, same_row};
use crate::engine::{EngineResult, Value};

/// How the rows of a virtual table merge.
enum Content {
    /// The rows are its own. New ones of both sides have nothing to do with each other when
    /// `counted`: they go by numbers that each side counts up.
    Own { counted: bool },
    /// They are those of another table, from which the index is built anew.
    Other,
    /// Nothing can be read back: the table is decided as a whole.
    Opaque,
    /// Whoever merges may lack the module: the table is decided as a whole.
    Foreign,
}

/// A virtual table's rows as this engine shows them.
struct Rows {
    columns: Vec<String>,
    /// By number, in order.
    rows: Vec<(Value, Vec<Value>)>,
}

impl Rows {
    fn find(&self, number: &Value) -> Option<&[Value]> {
        let key = integer(number);
        let at = self.rows.binary_search_by_key(&key, |(number, _)| integer(number)).ok()?;
        Some(&self.rows[at].1)
    }
}

fn integer(value: &Value) -> i64 {
    if let Value::Integer(n) = value { *n } else { 0 }
}

impl DefinitionMerge<'_> {
    /// Makes the virtual tables what stands.
    pub(super) fn make_virtual_tables(&mut self, plan: &Plan) -> EngineResult<()> {
        let is_virtual = |(_, object): &(&String, &Object)| object.kind == Kind::Virtual;
        let virtuals: Vec<_> = plan.relations.iter().filter(is_virtual).collect();
        for (name, object) in virtuals {
            self.make_virtual_table(name, object)?;
        }
        Ok(())
    }

    fn make_virtual_table(&mut self, name: &str, object: &Object) -> EngineResult<()> {
        let [ours, theirs] = [&self.ours, &self.theirs]
            .map(|side| side.schema.relations.get(name).filter(|o| o.kind == Kind::Virtual));
        let is = |side: Option<&Object>| side.is_some_and(|side| side.sql == object.sql);
        let content = content(object);
        let (our_rows, their_rows) = (self.our_rows.contains(name), self.their_rows.contains(name));
        if !is(theirs) {
            return Ok(());
        }
        match (is(ours), our_rows, their_rows, content) {
            (true, _, false, Content::Own { .. } | Content::Opaque | Content::Foreign) => Ok(()),
            (same, _, _, Content::Foreign) => {
                if our_rows {
                    self.record_foreign_rows(name)?;
                }
                if same && our_rows {
                    self.record_virtual(object);
                }
                self.take_foreign_over(object)
            }
            (true, true, true, Content::Own { counted }) => {
                self.take_virtual_over(object)?;
                self.merge_virtual(object, counted)
            }
            (true, _, _, Content::Other) => {
                self.take_virtual_over(object)?;
                self.rebuild(object)
            }
            (true, true, true, Content::Opaque) => {
                self.record_virtual(object);
                self.take_virtual_over(object)
            }
            _ => self.take_virtual_over(object),
        }
    }

    /// Records the rows that ours added or changed in a virtual table that goes.
    pub(super) fn record_lost_virtual(&mut self, name: &str) -> EngineResult<()> {
        let Some(object) = self.ours.schema.relations.get(name) else { return Ok(()) };
        if is_foreign(object) {
            return self.record_foreign_rows(name);
        }
        let (base, Some(ours)) = (read(&self.base, object)?, read(&self.ours, object)?) else {
            return Ok(());
        };
        for (number, row) in &ours.rows {
            let before = base.as_ref().and_then(|base| base.find(number));
            if before.is_some_and(|before| same_row(before, row)) {
                continue;
            }
            self.records.push(Record {
                kind: "row".to_owned(),
                table: object.name.clone(),
                key: row_json(&["rowid".to_owned()], std::slice::from_ref(number)),
                base: before.map(|row| row_json(&ours.columns, row)),
                loser: Some(row_json(&ours.columns, row)),
                winner: None,
            });
        }
        Ok(())
    }

    fn take_virtual_over(&self, object: &Object) -> EngineResult<()> {
        let params = [hash_value(&self.theirs.commit), object.name.as_str().into()];
        self.connection.run("SELECT dolt_checkout(?, ?)", &params).during("take a table over")
    }

    fn rebuild(&self, object: &Object) -> EngineResult<()> {
        let name = quote(&object.name);
        let sql = format!("INSERT INTO {name} ({name}) VALUES ('rebuild')");
        self.connection.batch(&sql).during("rebuild an index")
    }

    fn record_virtual(&mut self, object: &Object) {
        let sql = Some(serde_json::json!({ "sql": object.sql }).to_string());
        self.records.push(Record {
            kind: "object".to_owned(),
            table: object.name.clone(),
            key: serde_json::json!({ "object": "table", "content": "as a whole" }).to_string(),
            base: None,
            loser: sql.clone(),
            winner: sql,
        });
    }

    /// Puts ours' changes onto theirs' rows, by statements on the virtual table.
    fn merge_virtual(&mut self, object: &Object, counted: bool) -> EngineResult<()> {
        let base = read(&self.base, object)?;
        let (Some(ours), Some(theirs)) = (read(&self.ours, object)?, read(&self.theirs, object)?)
        else {
            return Ok(());
        };
        let none = Rows { columns: ours.columns.clone(), rows: Vec::new() };
        let base = base.unwrap_or(none);
        let mut next = theirs.rows.last().map_or(1, |(number, _)| integer(number) + 1);
        let gone = base.rows.iter().filter(|(number, _)| ours.find(number).is_none());
        let changed = ours.rows.iter().map(|(number, row)| (number, Some(row.as_slice())));
        for (number, row) in changed.chain(gone.map(|(number, _)| (number, None))) {
            let before = base.find(number);
            if let (Some(before), Some(row)) = (before, row)
                && same_row(before, row)
            {
                continue;
            }
            let is_new = counted && before.is_none();
            let there = if is_new { None } else { theirs.find(number) };
            match merge_row(before, row, there) {
                RowMerge::Theirs => {}
                RowMerge::Remove => self.write_virtual(object, &ours.columns, number, None)?,
                RowMerge::Write(row) if is_new && theirs.find(number).is_some() => {
                    let number = Value::Integer(next);
                    next += 1;
                    self.write_virtual(object, &ours.columns, &number, Some(&row))?;
                }
                RowMerge::Write(row) => {
                    next = next.max(integer(number) + 1);
                    self.write_virtual(object, &ours.columns, number, Some(&row))?;
                }
                RowMerge::Conflict => {
                    let json = |row: Option<&[Value]>| row.map(|row| row_json(&ours.columns, row));
                    let key = row_json(&["rowid".to_owned()], std::slice::from_ref(number));
                    self.records.push(Record {
                        kind: "row".to_owned(),
                        table: object.name.clone(),
                        key,
                        base: json(before),
                        loser: json(row),
                        winner: json(there),
                    });
                }
            }
        }
        Ok(())
    }

    fn write_virtual(
        &self,
        object: &Object,
        columns: &[String],
        number: &Value,
        row: Option<&[Value]>,
    ) -> EngineResult<()> {
        let table = quote(&object.name);
        let sql = format!("DELETE FROM {table} WHERE rowid = ?");
        self.connection.run(&sql, std::slice::from_ref(number)).during("merge an index")?;
        let Some(row) = row else { return Ok(()) };
        let names: Vec<_> = columns.iter().map(|name| quote(name)).collect();
        let marks = vec!["?"; columns.len() + 1].join(", ");
        let sql = format!("INSERT INTO {table} (rowid, {}) VALUES ({marks})", names.join(", "));
        let values: Vec<_> = std::iter::once(number).chain(row).cloned().collect();
        self.connection.run(&sql, &values).during("merge an index")
    }
}

/// Reads all rows of a virtual table, in the order of their numbers.
fn read(side: &Side, object: &Object) -> EngineResult<Option<Rows>> {
    let name = fold_case(&object.name);
    if side.schema.relations.get(&name).is_none_or(|there| there.kind != Kind::Virtual) {
        return Ok(None);
    }
    let sql = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0";
    let rows = side.connection.rows(sql, &[object.name.as_str().into()]);
    let rows = rows.during("read a table's columns")?;
    let columns: Vec<_> = rows.iter().map(|row| text(row.first()).to_owned()).collect();
    let names: Vec<_> = columns.iter().map(|name| quote(name)).collect();
    let table = quote(&object.name);
    let sql = format!("SELECT rowid, {} FROM {table} ORDER BY rowid", names.join(", "));
    let rows = side.connection.rows(&sql, &[]).during("read an index")?;
    let split = |mut row: Vec<Value>| {
        let values = row.split_off(1);
        (row.remove(0), values)
    };
    Ok(Some(Rows { columns, rows: rows.into_iter().map(split).collect() }))
}

/// How the rows of a virtual table merge, by its module and its arguments.
fn content(object: &Object) -> Content {
    if is_foreign(object) {
        return Content::Foreign;
    }
    match object.module().as_deref() {
        Some("rtree") => Content::Own { counted: false },
        Some("fts5") => {
            let all = tokens(&object.sql);
            let argument = |name: &str| {
                let at = all
                    .windows(2)
                    .position(|pair| pair[0].is_word(name) && pair[1].is_mark("="))?;
                all.get(at + 2).map(|token| token.name())
            };
            match argument("content").as_deref() {
                None => Content::Own { counted: true },
                Some("''" | "") => Content::Opaque,
                Some(_) => Content::Other,
            }
        }
        _ => Content::Opaque,
    }
}
