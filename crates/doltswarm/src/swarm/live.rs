//! Live queries: the rows of a query, and how they change whenever main moves.

use std::collections::{BTreeMap, BTreeSet};

use doltswarm_core::limits::LIVE_QUERY_ROWS_MAX;

use super::{EventStream, QueryError, Swarm, SwarmEvent};
use crate::engine::{Rows, Value};

/// One row of a query, in the order of its columns.
pub type Row = Vec<Value>;

/// How the rows of a query changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryChange {
    /// The columns of `added` and of the newer rows, as in [`Rows::columns`].
    pub columns: Vec<String>,
    /// Rows that are new, in the order of the query.
    pub added: Vec<Row>,
    /// Rows that differ in other columns than the first, before and now, in the order of the query.
    pub changed: Vec<(Row, Row)>,
    /// Rows that are gone, in the order that the query had.
    pub removed: Vec<Row>,
}

impl QueryChange {
    /// Whether no row differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Compares two answers of one query as multisets of rows. A row that is gone and one that is
    /// new are a changed row if no others of these have the same value in the first column.
    fn between(before: &Rows, now: Rows) -> Self {
        let mut added = only_in(&now.rows, &before.rows);
        let mut removed = only_in(&before.rows, &now.rows);
        let mut changed = Vec::new();
        if before.columns == now.columns {
            let (olds, news) = (by_first_column(&removed), by_first_column(&added));
            let pairs = news.iter().filter_map(|(first, new)| match (&new[..], olds.get(first)) {
                ([new], Some(old)) if old.len() == 1 => Some((*new, old[0])),
                _ => None,
            });
            let mut pairs: Vec<(usize, usize)> = pairs.collect();
            pairs.sort_unstable();
            changed = pairs
                .iter()
                .map(|(new, old)| (removed[*old].clone(), added[*new].clone()))
                .collect();
            let (news, olds) = pairs.into_iter().unzip();
            added = without(added, &news);
            removed = without(removed, &olds);
        }
        Self { columns: now.columns, added, changed, removed }
    }
}

/// What stands for a value where values are compared: numbers of different kinds differ, and so do
/// texts and blobs of the same bytes.
fn form<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    serde_json::Value::from_iter(values.into_iter().map(Value::to_json)).to_string()
}

/// The rows of `rows` that `others` does not have, or has less often.
fn only_in(rows: &[Row], others: &[Row]) -> Vec<Row> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in others {
        *counts.entry(form(row)).or_default() += 1;
    }
    let is_new = |row: &&Row| match counts.get_mut(&form(*row)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    rows.iter().filter(is_new).cloned().collect()
}

/// Where the rows with each value in their first column stand.
fn by_first_column(rows: &[Row]) -> BTreeMap<String, Vec<usize>> {
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        places.entry(form(row.first())).or_default().push(place);
    }
    places
}

/// The rows but for those at these places.
fn without(rows: Vec<Row>, places: &BTreeSet<usize>) -> Vec<Row> {
    let rows = rows.into_iter().enumerate();
    rows.filter(|(place, _)| !places.contains(place)).map(|(_, row)| row).collect()
}

/// A query that is run again whenever main moves.
pub struct LiveQuery {
    swarm: Swarm,
    events: EventStream,
    sql: String,
    params: Vec<Value>,
    /// The newest answer.
    rows: Option<Rows>,
    /// Whether main has moved since.
    is_due: bool,
}

impl LiveQuery {
    /// Waits until the rows differ from those before, and says how; the first time all rows are
    /// new, also if there are none. Moves that come while the query runs are looked at together.
    /// `None` once the node is closed. Cancel-safe: what was not returned is seen the next time.
    ///
    /// # Errors
    ///
    /// As [`Swarm::query`], with [`LIVE_QUERY_ROWS_MAX`] rows; the call after an error waits for
    /// the next move of main.
    pub async fn next(&mut self) -> Result<Option<QueryChange>, QueryError> {
        loop {
            if !self.is_due && !self.main_moves().await {
                return Ok(None);
            }
            self.is_due = true;
            while self.events.try_next().is_some() {}
            let (sql, params) = (&self.sql, self.params.clone());
            let answer = self.swarm.query_up_to(LIVE_QUERY_ROWS_MAX, sql, params).await;
            self.is_due = false;
            let now = match answer {
                Ok(rows) => rows,
                Err(QueryError::Closed) => return Ok(None),
                Err(error) => return Err(error),
            };
            let is_first = self.rows.is_none();
            let before = self
                .rows
                .replace(now.clone())
                .unwrap_or_else(|| Rows { columns: now.columns.clone(), rows: Vec::new() });
            let change = QueryChange::between(&before, now);
            if is_first || !change.is_empty() {
                return Ok(Some(change));
            }
        }
    }

    /// Waits until tables have changed; false once the node is closed.
    async fn main_moves(&mut self) -> bool {
        while let Some(event) = self.events.next().await {
            if matches!(event, SwarmEvent::TablesChanged { .. } | SwarmEvent::Lagged { .. }) {
                return true;
            }
        }
        false
    }
}

impl Swarm {
    /// Runs one read-only statement now and whenever main moves, by a commit made here or by a
    /// pull. It costs one run of the query for each move.
    pub fn live_query(&self, sql: &str, params: Vec<Value>) -> LiveQuery {
        LiveQuery {
            // Before the first run, so that no move is missed.
            events: self.events(),
            swarm: self.clone(),
            sql: sql.to_owned(),
            params,
            rows: None,
            is_due: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[[i64; 2]]) -> Rows {
        let rows = rows.iter().map(|row| row.iter().map(|n| Value::Integer(*n)).collect());
        Rows { columns: vec!["a".into(), "b".into()], rows: rows.collect() }
    }

    fn change(before: &[[i64; 2]], now: &[[i64; 2]]) -> [Vec<Row>; 4] {
        let change = QueryChange::between(&rows(before), rows(now));
        let (olds, news) = change.changed.into_iter().unzip();
        [change.added, olds, news, change.removed]
    }

    fn expected(sides: [&[[i64; 2]]; 4]) -> [Vec<Row>; 4] {
        sides.map(|side| rows(side).rows)
    }

    #[test]
    fn rows_are_compared_as_multisets() {
        let none: &[[i64; 2]] = &[];
        for (before, now, sides) in [
            (&[[1, 1]][..], &[[1, 1]][..], [none; 4]),
            (&[[1, 1], [2, 2]], &[[2, 2], [1, 1]], [none; 4]),
            (&[[1, 1]], &[[1, 1], [1, 1]], [&[[1, 1]], none, none, none]),
            (&[[1, 1], [1, 1]], &[[1, 1]], [none, none, none, &[[1, 1]]]),
            (&[[1, 1]], &[[1, 2], [3, 3]], [&[[3, 3]], &[[1, 1]], &[[1, 2]], none]),
            // Two new rows with the same first column: which of them was it?
            (&[[1, 1]], &[[1, 2], [1, 3]], [&[[1, 2], [1, 3]], none, none, &[[1, 1]]]),
            (&[[1, 1]], none, [none, none, none, &[[1, 1]]]),
        ] {
            assert_eq!(change(before, now), expected(sides), "{before:?} {now:?}");
        }
    }

    #[test]
    fn rows_of_other_columns_are_all_new() {
        let mut now = rows(&[[1, 2]]);
        now.columns[1] = "c".into();
        let change = QueryChange::between(&rows(&[[1, 1]]), now);
        assert_eq!((change.added.len(), change.changed.len(), change.removed.len()), (1, 0, 1));
        assert_eq!(change.columns, ["a", "c"]);
    }

    #[test]
    fn values_of_different_kinds_differ() {
        let of = |value: Value| Rows { columns: vec!["a".into()], rows: vec![vec![value]] };
        for (before, now) in [
            (Value::Integer(1), Value::Real(1.0)),
            (Value::Text("61".into()), Value::Blob(b"a".to_vec())),
            (Value::Null, Value::Text(String::new())),
        ] {
            assert!(!QueryChange::between(&of(before), of(now)).is_empty());
        }
    }
}
