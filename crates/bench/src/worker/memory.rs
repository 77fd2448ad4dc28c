//! How much memory this process and its server have.

use std::path::Path;

use crate::protocol::Memory;

/// Reads it from `/proc`; elsewhere nothing is known.
pub(super) fn read() -> Memory {
    read_from(Path::new("/proc/self"))
}

/// The memory of the Dolt server that was started with its data in `dir`.
pub(super) fn of_server(dir: &Path) -> Memory {
    let config = dir.join("config.yaml");
    let argument = config.as_os_str().as_encoded_bytes();
    // The server is no child of this process: a shell between them ends it when this one ends.
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let server = processes.map(|entry| entry.path()).find(|process| {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == argument)
    });
    server.map_or(Memory { now: None, peak: None }, |process| read_from(&process))
}

fn read_from(process: &Path) -> Memory {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
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
