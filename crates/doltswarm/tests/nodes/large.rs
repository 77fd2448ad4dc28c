//! Whatever can be written can travel: large rows, and many large documents.

use crate::support::{close, exec, homes, in_step, rows};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)";

/// A number from the environment, so that a person can run the same test with much more.
fn scale(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().expect("a number"))
}

/// Inserts so many rows of so many bytes each, no two alike.
fn insert(first: u64, count: u64, bytes: u64) -> String {
    format!(
        "INSERT INTO t WITH RECURSIVE n (i) AS
             (SELECT {first} UNION ALL SELECT i + 1 FROM n LIMIT {count})
         SELECT i, randomblob({bytes}) FROM n"
    )
}

const SIZES: &str = "SELECT count(*), sum(length(b)), max(length(b)) FROM t";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_eighty_megabytes_is_joined_and_pulled() {
    let [a, b] = homes();
    if a.server().is_some() {
        // Dolt keeps large values in pieces of its own.
        return;
    }
    let bytes: u64 = 80 << 20;
    let a = a.found(SCHEMA).await;
    exec(&a, &insert(1, 1, bytes)).await;
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, SIZES).await, [format!("[1,{bytes},{bytes}]")]);
    exec(&a, &insert(2, 1, bytes)).await;
    in_step(&[&a, &b]).await;
    assert_eq!(rows(&b, SIZES).await, [format!("[2,{},{bytes}]", 2 * bytes)]);
    close([a, b]).await;
}

/// `DOLTSWARM_LARGE_ROWS` and `DOLTSWARM_LARGE_BYTES` make it as large as one likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_rows_are_joined_and_pulled() {
    let [a, b] = homes();
    if a.server().is_some() {
        return;
    }
    let (count, bytes) =
        (scale("DOLTSWARM_LARGE_ROWS", 300), scale("DOLTSWARM_LARGE_BYTES", 260_000));
    let a = a.found(SCHEMA).await;
    // In several commits, so that the writer itself needs not hold all of it.
    let step = (200_000_000 / bytes).max(1);
    for first in (0..count).step_by(usize::try_from(step).expect("a small step")) {
        exec(&a, &insert(first, step.min(count - first), bytes)).await;
    }
    let b = b.join(&a, "b").await;
    in_step(&[&a, &b]).await;
    let more = count.min(step);
    exec(&a, &insert(count, more, bytes)).await;
    in_step(&[&a, &b]).await;
    let all = count + more;
    assert_eq!(rows(&b, SIZES).await, [format!("[{all},{},{bytes}]", all * bytes)]);
    close([a, b]).await;
}
