//! Objects that are no tables: dropping what goes, making indexes, views and triggers.

use std::collections::BTreeMap;

use super::DefinitionMerge;
use super::foreign_modules::is_foreign;
use super::plan::Plan;
use super::schema::{Kind, Object, Schema};
use super::tokens::tokens;
use crate::engine::doltlite::check::is_lack;
use crate::engine::doltlite::connection::{During, quote, text};
use crate::engine::doltlite::record::Record;
use crate::engine::doltlite::table::Table;
use crate::engine::{EngineResult, Value};

impl DefinitionMerge<'_> {
    /// Drops all views and triggers, which come back at the end, and tables and indexes that go.
    pub(super) fn drop_what_goes(&self, plan: &Plan) -> EngineResult<()> {
        let now = Schema::read(self.connection)?;
        for trigger in now.triggers.values() {
            self.drop(trigger)?;
        }
        let stands = |name: &String, object: &Object| {
            plan.relations.get(name).is_some_and(|stands| stands.kind == object.kind)
        };
        for (name, object) in &now.relations {
            let goes = match object.kind {
                Kind::View => true,
                Kind::Index => {
                    plan.relations.get(name).is_none_or(|stands| stands.sql != object.sql)
                }
                _ => !stands(name, object),
            };
            if goes {
                self.drop(object)?;
            }
        }
        Ok(())
    }

    fn drop(&self, object: &Object) -> EngineResult<()> {
        if is_foreign(object) {
            return self.drop_foreign(&object.name);
        }
        let sql = format!("DROP {} IF EXISTS {}", object.kind.word(), quote(&object.name));
        self.connection.batch(&sql).during("drop an object")
    }

    /// Makes the indexes what stands.
    pub(super) fn make_indexes(&mut self, plan: &Plan) -> EngineResult<()> {
        let now = Schema::read(self.connection)?;
        let is_index = |object: &&Object| object.kind == Kind::Index;
        for (name, object) in &now.relations {
            let stands = plan.relations.get(name).is_some_and(|stands| stands.sql == object.sql);
            if object.kind == Kind::Index && !stands {
                self.drop(object)?;
            }
        }
        for object in plan.relations.values().filter(is_index) {
            let there = now.relations.get(&super::schema::fold_case(&object.name));
            if there.is_some_and(|there| there.sql == object.sql) {
                continue;
            }
            self.make(object)?;
        }
        Ok(())
    }

    /// Makes an object, or records it when it cannot work any more. Returns whether it was made.
    fn make(&mut self, object: &Object) -> EngineResult<bool> {
        match self.connection.batch(&object.sql) {
            Ok(()) => Ok(true),
            Err(error) if error.is_rejection() => {
                self.record_object(object);
                Ok(false)
            }
            Err(error) => Err(error.during("make an object")),
        }
    }

    /// Records an object that cannot work any more.
    fn record_object(&mut self, object: &Object) {
        let word = object.kind.word();
        self.records.push(Record::unusable(word, &object.name, &object.sql));
    }

    /// Makes the views and triggers that stand. One that cannot be prepared goes, and is recorded:
    /// else no statement that meets it could run any more.
    pub(super) fn make_views_and_triggers(&mut self, plan: &Plan) -> EngineResult<()> {
        let views = plan.relations.iter().filter(|(_, object)| object.kind == Kind::View);
        let mut views: BTreeMap<_, _> = views.collect();
        for object in views.values() {
            self.make(object)?;
        }
        // A view may need another one that goes.
        loop {
            let broken = |object: &Object| {
                let sql = format!("SELECT * FROM main.{}", quote(&object.name));
                self.connection.prepares(&sql).is_err_and(|error| !is_lack(&error))
            };
            let gone: Vec<_> =
                views.iter().filter(|(_, object)| broken(object)).map(|(name, _)| *name).collect();
            if gone.is_empty() {
                break;
            }
            for name in gone {
                if let Some(object) = views.remove(name) {
                    self.drop(object)?;
                    self.record_object(object);
                }
            }
        }
        self.connection.enable_triggers(true);
        let made = plan.triggers.values().try_for_each(|object| self.make_trigger(object));
        self.connection.enable_triggers(false);
        made
    }

    fn make_trigger(&mut self, object: &Object) -> EngineResult<()> {
        if !self.make(object)? {
            return Ok(());
        }
        let Some(sql) = self.firing(object)? else { return Ok(()) };
        if self.connection.prepares(&sql).is_err_and(|error| !is_lack(&error)) {
            self.drop(object)?;
            self.record_object(object);
        }
        Ok(())
    }

    /// A statement that fires a trigger.
    fn firing(&self, object: &Object) -> EngineResult<Option<String>> {
        let sql = "SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name = ?";
        let rows = self.connection.rows(sql, &[object.name.as_str().into()]);
        let rows = rows.during("read a trigger")?;
        let on = text(rows.first().and_then(|row| row.first())).to_owned();
        let Some(table) = Table::load(self.connection, &on)? else { return Ok(None) };
        let event = tokens(&object.sql).into_iter().skip(3).find_map(|token| {
            ["insert", "update", "delete"].into_iter().find(|event| token.is_word(event))
        });
        let target = format!("main.{}", quote(&on));
        let sets: Vec<_> =
            table.columns.iter().map(|name| format!("{0} = {0}", quote(name))).collect();
        Ok(match event {
            Some("insert") => Some(format!("INSERT INTO {target} DEFAULT VALUES")),
            Some("update") => Some(format!("UPDATE {target} SET {}", sets.join(", "))),
            Some("delete") => Some(format!("DELETE FROM {target}")),
            _ => None,
        })
    }

    /// Makes the counters of AUTOINCREMENT the greater ones of both sides. The rows get fixed
    /// numbers: the engine's own choice is not the same everywhere.
    pub(super) fn merge_sequences(&self) -> EngineResult<()> {
        let mut counters: BTreeMap<String, i64> = BTreeMap::new();
        for connection in [&self.ours.connection, &self.theirs.connection, self.connection] {
            let sql = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
            if connection.rows(sql, &[]).during("read the counters")?.is_empty() {
                continue;
            }
            let sql = "SELECT name, seq FROM sqlite_sequence";
            for row in connection.rows(sql, &[]).during("read the counters")? {
                if let (name, Some(Value::Integer(next))) = (text(row.first()), row.get(1)) {
                    let counter = counters.entry(name.to_owned()).or_insert(*next);
                    *counter = (*counter).max(*next);
                }
            }
        }
        let sql = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
        if self.connection.rows(sql, &[]).during("read the counters")?.is_empty() {
            return Ok(());
        }
        self.connection.batch("DELETE FROM sqlite_sequence").during("set the counters")?;
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";
        let mut number = 0_i64;
        for (name, next) in counters {
            let there = self.connection.rows(sql, &[name.as_str().into()]);
            if there.during("read the counters")?.is_empty() {
                continue;
            }
            number += 1;
            let sql = "INSERT INTO sqlite_sequence (rowid, name, seq) VALUES (?, ?, ?)";
            let params = [number.into(), name.into(), next.into()];
            self.connection.run(sql, &params).during("set the counters")?;
        }
        Ok(())
    }
}
