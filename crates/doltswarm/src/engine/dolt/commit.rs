//! Commits: describing them, making them, and where main is.

use doltswarm_core::commit::CommitInfo;
use doltswarm_core::id::CommitHash;

use super::session::{During, Link, SqlError, text};
use super::store::{commit_from_text, commit_text};
use crate::engine::{CommitMeta, EngineError, EngineResult, Value, date};

/// A commit's hash as a parameter.
pub(super) fn hash_value(commit: &CommitHash) -> Value {
    Value::Text(commit_text(commit))
}

/// Reads a commit's hash that the server wrote.
pub(super) fn parse_hash(value: Option<&Value>) -> EngineResult<CommitHash> {
    let found = text(value);
    commit_from_text(found).ok_or_else(|| EngineError::Failed {
        what: "read a commit's hash",
        message: format!("the server answered `{}`", found.escape_debug()),
    })
}

/// The commit that a branch stands at, or `None` where there is no such branch.
pub(super) fn branch(link: &mut Link, name: &str) -> EngineResult<Option<CommitHash>> {
    let sql = "SELECT hash FROM dolt_branches WHERE name = ?";
    let rows = link.rows(sql, &[name.into()]).during("read a branch")?;
    rows.first().map(|row| parse_hash(row.first())).transpose()
}

/// The commit that the branch `main` of the database stands at: a join commit perhaps.
pub(super) fn tip(link: &mut Link) -> EngineResult<CommitHash> {
    let rows = link.rows("SELECT DOLT_HASHOF('main')", &[]).during("read the tip")?;
    parse_hash(rows.first().and_then(|row| row.first()))
}

/// The tables with uncommitted changes on the connection's branch, sorted.
pub(super) fn dirty_tables(link: &mut Link) -> EngineResult<Vec<String>> {
    let rows = link.rows("SELECT table_name FROM dolt_status", &[]).during("read the status")?;
    let mut tables: Vec<_> = rows.iter().map(|row| text(row.first()).to_owned()).collect();
    tables.sort();
    // A table can be listed as staged and as changed since.
    tables.dedup();
    Ok(tables)
}

/// The columns that [`read_info`] wants.
const INFO: &str = "commit_hash, author, author_email, \
    FLOOR(UNIX_TIMESTAMP(author_date)), message, parents";

/// Whether the server says that it knows no such commit.
fn is_unknown(error: &SqlError) -> bool {
    ["target commit not found", "invalid ref spec", "branch not found", "could not be found"]
        .iter()
        .any(|words| error.message().contains(words))
}

/// Describes a commit, or `None` where the database does not hold it.
///
/// `dolt_commit_ancestors` cannot be asked for one merge commit: *measured* on Dolt 2.2.0, it
/// answers that there is more than one row.
pub(super) fn info(link: &mut Link, commit: &CommitHash) -> EngineResult<Option<CommitInfo>> {
    if let Some(known) = link.known(commit) {
        return Ok(Some(known.clone()));
    }
    Ok(infos_under(link, commit, 1)?.into_iter().next())
}

/// Describes a commit and those below it, newest first; nothing where the database does not hold
/// it.
pub(super) fn infos_under(
    link: &mut Link,
    commit: &CommitHash,
    limit: usize,
) -> EngineResult<Vec<CommitInfo>> {
    let at = commit_text(commit);
    let sql = format!("SELECT {INFO} FROM dolt_log('{at}', '--parents') LIMIT {limit}");
    match link.rows(&sql, &[]) {
        Err(error) if is_unknown(&error) => Ok(Vec::new()),
        rows => {
            let rows = rows.during("read a commit")?;
            let infos: Vec<_> =
                rows.iter().map(|row| read_info(row)).collect::<EngineResult<_>>()?;
            infos.iter().for_each(|info| link.keep(info));
            Ok(infos)
        }
    }
}

/// Describes the commits of `range`, as `dolt_log` understands it, newest first.
pub(super) fn infos(link: &mut Link, range: &str, limit: usize) -> EngineResult<Vec<CommitInfo>> {
    let sql = format!("SELECT {INFO} FROM dolt_log('{range}', '--parents') LIMIT {limit}");
    let rows = link.rows(&sql, &[]).during("read the history")?;
    rows.iter().map(|row| read_info(row)).collect()
}

/// Fails where the database does not hold `commit`.
pub(super) fn require(link: &mut Link, commit: &CommitHash) -> EngineResult<CommitInfo> {
    info(link, commit)?.ok_or(EngineError::NoSuchCommit(*commit))
}

fn read_info(row: &[Value]) -> EngineResult<CommitInfo> {
    let seconds = match row.get(3) {
        Some(Value::Integer(seconds)) => Some(*seconds),
        Some(Value::Real(seconds)) => Some(*seconds as i64),
        value => text(value).split('.').next().and_then(|text| text.parse().ok()),
    };
    let parents = text(row.get(5)).split(", ").filter(|parent| !parent.is_empty());
    Ok(CommitInfo {
        hash: parse_hash(row.first())?,
        parents: parents
            .map(|parent| parse_hash(Some(&parent.into())))
            .collect::<EngineResult<_>>()?,
        author_name: text(row.get(1)).to_owned(),
        author_email: text(row.get(2)).to_owned(),
        message: text(row.get(4)).to_owned(),
        seconds: seconds.ok_or_else(|| EngineError::Failed {
            what: "read a commit's date",
            message: format!("the server answered {:?}", row.get(3)),
        })?,
    })
}

/// What a commit says: the parameters of `DOLT_COMMIT`, and the settings that go with them.
#[derive(Debug, Clone)]
pub(super) struct Words {
    message: String,
    name: String,
    email: String,
    date: String,
}

impl Words {
    /// Checks what a caller wants a commit to say.
    pub(super) fn new(meta: &CommitMeta) -> EngineResult<Self> {
        let CommitMeta { author_name, author_email, message, seconds } = meta;
        let reserved = |c: char| matches!(c, '<' | '>') || c.is_control();
        for (what, part) in [("name", author_name), ("e-mail", author_email)] {
            if part.trim().is_empty() || part.contains(reserved) {
                let message = format!(
                    "`{}` cannot be an author's {what}: it must not be empty or have `<`, `>` or \
                     control characters",
                    part.escape_debug()
                );
                return Err(EngineError::Rejected { message });
            }
        }
        if message.is_empty() {
            let message = "the commit message is empty".to_owned();
            return Err(EngineError::Rejected { message });
        }
        let (message, name) = (message.clone(), author_name.clone());
        Ok(Self { message, name, email: author_email.clone(), date: date::format(*seconds)? })
    }

    /// Tells the connection who commits and when.
    ///
    /// `--author` and `--date` alone leave the committer to the server; the six settings pin both
    /// (since Dolt 1.87).
    pub(super) fn tell(&self, link: &mut Link) -> EngineResult<()> {
        let sql = "SET dolt_author_name = ?, dolt_author_email = ?, dolt_author_date = ?, \
                   dolt_committer_name = ?, dolt_committer_email = ?, dolt_committer_date = ?";
        let (name, email, date) = (&self.name, &self.email, &self.date);
        let params = [name, email, date, name, email, date].map(|text| text.as_str().into());
        link.run(sql, &params).map(|_| ()).during("set the commit's author")
    }

    /// Merges `theirs` into the connection's branch and commits that with both as parents: the
    /// server's answer.
    pub(super) fn merge(
        &self,
        link: &mut Link,
        theirs: &CommitHash,
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        let author = format!("{} <{}>", self.name, self.email);
        let params = [self.message.as_str().into(), author.into(), hash_value(theirs)];
        link.rows("CALL DOLT_MERGE('--no-ff', '-m', ?, '--author', ?, ?)", &params)
    }

    /// Commits all that changed on the connection's branch; `None` where nothing did and `flags`
    /// has `--skip-empty`.
    pub(super) fn commit(
        &self,
        link: &mut Link,
        flags: &[&str],
    ) -> Result<Option<CommitHash>, SqlError> {
        self.commit_with(link, &[&["-A"], flags].concat())
    }

    /// Commits what is staged on the connection's branch, changed or not.
    pub(super) fn commit_staged(&self, link: &mut Link) -> Result<Option<CommitHash>, SqlError> {
        self.commit_with(link, &["--allow-empty"])
    }

    fn commit_with(&self, link: &mut Link, flags: &[&str]) -> Result<Option<CommitHash>, SqlError> {
        let mut sql = "CALL DOLT_COMMIT(".to_owned();
        for flag in flags {
            sql.push_str(&format!("'{flag}', "));
        }
        sql.push_str("'-m', ?, '--author', ?, '--date', ?)");
        let author = format!("{} <{}>", self.name, self.email);
        let params = [self.message.as_str().into(), author.into(), self.date.as_str().into()];
        let rows = link.rows(&sql, &params)?;
        match rows.first().and_then(|row| row.first()) {
            None => Ok(None),
            value if text(value).is_empty() => Ok(None),
            value => commit_from_text(text(value)).map(Some).ok_or_else(|| SqlError::Server {
                code: 0,
                message: "the server named no commit".to_owned(),
            }),
        }
    }
}
