//! The schema of one commit: its objects by name.
//!
//! SQLite compares names without case, and has two namespaces: one of tables, views and indexes,
//! one of triggers. So do the maps here.

use std::collections::BTreeMap;

use super::super::connection::{During, text};
use super::super::ffi::Connection;
use super::super::record;
use super::create_table;
use super::tokens::{meaning, tokens};
use crate::engine::EngineResult;
use crate::engine::total::Definition;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A table with rows of its own.
    Table,
    /// A virtual table; its rows are in shadow tables.
    Virtual,
    /// A view.
    View,
    /// An index that a statement created.
    Index,
    /// A trigger.
    Trigger,
}

impl Kind {
    /// The word that SQL has for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Table | Self::Virtual => "table",
            Self::View => "view",
            Self::Index => "index",
            Self::Trigger => "trigger",
        }
    }
}

/// One object of a schema.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// What it is.
    pub(super) kind: Kind,
    /// Its name as written.
    pub(super) name: String,
    /// The table or view that an index or a trigger belongs to, in lower case.
    pub(super) on: String,
    /// The statement that creates it.
    pub(super) sql: String,
    /// The definition of a table.
    pub(super) definition: Option<Definition>,
    meaning: String,
}

/// Two objects are equal when they mean the same, however they are written.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.definition, &other.definition) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.meaning == other.meaning,
        };
        self.kind == other.kind && self.on == other.on && same
    }
}

impl Object {
    /// An object as a statement creates it.
    pub(super) fn new(kind: Kind, name: &str, on: &str, sql: &str) -> Self {
        let all = tokens(sql);
        // Between the kind and what follows it may say IF NOT EXISTS; the engine keeps only the
        // rest.
        let meaning = meaning(&all);
        let definition = (kind == Kind::Table).then(|| create_table::parse(sql)).flatten();
        let (name, on, sql) = (name.to_owned(), fold_case(on), sql.to_owned());
        Self { kind, name, on, sql, definition, meaning }
    }

    /// Whether it is an index that keeps values from being there twice.
    pub(super) fn is_unique_index(&self) -> bool {
        self.kind == Kind::Index && tokens(&self.sql).get(1).is_some_and(|t| t.is_word("unique"))
    }

    /// The module of a virtual table, in lower case.
    pub(super) fn module(&self) -> Option<String> {
        let all = tokens(&self.sql);
        let using = all.iter().position(|token| token.is_word("using"))?;
        (self.kind == Kind::Virtual).then(|| Some(fold_case(&all.get(using + 1)?.name())))?
    }
}

/// The objects of one commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    /// Tables, virtual tables, views and indexes, by name in lower case.
    pub(super) relations: BTreeMap<String, Object>,
    /// Triggers, by name in lower case.
    pub(super) triggers: BTreeMap<String, Object>,
    /// The tables that hold the rows of virtual tables, with the virtual table's name; both in
    /// lower case.
    pub(super) shadows: BTreeMap<String, String>,
}

/// A name as SQLite compares it.
pub(in super::super) fn fold_case(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Endings of the names of shadow tables, for modules that are well known. Of other modules any
/// table whose name begins with the virtual table's counts as one.
const SHADOWS: [(&str, &[&str]); 4] = [
    ("fts5", &["data", "idx", "content", "docsize", "config"]),
    ("rtree", &["node", "rowid", "parent"]),
    // This engine has not these, but others that write to its files.
    ("fts3", &["content", "segments", "segdir", "docsize", "stat"]),
    ("fts4", &["content", "segments", "segdir", "docsize", "stat"]),
];

impl Schema {
    /// Reads the schema that a connection sees. Tables that the engine or the swarm keeps for
    /// itself are left out.
    pub(super) fn read(connection: &Connection) -> EngineResult<Self> {
        let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL";
        let rows = connection.rows(sql, &[]).during("read the schema")?;
        let mut schema = Self::default();
        for row in rows {
            let [kind, name, on, sql] = [0, 1, 2, 3].map(|column| text(row.get(column)));
            if is_reserved(name) || is_reserved(on) {
                continue;
            }
            let kind = match kind {
                "view" => Kind::View,
                "index" => Kind::Index,
                "trigger" => Kind::Trigger,
                _ if tokens(sql).get(1).is_some_and(|token| token.is_word("virtual")) => {
                    Kind::Virtual
                }
                _ => Kind::Table,
            };
            let object = Object::new(kind, name, on, sql);
            let objects =
                if kind == Kind::Trigger { &mut schema.triggers } else { &mut schema.relations };
            objects.insert(fold_case(name), object);
        }
        schema.set_shadows_apart();
        Ok(schema)
    }

    fn set_shadows_apart(&mut self) {
        let virtuals = self.relations.iter().filter(|(_, object)| object.kind == Kind::Virtual);
        let mut shadows = BTreeMap::new();
        for (owner, object) in virtuals {
            let module = object.module().unwrap_or_default();
            let known = SHADOWS.iter().find(|(name, _)| *name == module).map(|(_, ends)| *ends);
            for (name, other) in &self.relations {
                let end = name.strip_prefix(owner.as_str()).and_then(|end| end.strip_prefix('_'));
                let is_shadow = match (end, known) {
                    (Some(end), Some(ends)) => ends.contains(&end),
                    (Some(_), None) => other.kind == Kind::Table,
                    (None, _) => false,
                };
                if is_shadow {
                    shadows.insert(name.clone(), owner.clone());
                }
            }
        }
        self.relations.retain(|name, object| {
            !shadows.contains_key(name) && !shadows.contains_key(&object.on)
        });
        self.shadows = shadows;
    }

    /// A table by its name in lower case.
    pub(super) fn table(&self, name: &str) -> Option<&Object> {
        self.relations.get(name).filter(|object| object.kind == Kind::Table)
    }

    /// The indexes of a table.
    pub(super) fn indexes(&self, table: &str) -> impl Iterator<Item = &Object> {
        self.relations
            .values()
            .filter(move |object| object.kind == Kind::Index && object.on == table)
    }
}

/// Whether a table is the engine's or the swarm's own.
fn is_reserved(name: &str) -> bool {
    let name = fold_case(name);
    name.starts_with("sqlite_") || name == record::TABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_unique_indexes_are_seen() {
        let table =
            Object::new(Kind::Virtual, "d", "d", "CREATE VIRTUAL TABLE d USING \"FTS5\"(x)");
        assert_eq!(table.module().as_deref(), Some("fts5"));
        let index = Object::new(Kind::Index, "i", "T", "CREATE UNIQUE INDEX i ON T(a)");
        assert!(index.is_unique_index() && index.on == "t");
        assert!(!Object::new(Kind::Index, "i", "t", "CREATE INDEX i ON t(a)").is_unique_index());
    }

    #[test]
    fn views_compare_by_meaning() {
        let [a, b] = ["CREATE VIEW v AS SELECT 1", "CREATE  VIEW V as select 1"]
            .map(|sql| Object::new(Kind::View, "v", "v", sql));
        assert_eq!(a, b);
    }
}
