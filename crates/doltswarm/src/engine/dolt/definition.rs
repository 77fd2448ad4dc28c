//! Definitions of tables, read from what `SHOW CREATE TABLE` writes.
//!
//! The server writes every definition in one form: a part a line, names in backticks, the same
//! words for the same thing. So two parts mean the same when their texts are equal but for letter
//! case outside of quotes.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::id::CommitHash;

use super::session::{During, Link, quote, text};
use super::store::commit_text;
use super::table::Table;
use crate::engine::total::{Definition, Part};
use crate::engine::{EngineResult, Value};

/// What starts the value of the AUTO_INCREMENT counter behind the parentheses of a definition.
const COUNTER: &str = "AUTO_INCREMENT=";

/// Reads a table's definition as of a commit, or on the connection's branch; `None` if it is no
/// table there.
pub(super) fn read(
    link: &mut Link,
    name: &str,
    at: Option<&CommitHash>,
) -> EngineResult<Option<Created>> {
    let as_of = at.map_or_else(String::new, |at| format!(" AS OF '{}'", commit_text(at)));
    let sql = format!("SHOW CREATE TABLE {}{as_of}", quote(name));
    let rows = match link.rows(&sql, &[]) {
        Err(error) if error.is_no_table() => return Ok(None),
        rows => rows.during("read a table's definition")?,
    };
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Created::parse(text(row.first()), text(row.get(1))))
}

/// A table's definition and its counter.
#[derive(Debug, Clone)]
pub(super) struct Created {
    /// The table's name, in its own letter case.
    pub(super) name: String,
    /// What the table is.
    pub(super) definition: Definition,
    /// The definition as SQL, without the counter.
    pub(super) sql: String,
    /// The next AUTO_INCREMENT value; `None` if the table has no such column, or no row was ever
    /// inserted.
    pub(super) counter: Option<u64>,
}

impl Created {
    /// Reads a text of `SHOW CREATE TABLE`; `None` if it has another form than that.
    pub(super) fn parse(name: &str, text: &str) -> Option<Self> {
        let open = find_outside(text, '(')?;
        let body = text.get(open + 1..)?;
        let (parts, end) = split_parts(body)?;
        let (mut columns, mut constraints) = (Vec::new(), Vec::new());
        for part in parts {
            match part.strip_prefix('`') {
                Some(_) => columns.push(column(part)?),
                None => constraints.push(constraint(part)),
            }
        }
        let (options, counter) = options(body.get(end + 1..)?);
        let sql = format!("{}{options}", text.get(..open + end + 3)?);
        let options = Part { name: String::new(), meaning: meaning(&options), sql: options };
        let definition = Definition { columns, constraints, options };
        Some(Self { name: name.to_owned(), definition, sql, counter })
    }

    /// Whether a column's values are computed from others.
    pub(super) fn is_generated(part: &Part) -> bool {
        part.meaning.contains(" generated always as ")
    }

    /// Whether the table has a column with an AUTO_INCREMENT counter.
    pub(super) fn has_counter(&self) -> bool {
        self.definition.columns.iter().any(|part| part.meaning.contains(" auto_increment"))
    }

    /// Whether the table has columns whose values are computed from others.
    pub(super) fn has_generated(&self) -> bool {
        self.definition.columns.iter().any(Self::is_generated)
    }

    /// The columns that can be written, in order.
    ///
    /// *Measured* on Dolt 2.2.0: `SHOW COLUMNS` does not tell computed columns from others.
    pub(super) fn written_columns(&self) -> Vec<String> {
        let parts = self.definition.columns.iter().filter(|part| !Self::is_generated(part));
        parts.map(|part| part.name.clone()).collect()
    }

    /// The names of the primary key's columns.
    pub(super) fn key_columns(&self) -> Vec<String> {
        let mut parts = self.definition.constraints.iter();
        let part = parts.find(|part| is_primary(part));
        let columns = part.map(|part| indexed(&part.sql)).unwrap_or_default();
        columns.into_iter().map(|(name, _)| name).collect()
    }

    /// The columns that together may not repeat, with how many characters of each count.
    pub(super) fn unique_keys(&self) -> Vec<Vec<(String, Option<i64>)>> {
        let parts = self.definition.constraints.iter();
        let unique = parts.filter(|part| part.meaning.starts_with("unique key"));
        unique.map(|part| indexed(&part.sql)).collect()
    }

    /// The foreign keys: their names, and the tables that they refer to.
    pub(super) fn foreign_keys(&self) -> Vec<(String, String)> {
        let read = |part: &Part| {
            let (key, _) = named(part.sql.strip_prefix("CONSTRAINT ")?.trim_start())?;
            let behind = part.sql.find(" REFERENCES ")? + " REFERENCES ".len();
            Some((key, named(part.sql.get(behind..)?)?.0))
        };
        let parts = self.definition.constraints.iter();
        parts.filter(|part| part.meaning.starts_with("foreign key")).filter_map(read).collect()
    }

    /// The part that is the primary key.
    pub(super) fn primary_key(&self) -> Option<&str> {
        let mut parts = self.definition.constraints.iter();
        parts.find(|part| is_primary(part)).map(|part| part.meaning.as_str())
    }
}

/// Whether two definitions have the same primary key.
pub(super) fn same_key(one: &Definition, other: &Definition) -> bool {
    let key = |definition: &Definition| {
        let part = definition.constraints.iter().find(|part| is_primary(part));
        part.map(|part| part.meaning.clone())
    };
    key(one) == key(other)
}

fn is_primary(part: &Part) -> bool {
    part.meaning.starts_with("primary key")
}

/// The columns of an index, with how many characters of each count.
fn indexed(sql: &str) -> Vec<(String, Option<i64>)> {
    let Some(mut rest) = find_outside(sql, '(').and_then(|at| sql.get(at..)) else {
        return Vec::new();
    };
    let mut columns = Vec::new();
    while let Some((name, behind)) = rest.find('`').and_then(|at| rest.get(at..)).and_then(named) {
        let length = behind.strip_prefix('(').and_then(|text| text.split(')').next()?.parse().ok());
        columns.push((name, length));
        rest = behind;
    }
    columns
}

/// Where a sign stands for the first time outside of quotes.
fn find_outside(text: &str, sign: char) -> Option<usize> {
    let mut found = None;
    scan(text, &mut |at, c, _| {
        found = (c == sign).then_some(at);
        found.is_none()
    });
    found
}

/// Walks over a text and shows each sign outside of quotes, with how many parentheses are open
/// before it, for as long as `see` returns true.
fn scan(text: &str, see: &mut dyn FnMut(usize, char, usize) -> bool) {
    let (mut quoted, mut depth) = (None, 0_usize);
    let mut signs = text.char_indices();
    while let Some((at, c)) = signs.next() {
        match quoted {
            // A doubled quote ends the text and begins it again.
            Some(quote) if c == quote => quoted = None,
            Some(quote) => {
                if c == '\\' && quote != '`' {
                    signs.next();
                }
            }
            None => {
                if !see(at, c, depth) {
                    return;
                }
                match c {
                    '`' | '\'' | '"' => quoted = Some(c),
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
        }
    }
}

/// The parts of a definition, divided by commas, and where the closing parenthesis stands.
fn split_parts(body: &str) -> Option<(Vec<&str>, usize)> {
    let (mut cuts, mut end) = (Vec::new(), None);
    scan(body, &mut |at, c, depth| {
        match c {
            ',' if depth == 0 => cuts.push(at),
            ')' if depth == 0 => end = Some(at),
            _ => {}
        }
        end.is_none()
    });
    let end = end?;
    let (mut parts, mut from) = (Vec::new(), 0);
    for to in cuts.into_iter().chain([end]) {
        parts.push(body.get(from..to)?.trim());
        from = to + 1;
    }
    Some((parts, end))
}

/// A text in lower case and with single blanks, but for what is in quotes.
fn meaning(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut outside = vec![false; text.len()];
    scan(text, &mut |at, _, _| {
        outside[at] = true;
        true
    });
    for (at, c) in text.char_indices() {
        match outside.get(at) {
            Some(true) if c.is_whitespace() => {
                if !result.ends_with(' ') {
                    result.push(' ');
                }
            }
            Some(true) => result.extend(c.to_lowercase()),
            _ => result.push(c),
        }
    }
    result.trim().to_owned()
}

/// Divides a part into the name that it begins with and the rest.
fn named(part: &str) -> Option<(String, &str)> {
    let inner = part.strip_prefix('`')?;
    let mut signs = inner.char_indices().peekable();
    while let Some((at, c)) = signs.next() {
        if c == '`' && signs.next_if(|(_, next)| *next == '`').is_none() {
            return Some((inner.get(..at)?.replace("``", "`"), inner.get(at + 1..)?));
        }
    }
    None
}

fn column(part: &str) -> Option<Part> {
    let (name, rest) = named(part)?;
    let meaning = format!("{} {}", quote(&name.to_lowercase()), meaning(rest));
    Some(Part { name, meaning, sql: part.to_owned() })
}

/// The names of checks and foreign keys mean nothing: the server makes them up.
fn constraint(part: &str) -> Part {
    let unnamed = part.strip_prefix("CONSTRAINT ").and_then(|rest| named(rest.trim_start()));
    let meaning = meaning(unnamed.map_or(part, |(_, rest)| rest));
    Part { name: String::new(), meaning, sql: part.to_owned() }
}

/// The options without the counter, and the counter.
fn options(text: &str) -> (String, Option<u64>) {
    let text = text.trim();
    let Some(at) = text.find(COUNTER) else { return (text.to_owned(), None) };
    let behind = &text[at + COUNTER.len()..];
    let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    let rest = behind[digits..].trim_start();
    (format!("{}{rest}", &text[..at]), behind[..digits].parse().ok())
}

/// One step on the way from a definition to another: what stands behind `ALTER TABLE t`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The alteration.
    pub(super) sql: String,
    /// The rows that do not allow it.
    pub(super) breaking: Option<Breaking>,
}

/// Rows that break a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breaking {
    /// The word for the rule.
    pub(super) kind: &'static str,
    /// What stands behind `SELECT … FROM {t} AS x`; `{t}` is the table.
    condition: String,
    /// The columns that may not repeat: of the rows that have the same in them, the first stands.
    repeated: Vec<String>,
}

impl Breaking {
    /// The rows of a table, as SQL.
    pub(super) fn select(&self, columns: &[String], table: &str) -> String {
        let columns = columns.iter().map(|name| format!("x.{}", quote(name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {columns} FROM {{t}} AS x {}", self.condition);
        sql.replace("{t}", &quote(table))
    }

    /// Those of the rows that go.
    pub(super) fn losers(&self, table: &Table, mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
        rows.sort_by_cached_key(|row| table.key_json(row));
        rows.dedup();
        let mut seen = BTreeSet::new();
        let places = table.columns.iter().enumerate();
        let places = places.filter(|(_, name)| self.repeated.contains(name)).map(|(at, _)| at);
        let places: Vec<_> = places.collect();
        rows.retain(|row| {
            let values: Vec<_> = places.iter().map(|place| row.get(*place)).collect();
            self.repeated.is_empty() || !seen.insert(format!("{values:?}"))
        });
        rows
    }

    fn of_constraint(part: &Part) -> Option<Self> {
        if part.meaning.starts_with("unique key") || is_primary(part) {
            let side = |prefix: &str| -> Vec<String> {
                let column = |(name, length): &(String, Option<i64>)| match length {
                    Some(length) => format!("LEFT({prefix}{}, {length})", quote(name)),
                    None => format!("{prefix}{}", quote(name)),
                };
                indexed(&part.sql).iter().map(column).collect()
            };
            let own = side("");
            let named = own.iter().enumerate().map(|(place, sql)| format!("{sql} AS c{place}"));
            let named = named.collect::<Vec<_>>().join(", ");
            let same = side("x.").into_iter().enumerate();
            let same = same.map(|(place, sql)| format!("{sql} = d.c{place}"));
            let condition = format!(
                "JOIN (SELECT {named} FROM {{t}} GROUP BY {} HAVING COUNT(*) > 1) AS d ON {}",
                own.join(", "),
                same.collect::<Vec<_>>().join(" AND ")
            );
            let repeated = indexed(&part.sql).into_iter().map(|(name, _)| name).collect();
            return Some(Self { kind: "unique", condition, repeated });
        }
        let check = part.sql.find("CHECK ").and_then(|at| part.sql.get(at + "CHECK ".len()..))?;
        let is_check = part.meaning.starts_with("check ");
        let condition = format!("WHERE NOT {check}");
        is_check.then(|| Self { kind: "check", condition, repeated: Vec::new() })
    }

    fn of_column(part: &Part) -> Option<Self> {
        clause(&part.meaning, " not null")?;
        let condition = format!("WHERE x.{} IS NULL", quote(&part.name));
        Some(Self { kind: "not null", condition, repeated: Vec::new() })
    }
}

/// How a definition is made out of another one, a step at a time, in this order.
pub(super) fn alterations(from: &Definition, to: &Definition) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |sql: String, breaking| steps.push(Step { sql, breaking });
    let has = |parts: &[Part], part: &Part| parts.iter().any(|other| other == part);
    let dropped = from.constraints.iter().filter(|part| !has(&to.constraints, part)).rev();
    dropped.filter_map(drop_constraint).for_each(|sql| add(sql, None));
    let by_name = |parts: &[Part]| -> BTreeMap<String, Part> {
        parts.iter().map(|part| (part.name.to_lowercase(), part.clone())).collect()
    };
    let (before, after) = (by_name(&from.columns), by_name(&to.columns));
    for part in from.columns.iter().filter(|part| !after.contains_key(&part.name.to_lowercase())) {
        add(format!("DROP COLUMN {}", quote(&part.name)), None);
    }
    for part in &to.columns {
        match before.get(&part.name.to_lowercase()) {
            Some(old) if old == part => {}
            Some(old) => {
                let rest = part.sql.get(quoted_length(&part.sql)..).unwrap_or("");
                let names = format!("{} {}", quote(&old.name), quote(&part.name));
                add(format!("CHANGE COLUMN {names}{rest}"), Breaking::of_column(part));
            }
            None => add_column(part).into_iter().for_each(|sql| add(sql, None)),
        }
    }
    if from.options != to.options && !to.options.sql.is_empty() {
        add(to.options.sql.clone(), None);
    }
    for part in to.constraints.iter().filter(|part| !has(&from.constraints, part)) {
        add(format!("ADD {}", part.sql), Breaking::of_constraint(part));
    }
    steps
}

fn quoted_length(sql: &str) -> usize {
    named(sql).map_or(0, |(_, rest)| sql.len() - rest.len())
}

/// A default that is not a literal is never evaluated for the rows that are there: the column is
/// added with a fixed value, and gets its own definition afterwards.
fn add_column(part: &Part) -> Vec<String> {
    let Some(filler) = Filler::of(part) else { return vec![format!("ADD COLUMN {}", part.sql)] };
    let name = quote(&part.name);
    let kind = column_type(part);
    let plain = match filler {
        Filler::Null => format!("ADD COLUMN {name} {kind}"),
        Filler::Value(value) => format!("ADD COLUMN {name} {kind} NOT NULL DEFAULT {value}"),
    };
    vec![plain, format!("MODIFY COLUMN {}", part.sql)]
}

fn drop_constraint(part: &Part) -> Option<String> {
    let sql = part.sql.as_str();
    if is_primary(part) {
        return Some("DROP PRIMARY KEY".to_owned());
    }
    if let Some(rest) = sql.strip_prefix("CONSTRAINT ") {
        return named(rest.trim_start())
            .map(|(name, _)| format!("DROP CONSTRAINT {}", quote(&name)));
    }
    let name = sql.get(sql.find('`')?..).and_then(named)?.0;
    Some(format!("DROP INDEX {}", quote(&name)))
}

/// What stands in a column with a default that is not a literal, in rows of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filler {
    /// NULL.
    Null,
    /// A fixed value of the type, as SQL.
    Value(String),
}

impl Filler {
    /// What a column is filled with; `None` if its default is a literal, or there is none.
    pub(super) fn of(part: &Part) -> Option<Self> {
        let default = clause(&part.meaning, " default ")?;
        let is_literal = |first: char| first == '\'' || first == '-' || first.is_ascii_digit();
        let constant = ["null", "true", "false", "b'", "x'"];
        if default.starts_with(is_literal) || constant.iter().any(|word| default.starts_with(word))
        {
            return None;
        }
        match clause(&part.meaning, " not null") {
            None => Some(Self::Null),
            Some(_) => Some(Self::Value(fixed_value(&column_type(part)))),
        }
    }

    /// The value as SQL.
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Null => "NULL",
            Self::Value(sql) => sql,
        }
    }
}

/// What stands behind a word of a part, outside of quotes and parentheses.
fn clause<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut found = None;
    scan(text, &mut |at, c, depth| {
        if depth == 0 && c == ' ' && text.get(at..).is_some_and(|rest| rest.starts_with(word)) {
            found = text.get(at + word.len()..);
        }
        found.is_none()
    });
    found
}

/// The type of a column as SQL, with its character set and collation.
fn column_type(part: &Part) -> String {
    let rest = part.sql.get(quoted_length(&part.sql)..).unwrap_or("").trim_start();
    let ends = [
        " not null",
        " null",
        " default ",
        " auto_increment",
        " generated ",
        " comment ",
        " on update ",
        " srid ",
        " unique",
        " primary",
    ];
    let mut end = rest.len();
    scan(rest, &mut |at, c, depth| {
        let here = rest.get(at..).unwrap_or("").to_ascii_lowercase();
        if depth == 0 && c == ' ' && ends.iter().any(|word| here.starts_with(word)) {
            end = at;
        }
        end == rest.len()
    });
    rest.get(..end).unwrap_or(rest).to_owned()
}

/// A value that every row can have in a column that must not be NULL, whatever the clock says.
pub(super) fn fixed_value(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let word = kind.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
    match word {
        "date" => "'1970-01-01'",
        "datetime" => "'1970-01-01 00:00:00'",
        // The first moment of this type.
        "timestamp" => "'1970-01-01 00:00:01'",
        "time" => "'00:00:00'",
        "year" => "1970",
        "json" => "('null')",
        "enum" => return first_of_list(&kind),
        "char" | "varchar" | "binary" | "varbinary" | "set" => "''",
        "text" | "tinytext" | "mediumtext" | "longtext" | "blob" | "tinyblob" | "mediumblob"
        | "longblob" => "('')",
        _ => "0",
    }
    .to_owned()
}

/// The first value of an ENUM.
fn first_of_list(kind: &str) -> String {
    let list = kind.find('(').and_then(|at| kind.get(at + 1..)).unwrap_or("''");
    let mut end = list.len();
    scan(list, &mut |at, c, depth| {
        if depth == 0 && (c == ',' || c == ')') {
            end = at;
        }
        end == list.len()
    });
    list.get(..end).unwrap_or("''").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  \
        `a,b` varchar(20) COLLATE utf8mb4_bin DEFAULT 'x, (y''',\n  \
        `d` datetime NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,\n  \
        `g` int GENERATED ALWAYS AS ((`id` + 1)) STORED,\n  \
        `u` char(36) DEFAULT (uuid()),\n  \
        PRIMARY KEY (`id`),\n  UNIQUE KEY `k` (`a,b`(3)),\n  \
        CONSTRAINT `t_chk_x` CHECK ((`id` > 0))\n\
        ) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin";

    fn read(text: &str) -> Created {
        Created::parse("t", text).unwrap()
    }

    #[test]
    fn foreign_keys_name_their_tables() {
        let text = "CREATE TABLE `c` (\n  `p` int,\n  KEY `p` (`p`),\n  CONSTRAINT `c_ibfk_1` \
                    FOREIGN KEY (`p`) REFERENCES `the p` (`id`) ON DELETE CASCADE\n) ENGINE=InnoDB";
        let keys = [("c_ibfk_1".to_owned(), "the p".to_owned())];
        assert_eq!(read(text).foreign_keys(), keys);
    }

    #[test]
    fn a_definition_is_read_part_by_part() {
        let created = read(TABLE);
        let names: Vec<_> = created.definition.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["id", "a,b", "d", "g", "u"]);
        assert_eq!(created.definition.constraints.len(), 3);
        assert_eq!(created.counter, Some(7));
        assert_eq!(created.primary_key(), Some("primary key (`id`)"));
        assert!(created.has_counter() && created.has_generated());
        assert_eq!(created.written_columns(), ["id", "a,b", "d", "u"]);
        assert_eq!(created.key_columns(), ["id"]);
        assert_eq!(created.unique_keys(), [[("a,b".to_owned(), Some(3))]]);
        let options = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin";
        assert_eq!(created.definition.options.sql, options);
        assert_eq!(created.sql, TABLE.replace("AUTO_INCREMENT=7 ", ""));
        assert!(Created::parse("t", "CREATE VIEW `v` AS SELECT 1").is_none());
    }

    #[test]
    fn names_of_checks_and_the_counter_mean_nothing() {
        let other = TABLE.replace("t_chk_x", "t_chk_y").replace("=7", "=9");
        assert_eq!(read(TABLE).definition, read(&other).definition);
        assert_eq!(alterations(&read(TABLE).definition, &read(&other).definition), []);
        assert_ne!(read(TABLE).definition, read(&TABLE.replace("'x,", "'X,")).definition);
    }

    #[test]
    fn a_definition_becomes_another_by_steps() {
        let (from, to) = (read(TABLE).definition, {
            let text =
                TABLE.replace("  `a,b` varchar(20) COLLATE utf8mb4_bin DEFAULT 'x, (y''',\n", "");
            let text = text.replace("  UNIQUE KEY `k` (`a,b`(3)),\n", "");
            let text = text.replace("`id` int NOT NULL", "`id` bigint NOT NULL");
            read(&text.replace("((`id` > 0))", "((`id` > 1))")).definition
        });
        let sql = |steps: Vec<Step>| steps.into_iter().map(|step| step.sql).collect::<Vec<_>>();
        assert_eq!(
            sql(alterations(&from, &to)),
            [
                "DROP CONSTRAINT `t_chk_x`",
                "DROP INDEX `k`",
                "DROP COLUMN `a,b`",
                "CHANGE COLUMN `id` `id` bigint NOT NULL AUTO_INCREMENT",
                "ADD CONSTRAINT `t_chk_x` CHECK ((`id` > 1))",
            ]
        );
        let back = sql(alterations(&to, &from));
        assert!(back.contains(
            &"ADD COLUMN `a,b` varchar(20) COLLATE utf8mb4_bin DEFAULT 'x, (y'''".to_owned()
        ));
    }

    #[test]
    fn rows_that_break_a_new_rule_are_selected() {
        let parts = read(TABLE).definition;
        let select = |breaking: Option<Breaking>| breaking.unwrap().select(&["id".to_owned()], "t");
        assert_eq!(
            select(Breaking::of_constraint(&parts.constraints[1])),
            "SELECT x.`id` FROM `t` AS x JOIN (SELECT LEFT(`a,b`, 3) AS c0 FROM `t` \
             GROUP BY LEFT(`a,b`, 3) HAVING COUNT(*) > 1) AS d ON LEFT(x.`a,b`, 3) = d.c0"
        );
        let check = "SELECT x.`id` FROM `t` AS x WHERE NOT ((`id` > 0))";
        assert_eq!(select(Breaking::of_constraint(&parts.constraints[2])), check);
        let null = "SELECT x.`id` FROM `t` AS x WHERE x.`id` IS NULL";
        assert_eq!(select(Breaking::of_column(&parts.columns[0])), null);
        assert_eq!(Breaking::of_column(&parts.columns[1]), None);
    }

    #[test]
    fn a_computed_default_is_not_evaluated_for_others_rows() {
        let created = read(TABLE);
        let fillers: Vec<_> = created.definition.columns.iter().map(Filler::of).collect();
        let moment = Filler::Value("'1970-01-01 00:00:00'".to_owned());
        assert_eq!(fillers, [None, None, Some(moment), None, Some(Filler::Null)]);
        assert_eq!(
            add_column(&created.definition.columns[2])[0],
            "ADD COLUMN `d` datetime NOT NULL DEFAULT '1970-01-01 00:00:00'"
        );
        assert_eq!(fixed_value("enum('a,b','c')"), "'a,b'");
        assert_eq!(column_type(&created.definition.columns[1]), "varchar(20) COLLATE utf8mb4_bin");
    }
}
