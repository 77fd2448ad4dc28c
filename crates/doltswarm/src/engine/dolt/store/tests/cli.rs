//! A repository of the real program, apart from everything of the person who runs the tests.

use std::path::PathBuf;
use std::process::Command;

use doltswarm_core::id::CommitHash;

use super::super::commit_from_text;
use crate::engine::dolt::Sandbox;

/// A repository.
pub(super) struct Repo {
    program: PathBuf,
    home: tempfile::TempDir,
    /// Whether pushes write archives, as Dolt does when it is not told otherwise.
    pub(super) archives: bool,
}

impl Repo {
    /// Makes a repository, or says that the test is skipped because there is no program.
    pub(super) fn new() -> Option<Self> {
        let Some(program) = Sandbox::program() else {
            eprintln!("skipped: no dolt found on the PATH, in $DOLTSWARM_DOLT or in ~/go/bin");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let repo = Self { program, home, archives: false };
        std::fs::create_dir(repo.home.path().join("repo")).unwrap();
        for (key, value) in [
            ("metrics.disabled", "true"),
            ("versioncheck.disabled", "true"),
            ("user.name", "Ada"),
            ("user.email", "ada@example.org"),
        ] {
            repo.dolt(&["config", "--global", "--add", key, value]);
        }
        repo.dolt(&["init", "-b", "main"]);
        Some(repo)
    }

    /// Runs the program in the repository; says what it printed, or fails with that.
    pub(super) fn dolt(&self, args: &[&str]) -> String {
        self.try_dolt(args).unwrap_or_else(|error| panic!("dolt {args:?}: {error}"))
    }

    /// Runs the program in the repository.
    pub(super) fn try_dolt(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(args)
            .current_dir(self.home.path().join("repo"))
            .env("HOME", self.home.path())
            .env("DOLT_ROOT_PATH", self.home.path())
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .env("DOLT_ARCHIVE_PULL_STREAMER", if self.archives { "1" } else { "0" })
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(text + &String::from_utf8_lossy(&output.stderr))
    }

    /// Runs SQL.
    pub(super) fn sql(&self, sql: &str) -> String {
        self.dolt(&["sql", "-r", "csv", "-q", sql])
    }

    /// Runs SQL and commits.
    pub(super) fn commit(&self, sql: &str) -> CommitHash {
        self.sql(&format!("{sql}; CALL DOLT_COMMIT('-A', '--allow-empty', '-m', 'change')"));
        self.head("main")
    }

    /// The commit of a branch.
    pub(super) fn head(&self, name: &str) -> CommitHash {
        let printed = self.sql(&format!("SELECT DOLT_HASHOF('{name}')"));
        commit_from_text(printed.lines().last().unwrap()).unwrap()
    }

    /// The directory of the database's own store.
    pub(super) fn noms(&self) -> PathBuf {
        self.home.path().join("repo/.dolt/noms")
    }
}
