//! The one table that is written to, in SQL that both engines read.

/// Creates it.
pub(crate) const TABLE: &str = "CREATE TABLE part (id INTEGER PRIMARY KEY, name VARCHAR(60) NOT NULL, \
     place VARCHAR(60) NOT NULL, amount INTEGER NOT NULL)";

/// A table of the ten digits.
const DIGITS: &str = "SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL \
     SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL \
     SELECT 9";

/// Inserts one row.
pub(crate) fn insert_row(id: i64, place: &str) -> String {
    format!("INSERT INTO part VALUES ({id}, 'part number {id}', '{place}', {})", id % 1_000)
}

/// Inserts rows with the ids from 1 to `rows`.
pub(crate) fn fill(rows: usize) -> String {
    // A join of one table of digits for each digit of the largest number: Dolt cuts recursion off.
    let digits = rows.saturating_sub(1).max(1).ilog10() + 1;
    let number: Vec<String> = (0..digits).map(|i| format!("{} * t{i}.d", 10_u64.pow(i))).collect();
    // The highest digit comes first, so that rows are inserted in the order of their ids.
    let tables: Vec<String> = (0..digits).rev().map(|i| format!("({DIGITS}) AS t{i}")).collect();
    format!(
        "INSERT INTO part SELECT n, concat('part number ', n), concat('shelf ', n % 97, ' of hall ', \
         n % 7), n % 1000 FROM (SELECT 1 + {} AS n FROM {}) AS seq WHERE n <= {rows}",
        number.join(" + "),
        tables.join(" CROSS JOIN "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_filled_in_as_asked_for() {
        for rows in [1, 9, 10, 11, 1_000, 1_234] {
            let connection = doltlite::Connection::open_in_memory().unwrap();
            connection.execute_batch(TABLE).unwrap();
            connection.execute_batch(&fill(rows)).unwrap();
            let sql = "SELECT count(*), min(id), max(id) FROM part";
            let found = connection.query(sql, &[]).unwrap();
            let found: Vec<_> = (0..3).map(|i| found[0].get(i).cloned().unwrap()).collect();
            let rows = i64::try_from(rows).unwrap();
            assert_eq!(found, [rows.into(), 1.into(), rows.into()]);
        }
    }
}
