//! What a database is at one commit in the model: tables with constraints, views and triggers, and
//! the book of conflicts.
//!
//! The founding commit makes four tables, so that a real engine can be given the same ones. Their
//! rules go by number:
//!
//! | table | rule |
//! |---|---|
//! | 0 | column 1 is unique |
//! | 1 | column 1 refers to a row of table 0 |
//! | 2 | column 0 is at most column 1 |
//! | 3 | none; it is dropped and made again |
//!
//! A value that is absent is NULL, and NULL breaks no rule. Tables, views and triggers share one
//! namespace, in which letter case makes no difference: a name is a number, and [`UPPER`] its case.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::CommitHash;

/// How many tables the founding commit makes.
pub const TABLES: u8 = 4;
/// The table whose column 1 is unique, and which table [`CHILD`] refers to.
pub const PARENT: u8 = 0;
/// The table whose column 1 refers to a row of [`PARENT`].
pub const CHILD: u8 = 1;
/// The table in which column 0 is at most column 1.
pub const CHECKED: u8 = 2;
/// The table without rules.
pub const PLAIN: u8 = 3;
/// The column that some table has a rule on.
const RULED: u8 = 1;

/// The bit that says that a name is written in capitals.
pub const UPPER: u8 = 0x80;
/// The type of columns that hold small values only.
pub const SMALL: u8 = 2;
/// What a column of the type [`SMALL`] holds is below this.
const SMALL_END: u8 = 50;

/// Returns a name without its letter case: what decides whether two names are one.
pub fn folded(name: u8) -> u8 {
    name & !UPPER
}

/// A row: values by column; a column that is absent is NULL.
pub type Row = BTreeMap<u8, u8>;

/// A row as the book of conflicts writes it: every column of its table, or those that are meant.
pub type Cells = BTreeMap<u8, Option<u8>>;

/// What a new row has in a column that nobody gave a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preset {
    /// This value.
    Literal(u8),
    /// What an expression gives, evaluated on the machine that inserts.
    Evaluated,
}

/// A column's definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// Its type.
    pub kind: u8,
    /// Its default; nothing is NULL.
    pub preset: Option<Preset>,
}

impl Column {
    /// A column without a default.
    pub fn of(kind: u8) -> Self {
        Self { kind, preset: None }
    }

    /// Whether the column can hold the value.
    pub(super) fn fits(self, value: u8) -> bool {
        self.kind != SMALL || value < SMALL_END
    }

    /// The default, if it is the same on every machine.
    pub(super) fn literal(self) -> Option<u8> {
        match self.preset {
            Some(Preset::Literal(value)) => Some(value),
            Some(Preset::Evaluated) | None => None,
        }
    }
}

/// A table's definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// The columns.
    pub columns: BTreeMap<u8, Column>,
    /// The columns in which no value comes twice, beside those that have that rule by number.
    pub unique: BTreeSet<u8>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its definition.
    pub shape: Shape,
    /// Rows by key.
    pub rows: BTreeMap<u8, Row>,
}

impl Table {
    /// A table with the columns 0 and 1, and nothing in it.
    pub(super) fn new() -> Self {
        let columns = [0, 1].map(|column| (column, Column::default())).into();
        Self { shape: Shape { columns, ..Shape::default() }, rows: BTreeMap::new() }
    }

    /// Writes a row out in full.
    pub(super) fn cells(&self, row: &Row) -> Cells {
        self.shape.columns.keys().map(|column| (*column, row.get(column).copied())).collect()
    }

    /// Whether every value is in a column that can hold it.
    fn is_well_typed(&self) -> bool {
        let columns = &self.shape.columns;
        let fits = |(column, value): (&u8, &u8)| {
            columns.get(column).is_some_and(|definition| definition.fits(*value))
        };
        self.rows.values().flatten().all(fits)
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A view, which shows one column.
    View,
    /// A trigger, which uses one column of what it is on, and goes with it.
    Trigger,
}

/// A view or a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The table or view that it is on; the name without its letter case.
    pub target: u8,
    /// The column that it uses.
    pub column: u8,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Definition {
    /// A table.
    Table(Shape),
    /// A view or a trigger.
    Object(Object),
}

/// A version of something, as the book of conflicts writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Of a row, or of some of its cells.
    Row(Cells),
    /// Of a definition.
    Definition(Definition),
}

/// A version that lost, as `swarm_conflicts` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// `row`, `cell`, `schema`, `object`, or the rule that was broken.
    pub kind: &'static str,
    /// The table or object; the name without its letter case.
    pub table: u8,
    /// The row's key; nothing for a definition.
    pub key: Option<u8>,
    /// The version both sides started from.
    pub base: Option<Version>,
    /// The version that lost; nothing if it was a deletion.
    pub loser: Option<Version>,
    /// The version that stands; nothing if it is a deletion.
    pub winner: Option<Version>,
    /// The commit that the merge compared its two sides with. It tells a later dispute over the
    /// same values from this one. Nothing if the engine's records have no such thing.
    pub compared_with: Option<CommitHash>,
}

impl Lost {
    /// The record as the engines store it: without what was compared with, which only its id tells,
    /// and if there are a loser and a winner, only with the columns in which versions differ.
    pub fn as_stored(&self) -> Self {
        let mut lost = Self { compared_with: None, ..self.clone() };
        let (Some(Version::Row(loser)), Some(Version::Row(winner))) = (&self.loser, &self.winner)
        else {
            return lost;
        };
        let base = match &self.base {
            Some(Version::Row(base)) => Some(base),
            _ => None,
        };
        let differs = |column: &u8| {
            let [loser, winner] = [loser.get(column), winner.get(column)];
            loser != winner || base.is_some_and(|base| base.get(column) != winner)
        };
        let keep: Vec<u8> =
            loser.keys().chain(winner.keys()).copied().filter(|column| differs(column)).collect();
        if keep.is_empty() {
            return lost;
        }
        for version in [&mut lost.base, &mut lost.loser, &mut lost.winner] {
            if let Some(Version::Row(cells)) = version {
                cells.retain(|column, _| keep.contains(column));
            }
        }
        lost
    }
}

/// The whole database at one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    /// The tables.
    pub tables: BTreeMap<u8, Table>,
    /// The views and triggers.
    pub objects: BTreeMap<u8, Object>,
    /// The rows of `swarm_conflicts`, named by their content; true if a person has resolved it.
    pub conflicts: BTreeMap<Lost, bool>,
}

impl Root {
    /// The database as a real engine shows it: see [`Lost`] for what its records leave out. Of
    /// records that look alike then, one is shown, open if any is.
    pub fn as_stored(&self) -> Self {
        let mut conflicts = BTreeMap::new();
        for (lost, resolved) in &self.conflicts {
            *conflicts.entry(lost.as_stored()).or_insert(true) &= *resolved;
        }
        Self { conflicts, ..self.clone() }
    }

    /// The database of a founding commit: empty tables.
    pub fn founding() -> Self {
        let tables = (0..TABLES).map(|table| (table, Table::new())).collect();
        Self { tables, ..Self::default() }
    }

    /// The first open conflict, which is what [`Edit::Resolve`](super::edit::Edit::Resolve)
    /// resolves.
    pub fn first_open(&self) -> Option<&Lost> {
        self.conflicts.iter().find(|(_, resolved)| !**resolved).map(|(lost, _)| lost)
    }

    /// The table with this name, in whatever letter case.
    pub fn table(&self, name: u8) -> Option<&Table> {
        self.tables.get(&folded(name)).or_else(|| self.tables.get(&(name | UPPER)))
    }

    pub(super) fn table_mut(&mut self, name: u8) -> Option<&mut Table> {
        let spelled =
            if self.tables.contains_key(&folded(name)) { folded(name) } else { name | UPPER };
        self.tables.get_mut(&spelled)
    }

    /// The view or trigger with this name, in whatever letter case.
    pub(super) fn object(&self, name: u8) -> Option<&Object> {
        self.objects.get(&folded(name)).or_else(|| self.objects.get(&(name | UPPER)))
    }

    /// What a name stands for, in whatever letter case.
    pub(super) fn definition(&self, name: u8) -> Option<Definition> {
        let table = self.table(name).map(|table| Definition::Table(table.shape.clone()));
        table.or_else(|| self.object(name).copied().map(Definition::Object))
    }

    /// All names, each as it is written.
    pub(super) fn names(&self) -> impl Iterator<Item = u8> + '_ {
        self.tables.keys().chain(self.objects.keys()).copied()
    }

    /// The rows that break a rule, by table and key, and which: of several the first by name.
    pub fn violations(&self) -> BTreeMap<(u8, u8), &'static str> {
        let mut found: BTreeMap<(u8, u8), &'static str> = BTreeMap::new();
        let mut break_rule = |place, rule: &'static str| {
            let known = found.entry(place).or_insert(rule);
            *known = rule.min(*known);
        };
        for name in self.tables.keys().map(|name| folded(*name)) {
            for column in self.unique(name) {
                let mut seen: BTreeMap<u8, u8> = BTreeMap::new();
                for (key, row) in self.rows(name) {
                    let Some(value) = row.get(&column) else { continue };
                    if let Some(other) = seen.insert(*value, *key) {
                        break_rule((name, other), "unique");
                        break_rule((name, *key), "unique");
                    }
                }
            }
        }
        let parents: BTreeSet<u8> = self.rows(PARENT).map(|(key, _)| *key).collect();
        for (key, row) in self.rows(CHILD) {
            if row.get(&RULED).is_some_and(|parent| !parents.contains(parent)) {
                break_rule((CHILD, *key), "foreign key");
            }
        }
        for (key, row) in self.rows(CHECKED) {
            if let (Some(low), Some(high)) = (row.get(&0), row.get(&1))
                && low > high
            {
                break_rule((CHECKED, *key), "check");
            }
        }
        found
    }

    /// The columns of a table in which no value comes twice.
    fn unique(&self, name: u8) -> BTreeSet<u8> {
        let unique = self.table(name).into_iter().flat_map(|table| &table.shape.unique).copied();
        unique.chain((name == PARENT).then_some(RULED)).collect()
    }

    fn rows(&self, name: u8) -> impl Iterator<Item = (&u8, &Row)> {
        self.table(name).into_iter().flat_map(|table| &table.rows)
    }

    /// The other rows of a table that `row` cannot stand beside.
    pub(super) fn colliders(&self, name: u8, row: &Row) -> Vec<u8> {
        let unique = self.unique(name);
        let shared = |other: &Row| {
            let same =
                |column| row.get(column).is_some_and(|value| other.get(column) == Some(value));
            unique.iter().any(same)
        };
        self.rows(name).filter(|(_, other)| shared(other)).map(|(key, _)| *key).collect()
    }

    /// The views and triggers that cannot work: what they use is not there.
    pub(super) fn broken(&self) -> Vec<u8> {
        let works = |object: &Object| {
            // A view may be on a view; as many steps as there are objects lead round a circle.
            let mut at = *object;
            for _ in 0..=self.objects.len() {
                if let Some(table) = self.table(at.target) {
                    return table.shape.columns.contains_key(&at.column);
                }
                match self.object(at.target) {
                    Some(below) if below.kind == ObjectKind::View && below.column == at.column => {
                        at = *below;
                    }
                    _ => return false,
                }
            }
            false
        };
        let broken = self.objects.iter().filter(|(_, object)| !works(object));
        broken.map(|(name, _)| *name).collect()
    }

    /// Says why no engine could hold this database, if so.
    pub(super) fn fault(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.names().find(|name| !names.insert(folded(*name))) {
            return Some(format!("the name {} comes twice", folded(twice)));
        }
        if let Some(name) = self.broken().first() {
            return Some(format!("object {name:#x} cannot work: {:?}", self.objects[name]));
        }
        if let Some((name, table)) = self.tables.iter().find(|(_, table)| !table.is_well_typed()) {
            return Some(format!("table {name:#x} holds what does not fit: {table:?}"));
        }
        let violations = self.violations();
        (!violations.is_empty()).then(|| format!("rows break rules: {violations:?}"))
    }

    /// Feeds the whole content to a hash.
    pub(super) fn digest(&self, hasher: &mut blake3::Hasher) {
        let mut bytes = Vec::new();
        for (name, table) in &self.tables {
            bytes.extend([0xf0, *name]);
            digest_shape(&table.shape, &mut bytes);
            for (key, row) in &table.rows {
                bytes.extend([0xf1, *key]);
                bytes.extend(row.iter().flat_map(|(column, value)| [*column, *value]));
            }
        }
        for (name, object) in &self.objects {
            bytes.extend([0xf4, *name]);
            digest_object(object, &mut bytes);
        }
        for (lost, resolved) in &self.conflicts {
            bytes.extend([0xf2, u8::from(*resolved), lost.table]);
            bytes.extend(lost.key.map_or([0, 0], |key| [1, key]));
            bytes.extend(lost.kind.as_bytes());
            bytes.extend(lost.compared_with.iter().flat_map(|commit| commit.as_bytes()));
            for version in [&lost.base, &lost.loser, &lost.winner] {
                bytes.push(0xf3);
                match version {
                    None => {}
                    Some(Version::Row(cells)) => {
                        bytes.extend(cells.iter().flat_map(|(column, value)| match value {
                            Some(value) => [*column, 1, *value],
                            None => [*column, 0, 0],
                        }));
                    }
                    Some(Version::Definition(Definition::Table(shape))) => {
                        bytes.push(0xf5);
                        digest_shape(shape, &mut bytes);
                    }
                    Some(Version::Definition(Definition::Object(object))) => {
                        bytes.push(0xf6);
                        digest_object(object, &mut bytes);
                    }
                }
            }
        }
        hasher.update(&bytes);
    }
}

fn digest_shape(shape: &Shape, bytes: &mut Vec<u8>) {
    for (number, column) in &shape.columns {
        let preset = match column.preset {
            None => [0, 0],
            Some(Preset::Literal(value)) => [1, value],
            Some(Preset::Evaluated) => [2, 0],
        };
        bytes.extend([*number, column.kind, preset[0], preset[1]]);
    }
    bytes.push(0xf7);
    bytes.extend(&shape.unique);
}

fn digest_object(object: &Object, bytes: &mut Vec<u8>) {
    bytes.extend([u8::from(object.kind == ObjectKind::View), object.target, object.column]);
}
