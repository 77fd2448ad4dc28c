//! Naming a commit as people do: `main`, `HEAD~2`, the beginning of a hash.

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits::{REVISION_PREFIX_MIN, REVISION_SEARCH_MAX};

use super::{QueryError, Swarm};
use crate::driver::Command;
use crate::engine::Engine;

/// A commit as it was written down, before it is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Revision {
    start: Start,
    steps: Vec<Step>,
}

/// Where the steps begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    /// The tip of main.
    Main,
    /// A hash or the beginning of one, in lower case.
    Hash(String),
}

/// One step down from a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// To the parent with this number, counted from 1.
    Parent(usize),
    /// This many times to the first parent.
    Back(usize),
}

impl Revision {
    /// Reads `main`, `HEAD` or a hash, and any number of `~`, `~N`, `^` and `^N` after it.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(['~', '^']).unwrap_or(text.len());
        let (start, mut rest) = text.split_at(end);
        let start = match start {
            "main" | "HEAD" | "head" | "@" => Start::Main,
            hash if hash.len() >= REVISION_PREFIX_MIN
                && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                Start::Hash(hash.to_ascii_lowercase())
            }
            _ => return None,
        };
        let mut steps = Vec::new();
        while let Some(kind) = rest.chars().next() {
            rest = &rest[1..];
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let number = if number.is_empty() { 1 } else { number.parse().ok()? };
            steps.push(match kind {
                '~' => Step::Back(number),
                '^' if number > 0 => Step::Parent(number),
                _ => return None,
            });
            rest = after;
        }
        Some(Self { start, steps })
    }
}

impl Swarm {
    /// Finds the commit that `name` names, and returns its whole hash as the engine writes it.
    ///
    /// A name is `main` or `HEAD` (the tip of main), or a hash or the beginning of one with at
    /// least [`REVISION_PREFIX_MIN`] digits; after it any number of `~N` (N times the first parent)
    /// and `^N` (the N-th parent). If a beginning fits user commits and merge commits, it is the
    /// user commit's.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] if there is no such commit, or more than one.
    pub async fn resolve_commit(&self, name: &str) -> Result<String, QueryError> {
        Ok(self.inner.shared.text(&self.commit_named(name).await?))
    }

    /// As [`Swarm::resolve_commit`], for the library's own calls.
    pub(super) async fn commit_named(&self, name: &str) -> Result<CommitHash, QueryError> {
        let missing = || QueryError::NotFound(format!("there is no commit {name} here"));
        let revision = Revision::parse(name).ok_or_else(|| {
            QueryError::NotFound(format!(
                "`{name}` does not name a commit: expected main, HEAD~1, or at least \
                 {REVISION_PREFIX_MIN} digits of a hash"
            ))
        })?;
        let kind = self.inner.shared.founding.engine;
        let mut at = match &revision.start {
            Start::Main => self.engine(|engine| engine.main()).await?,
            Start::Hash(text) => match kind.read_hash(text) {
                Ok(hash) => hash,
                Err(_) => self.commit_with_prefix(text).await?.ok_or_else(missing)?,
            },
        };
        for step in revision.steps {
            at = self.engine(move |engine| walk(engine, at, step)).await?.ok_or_else(missing)?;
        }
        let found = self.engine(move |engine| engine.commit_info(&at)).await?;
        found.map(|info| info.hash).ok_or_else(missing)
    }

    /// The one commit whose hash begins so; a user commit if there is one.
    async fn commit_with_prefix(&self, prefix: &str) -> Result<Option<CommitHash>, QueryError> {
        let beginning = prefix.to_owned();
        let command = |reply| Command::FindCommits { prefix: beginning, reply };
        let mut found = self.command(command).await.ok_or(QueryError::Closed)?;
        if found.is_empty() {
            let shared = &self.inner.shared;
            let infos = self.engine(|engine| engine.log(REVISION_SEARCH_MAX)).await?;
            found.extend(infos.iter().map(|info| info.hash));
            found.retain(|hash| shared.text(hash).starts_with(prefix));
        }
        match found[..] {
            [] => Ok(None),
            [hash] => Ok(Some(hash)),
            _ => Err(QueryError::NotFound(format!(
                "{} commits begin with `{prefix}`: give more digits",
                found.len()
            ))),
        }
    }
}

/// Goes one step down; `None` at the end of the history.
fn walk(
    engine: &mut dyn Engine,
    from: CommitHash,
    step: Step,
) -> crate::engine::EngineResult<Option<CommitHash>> {
    let (times, place) = match step {
        Step::Parent(number) => (1, number - 1),
        Step::Back(times) => (times, 0),
    };
    let mut at = from;
    for _ in 0..times {
        let Some(info) = engine.commit_info(&at)? else { return Ok(None) };
        let Some(parent) = info.parents.get(place) else { return Ok(None) };
        at = *parent;
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commits_are_read() {
        let parse = |text| Revision::parse(text).map(|revision| (revision.start, revision.steps));
        let hash = |text: &str| Start::Hash(text.to_owned());
        assert_eq!(parse("main"), Some((Start::Main, vec![])));
        assert_eq!(parse("HEAD~2^"), Some((Start::Main, vec![Step::Back(2), Step::Parent(1)])));
        assert_eq!(parse(" ABCD~ "), Some((hash("abcd"), vec![Step::Back(1)])));
        assert_eq!(parse("0123abc^2"), Some((hash("0123abc"), vec![Step::Parent(2)])));
        for wrong in ["", "abc", "main^0", "HEAD~x", "a b c d", "~1", "parked/abcd", "é~~~~"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
