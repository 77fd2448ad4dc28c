//! One process at a time in a node's directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The lock's file in the node's directory.
pub const FILE_NAME: &str = "node.lock";

/// The right to use a node's directory, until it is dropped or the process ends, however it ends.
///
/// The lock is the operating system's, on an open file; the file itself stays and means nothing, so
/// there is never a stale lock to clean up.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    path: PathBuf,
}

/// Why the directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}: stop that one first", dir.display(), holder(*pid))]
    HeldBy {
        /// The node's directory.
        dir: PathBuf,
        /// The holder's process id, where it could be read.
        pid: Option<u32>,
    },
    /// The file system refused.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DirLock {
    /// Locks `dir`, which must exist, without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::HeldBy`] where another process, or another lock in this one, has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(FILE_NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        // Not truncated: until the lock is held the content is the holder's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::HeldBy { dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // The id is only for the message above: a disk too full for it must not stop the node.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!(path = %path.display(), %error, "cannot write the process id");
        }
        Ok(Self { file, path })
    }

    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file is not enough: where another thread is just starting a program, that has
        // the file open too until it runs.
        let _ = self.file.unlock();
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Reads the holder's id. Where the holder is just writing it there may be none.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_refused_and_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        let error = DirLock::acquire(dir.path()).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, LockError::HeldBy { pid: Some(held), .. } if held == pid));
        assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_program_that_was_just_being_started_does_not_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        // A second handle of the same open file, as a process has it until it runs its program.
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn garbage_in_the_file_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, [0xff; 4096]).unwrap();
        let holder = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        holder.lock().unwrap();
        let error = DirLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(error, LockError::HeldBy { pid: None, .. }));
        drop(holder);
        let _lock = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = DirLock::acquire(&dir.path().join("absent")).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }

    const CHILD_DIR: &str = "DOLTSWARM_TEST_LOCK_DIR";

    /// The holder in the test below.
    #[test]
    #[ignore = "a process that another test starts and kills"]
    fn child_that_is_killed() {
        let Ok(dir) = std::env::var(CHILD_DIR) else { return };
        let _lock = DirLock::acquire(Path::new(&dir)).unwrap();
        println!("\nlocked");
        std::thread::sleep(std::time::Duration::from_secs(60));
    }

    #[test]
    fn killed_holder_leaves_no_lock() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::child_that_is_killed", "--ignored", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
        let error = DirLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(error, LockError::HeldBy { pid: Some(pid), .. } if pid == child.id()),
            "{error}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        DirLock::acquire(dir.path()).unwrap();
    }
}
