//! Large swarms.

/// Nothing yet.
pub fn table(_peers: usize) -> String {
    String::new()
}
