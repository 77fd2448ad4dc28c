//! What has to be true of a server and a database before a swarm can live on them, looked at all at
//! once, so that nobody mends one thing only to be told of the next.

use std::path::Path;

use super::options::DoltOptions;
use super::remotes;
use super::session::{During, Link, Losses, Purpose, Session, SqlError, number, text};
use super::store::Spool;
use crate::engine::{EngineError, EngineResult};

/// The first version whose merges depend on nothing but the two commits: since then who commits and
/// when can be set (`dolt_committer_date`).
const VERSION_MIN: (u64, u64, u64) = (1, 87, 0);
/// The remote that tries the shared folder.
const TRIAL_REMOTE: &str = "swarm_trial";
/// The branch that tries what the user may do.
const TRIAL_BRANCH: &str = "swarm/trial";

/// One thing that is wrong with a server or a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What a person can do about it.
    pub mend: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.mend)
    }
}

fn fault(what: impl Into<String>, mend: impl Into<String>) -> Fault {
    Fault { what: what.into(), mend: mend.into() }
}

/// Looks at the server and the database, which has to be there. An empty list means that all is
/// well.
///
/// # Errors
///
/// [`EngineError::Unreachable`] where the server does not answer, [`EngineError::Rejected`] where
/// it does not let the user in.
///
/// # Panics
///
/// As [`Dolt`](super::Dolt), on a thread that drives an asynchronous runtime.
pub fn check(options: &DoltOptions) -> EngineResult<Vec<Fault>> {
    let mut session = Session::new(options, Purpose::Main, &Losses::default());
    let link = session.link()?;
    let mut faults = Vec::new();
    faults.extend(version(link)?);
    faults.extend(settings(link)?);
    faults.extend(may_branch(link)?);
    faults.extend(shared_folder(link, &options.folder)?);
    Ok(faults)
}

/// The faults as one error, for those who can only say that it does not work.
pub fn require(options: &DoltOptions) -> EngineResult<()> {
    let faults = check(options)?;
    if faults.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = faults.iter().map(|fault| format!("\n- {fault}")).collect();
    let message = format!("the Dolt server is not ready for a swarm:{}", list.concat());
    Err(EngineError::Rejected { message })
}

fn version(link: &mut Link) -> EngineResult<Option<Fault>> {
    let rows = match link.rows("SELECT dolt_version()", &[]) {
        Err(error) if error.is_rejection() => {
            return Ok(Some(fault(
                "this is a MySQL server but not Dolt",
                "give the address of a `dolt sql-server`",
            )));
        }
        rows => rows.during("read the version")?,
    };
    let found = text(rows.first().and_then(|row| row.first())).to_owned();
    let (a, b, c) = VERSION_MIN;
    let is_new = parse_version(&found).is_some_and(|version| version >= VERSION_MIN);
    Ok((!is_new).then(|| {
        fault(
            format!("Dolt {found} is too old: its merges differ from machine to machine"),
            format!("run Dolt {a}.{b}.{c} or later, the same version on every peer"),
        )
    }))
}

fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.trim_start_matches('v').splitn(3, '.');
    let mut next = || {
        let part = parts.next()?;
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    };
    Some((next()?, next()?, next()?))
}

/// Settings of the server that a connection cannot change for itself and that change a merge.
fn settings(link: &mut Link) -> EngineResult<Vec<Fault>> {
    let off = |name: &str, why: &str| {
        fault(
            format!("{name} is on: {why}"),
            format!("SET PERSIST {name} = 0, and restart the server"),
        )
    };
    let mut faults = Vec::new();
    for (name, why) in [
        ("gpgsign", "the server's own signatures make every merge commit different"),
        ("dolt_dont_merge_json", "merges of JSON would differ from those of other peers"),
        ("dolt_skip_replication_errors", "a failed step would pass for a good one"),
    ] {
        match link.rows(&format!("SELECT @@{name}"), &[]) {
            Ok(rows) if number(rows.first().and_then(|row| row.first())) != 0 => {
                faults.push(off(name, why));
            }
            // A setting that this version does not have is not on.
            Err(error) if !error.is_rejection() => return Err(error.during("read the settings")),
            _ => {}
        }
    }
    let rows = link.rows("SELECT @@read_only", &[]).during("read the settings")?;
    if number(rows.first().and_then(|row| row.first())) != 0 {
        faults.push(off("read_only", "the swarm could write nothing"));
    }
    Ok(faults)
}

/// Whether the user may make, move and drop branches.
fn may_branch(link: &mut Link) -> EngineResult<Option<Fault>> {
    let tried = link
        .run("CALL DOLT_BRANCH('-f', ?, 'main')", &[TRIAL_BRANCH.into()])
        .and_then(|_| link.run("CALL DOLT_BRANCH('-D', '-f', ?)", &[TRIAL_BRANCH.into()]));
    match tried {
        Err(error) if error.is_rejection() => Ok(Some(fault(
            format!("the user may not make branches: {}", error.message()),
            "GRANT ALL ON the database, EXECUTE included, and allow `swarm/%` in \
             dolt_branch_control",
        ))),
        tried => tried.map(|_| None).during("try to make a branch"),
    }
}

/// Whether the server reads and writes the node's folder, and the node what the server writes
/// there.
fn shared_folder(link: &mut Link, folder: &Path) -> EngineResult<Option<Fault>> {
    let dir = folder.join("trial");
    let spool = Spool::open(&dir)?;
    spool.reset()?;
    let tried = push(link, &spool);
    let seen = tried.is_ok() && {
        spool.refresh()?;
        spool.chunks() > 0
    };
    remotes::forget(link, TRIAL_REMOTE)?;
    spool.reset()?;
    // Where it cannot be removed it is only an empty folder.
    let _ = std::fs::remove_dir_all(&dir);
    let mend =
        "run the node on the server's machine, as a user whose folder the server may write to";
    let shown = folder.display();
    match tried {
        Err(error) if error.message().contains("command denied") => Ok(Some(fault(
            format!("the user may not fetch, push or collect garbage: {}", error.message()),
            "GRANT CREATE, SUPER ON *.* to the node's user",
        ))),
        Ok(()) if seen => Ok(None),
        Ok(()) => Ok(Some(fault(
            format!("the server and the node do not see the same folder {shown}"),
            mend,
        ))),
        Err(error) if error.is_rejection() => {
            let message = error.message();
            Ok(Some(fault(format!("the server cannot use the folder {shown}: {message}"), mend)))
        }
        Err(error) => Err(error.during("try the shared folder")),
    }
}

fn push(link: &mut Link, spool: &Spool) -> Result<(), SqlError> {
    link.run("CALL DOLT_REMOTE('add', ?, ?)", &[TRIAL_REMOTE.into(), spool.url().into()])?;
    let params = [TRIAL_REMOTE.into(), "main:main".into()];
    link.run("CALL DOLT_PUSH('--force', ?, ?)", &params).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(parse_version("2.2.0"), Some((2, 2, 0)));
        assert_eq!(parse_version("v1.87.0-rc1"), Some((1, 87, 0)));
        assert!(parse_version("1.9.10") < Some(VERSION_MIN));
        assert_eq!(parse_version("soon"), None);
    }
}
