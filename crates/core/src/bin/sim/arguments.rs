//! The command line.

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Runs whole swarms on simulated time, and stops at the first that breaks a rule.
docs/simulation.md tells how to read what it prints.

usage: sim [--seeds N] [--from SEED] [--jobs N]    run N seeds (10000), from SEED (0) on
       sim --seed SEED [--trace] [--shrink]        run one seed; print what happens in it, and the
                                                   shortest run found that fails alike
       sim --exhaustive [NAME] [--states N]        search small swarms for everything that can happen,
                                                   up to N states each (50000000)
       sim --mutants [NAME] [--seeds N]            the seed that finds each wrong version, or one of them
       sim --mutants --exhaustive [--states N]     the search that finds each
       sim --table                                 counters of calm swarms by number of peers
       sim --scale [PEERS]                         messages for each commit, by peers and writers

A run is a function of the commit of the source and its seed. --jobs says how many threads there are,
by default as many as the machine has. Exit code: 0 all is well, 1 a rule was broken, 2 wrong usage.";

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: usize,
    pub(crate) trace: bool,
    pub(crate) shrink: bool,
    pub(crate) states: usize,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Seeds,
    Seed(u64),
    Exhaustive(Option<String>),
    Mutants { by_search: bool, name: Option<String> },
    Table,
    Scale(usize),
    Help,
}

/// Reads the command line.
///
/// # Errors
///
/// A text for people, where it makes no sense.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut parsed = Arguments {
        mode: Mode::Seeds,
        seeds: 10_000,
        from: 0,
        jobs,
        trace: false,
        shrink: false,
        states: 50_000_000,
    };
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let value = words.next_if(|next| !next.starts_with("--"));
        let number = || {
            let text = value.as_deref().ok_or(format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|error| format!("{word} {text}: {error}"))
        };
        match word.as_str() {
            "--seeds" => parsed.seeds = number()?,
            "--from" => parsed.from = number()?,
            "--jobs" => parsed.jobs = number()?.max(1) as usize,
            "--states" => parsed.states = number()? as usize,
            "--seed" => parsed.mode = Mode::Seed(number()?),
            "--scale" if value.is_none() => parsed.mode = Mode::Scale(1_000),
            "--scale" => parsed.mode = Mode::Scale(number()? as usize),
            "--exhaustive" => {
                parsed.mode = match parsed.mode {
                    Mode::Mutants { name, .. } => Mode::Mutants { by_search: true, name },
                    _ => Mode::Exhaustive(value),
                }
            }
            "--mutants" => {
                let by_search = matches!(parsed.mode, Mode::Exhaustive(_));
                parsed.mode = Mode::Mutants { by_search, name: value };
            }
            _ if value.is_some() => return Err(unexpected(&value.unwrap_or_default())),
            "--trace" => parsed.trace = true,
            "--shrink" => parsed.shrink = true,
            "--table" => parsed.mode = Mode::Table,
            "--help" | "-h" => parsed.mode = Mode::Help,
            _ => return Err(unexpected(&word)),
        }
    }
    Ok(parsed)
}

fn unexpected(word: &str) -> String {
    format!("{word} is not an option\n\n{USAGE}")
}
