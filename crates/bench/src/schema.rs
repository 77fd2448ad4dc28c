//! The one table that is written to.

/// Creates it.
pub(crate) const TABLE: &str = "CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT NOT NULL, place TEXT NOT NULL, \
     amount INTEGER NOT NULL)";

/// Inserts one row.
pub(crate) fn insert_row(id: i64, place: &str) -> String {
    format!("INSERT INTO part VALUES ({id}, 'part number {id}', '{place}', {})", id % 1_000)
}

/// Inserts rows with the ids from 1 to `rows`.
pub(crate) fn fill(rows: usize) -> String {
    format!(
        "WITH RECURSIVE seq (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < {rows}) \
         INSERT INTO part SELECT n, 'part number ' || n, 'shelf ' || (n % 97) || ' of hall ' || \
         (n % 7), n % 1000 FROM seq"
    )
}
