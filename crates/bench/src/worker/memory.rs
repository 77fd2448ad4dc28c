//! How much memory this process has.

use crate::protocol::Memory;

/// Reads it from `/proc`; elsewhere nothing is known.
pub(super) fn read() -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Memory { now: bytes(&status, "VmRSS:"), peak: bytes(&status, "VmHWM:") }
}

fn bytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_key_counts() {
        let status = "VmHWM:\t    2048 kB\nVmRSS:\t     10 kB\nThreads:\t3\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(10 * 1024));
        assert_eq!(bytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(bytes(status, "VmSwap:"), None);
        assert_eq!(bytes(status, "Threads:"), None);
    }
}
