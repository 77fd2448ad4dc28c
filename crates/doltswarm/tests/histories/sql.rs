//! The model's schema, edits and contents in SQL.

use std::collections::BTreeMap;

use doltswarm::Value;
use doltswarm::engine::Reader;
use doltswarm_core::commit::EngineKind;
use doltswarm_core::sim::edit::Edit;
use doltswarm_core::sim::root::{
    CHECKED, CHILD, Column, Definition, Lost, PARENT, Root, Row, Shape, TABLES, Table, Version,
};

const ROWS_MAX: usize = 10_000;

/// The statements that make the founding commit's tables.
pub(crate) fn founding(kind: EngineKind) -> String {
    (0..TABLES).map(|table| create(table, kind) + ";").collect()
}

/// Columns that the model knows nothing of. Each statement gives `stamp` its value, so its default
/// is evaluated by a faulty merge only, and then no two peers agree. `pad` makes large rows.
fn unmodelled(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::DoltLite => {
            "stamp TEXT DEFAULT (hex(randomblob(8))), pad BLOB DEFAULT (zeroblob(20000))"
        }
        EngineKind::Dolt => {
            "stamp VARCHAR(40) DEFAULT (uuid()), pad LONGTEXT DEFAULT (repeat('x', 20000))"
        }
    }
}

fn create(table: u8, kind: EngineKind) -> String {
    let columns = match table {
        PARENT => "c0 INTEGER, c1 INTEGER UNIQUE",
        CHILD => "c0 INTEGER, c1 INTEGER, FOREIGN KEY (c1) REFERENCES t0 (id)",
        CHECKED => "c0 INTEGER, c1 INTEGER, CHECK (c0 <= c1)",
        _ => "c0 INTEGER, c1 INTEGER",
    };
    let unmodelled = unmodelled(kind);
    format!("CREATE TABLE t{table} (id INTEGER PRIMARY KEY, {unmodelled}, {columns})")
}

/// The statement that does what the edit does to a database with this content.
pub(crate) fn statement(
    root: &Root,
    edit: &Edit,
    kind: EngineKind,
    reader: &mut dyn Reader,
) -> String {
    match *edit {
        Edit::Set { table, key, column, value } => {
            if root.tables[&table].rows.contains_key(&key) {
                format!("UPDATE t{table} SET c{column} = {value} WHERE id = {key}")
            } else {
                format!("INSERT INTO t{table} (id, stamp, c{column}) VALUES ({key}, 's', {value})")
            }
        }
        Edit::Delete { table, key } => format!("DELETE FROM t{table} WHERE id = {key}"),
        Edit::AddColumn { table, column, kind } => {
            let type_name = if kind == 0 { "INTEGER" } else { "TEXT" };
            format!("ALTER TABLE t{table} ADD COLUMN c{column} {type_name}")
        }
        Edit::ToggleTable { table } if root.tables.contains_key(&table) => {
            format!("DROP TABLE t{table}")
        }
        Edit::ToggleTable { table } => create(table, kind),
        Edit::Schema(ref edit) => panic!("{edit:?}: histories have no such edits"),
        Edit::Resolve => {
            let open = root.first_open().expect("the model settles what is open").as_stored();
            let (id, ..) = conflicts(reader)
                .into_iter()
                .find(|(_, lost, resolved)| *lost == open && !resolved)
                .unwrap_or_else(|| panic!("the engine has not recorded {open:?}"));
            format!("UPDATE swarm_conflicts SET state = 'resolved' WHERE id = '{id}'")
        }
    }
}

/// Everything that is in the database at main.
pub(crate) fn read_root(reader: &mut dyn Reader, kind: EngineKind) -> Root {
    let mut root = Root::default();
    let names = match kind {
        EngineKind::DoltLite => "SELECT name FROM sqlite_schema WHERE type = 'table'",
        EngineKind::Dolt => "SHOW TABLES",
    };
    for row in rows(reader, names) {
        let name = text(&row[0]).to_owned();
        // The swarm's own table has another name.
        let Some(number) = name.strip_prefix('t').and_then(|number| number.parse().ok()) else {
            continue;
        };
        root.tables.insert(number, read_table(reader, kind, &name));
    }
    for (_, lost, resolved) in conflicts(reader) {
        *root.conflicts.entry(lost).or_insert(true) &= resolved;
    }
    root
}

fn read_table(reader: &mut dyn Reader, kind: EngineKind, name: &str) -> Table {
    let columns_of = match kind {
        EngineKind::DoltLite => format!("SELECT name, type FROM pragma_table_info('{name}')"),
        EngineKind::Dolt => format!("SHOW COLUMNS FROM {name}"),
    };
    let mut table = Table::default();
    let mut columns = Vec::new();
    for row in rows(reader, &columns_of) {
        let column = text(&row[0]).strip_prefix('c').map(|number| number.parse().unwrap());
        columns.push((text(&row[0]) == "id", column));
        let kind = u8::from(text(&row[1]).eq_ignore_ascii_case("text"));
        table.shape.columns.extend(column.map(|column| (column, Column::of(kind))));
    }
    for values in rows(reader, &format!("SELECT * FROM {name}")) {
        let (mut key, mut cells) = (None, Row::new());
        for (column, value) in columns.iter().zip(&values) {
            match column {
                (true, _) => key = small(value),
                (_, Some(column)) => cells.extend(small(value).map(|value| (*column, value))),
                (_, None) => {}
            }
        }
        table.rows.insert(key.expect("a row has a key"), cells);
    }
    table
}

/// The rows of `swarm_conflicts`: id, content, and whether it is resolved.
fn conflicts(reader: &mut dyn Reader) -> Vec<(String, Lost, bool)> {
    let sql =
        "SELECT id, kind, table_name, row_key, base, loser, winner, state FROM swarm_conflicts";
    let conflict = |row: Vec<Value>| {
        let kinds = ["row", "cell", "schema", "unique", "foreign key", "check"];
        let kind = kinds.into_iter().find(|kind| *kind == text(&row[1]));
        let key: serde_json::Value = serde_json::from_str(text(&row[3])).unwrap();
        let lost = Lost {
            kind: kind.unwrap_or_else(|| panic!("a conflict of the kind {:?}", row[1])),
            table: text(&row[2])[1..].parse().unwrap(),
            // A definition has none.
            key: key.get("id").map(|id| u8::try_from(id.as_u64().unwrap()).unwrap()),
            base: version(&row[4]),
            loser: version(&row[5]),
            winner: version(&row[6]),
            compared_with: None,
        };
        (text(&row[0]).to_owned(), lost, text(&row[7]) == "resolved")
    };
    rows(reader, sql).into_iter().map(conflict).collect()
}

fn version(value: &Value) -> Option<Version> {
    let Value::Text(text) = value else { return None };
    let cells: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    if let Some(sql) = cells.get("sql") {
        return Some(Version::Definition(Definition::Table(shape(sql.as_str().unwrap()))));
    }
    let cell = |(name, value): (String, serde_json::Value)| {
        let column = name.strip_prefix('c')?.parse().unwrap();
        let text = value.as_str().map(str::to_owned);
        let value = match value {
            serde_json::Value::Null => None,
            value => Some(text.unwrap_or_else(|| value.to_string()).parse().unwrap()),
        };
        Some((column, value))
    };
    Some(Version::Row(cells.into_iter().filter_map(cell).collect()))
}

/// The columns that a statement gives a table: `CREATE TABLE t3 (id …, c0 INTEGER, c1 INTEGER, c2
/// TEXT)`.
fn shape(sql: &str) -> Shape {
    let mut shape = Shape::default();
    for part in sql.split(['(', ',']) {
        let words = part.split([' ', '\n', ')', '"', '`']).filter(|word| !word.is_empty());
        let words: Vec<_> = words.collect();
        if let [name, kind, ..] = words[..]
            && let Some(number) = name.strip_prefix('c').and_then(|number| number.parse().ok())
        {
            let kind = u8::from(kind.eq_ignore_ascii_case("text"));
            shape.columns.insert(number, Column::of(kind));
        }
    }
    shape
}

fn rows(reader: &mut dyn Reader, sql: &str) -> Vec<Vec<Value>> {
    reader.query(sql, &[], ROWS_MAX).unwrap_or_else(|error| panic!("{sql}: {error}")).rows
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

fn small(value: &Value) -> Option<u8> {
    match value {
        Value::Null => None,
        Value::Integer(number) => Some(u8::try_from(*number).unwrap()),
        Value::Text(text) => Some(text.parse().unwrap()),
        other => panic!("{other:?} is no small number"),
    }
}
