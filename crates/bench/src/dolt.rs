//! The program `dolt`: finding it, and running it without the settings of whoever measures.

use std::path::{Path, PathBuf};
use std::process::Command;

use doltswarm::engine::dolt::Sandbox;

use crate::error::{BenchError, BenchResult};

/// What the program is told of its user: it neither calls home nor asks for a newer version.
const USER_CONFIG: &str = r#"{"metrics.disabled":"true","versioncheck.disabled":"true"}"#;

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Dolt {
    program: PathBuf,
    /// What it takes for its user's home.
    home: PathBuf,
}

impl Dolt {
    /// Looks for the program; `dir` gets what it needs of a home.
    ///
    /// # Errors
    ///
    /// [`BenchError::NoDolt`] where it is not on this machine.
    pub(crate) fn find(dir: &Path) -> BenchResult<Self> {
        let program = Sandbox::program().ok_or(BenchError::NoDolt)?;
        let home = dir.join("dolt-home");
        let settings = home.join(".dolt");
        std::fs::create_dir_all(&settings).map_err(BenchError::io("create", &settings))?;
        let file = settings.join("config_global.json");
        std::fs::write(&file, USER_CONFIG).map_err(BenchError::io("write", &file))?;
        Ok(Self { program, home })
    }

    /// Where it is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Its version, as `2.2.0`.
    pub(crate) fn version(&self) -> BenchResult<String> {
        let said = self.run(&["version"])?;
        let version = said.lines().next().and_then(|line| line.strip_prefix("dolt version "));
        Ok(version.unwrap_or("of an unknown version").trim().to_owned())
    }

    /// Clones the database at `url` into the new directory `to`.
    pub(crate) fn clone_database(&self, url: &str, to: &Path) -> BenchResult<()> {
        self.run(&["clone", url, &to.to_string_lossy()]).map(drop)
    }

    /// Runs it to its end and returns what it says.
    fn run(&self, arguments: &[&str]) -> BenchResult<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .env("HOME", &self.home)
            .env("DOLT_ROOT_PATH", &self.home)
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .current_dir(&self.home)
            .output()
            .map_err(BenchError::io("run", &self.program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Dolt { what: arguments.join(" "), message })
    }
}
