//! What the figures were measured on.

use std::fmt;
use std::fs::read_to_string;
use std::io::Write;
use std::time::Instant;

use doltswarm::core::commit::EngineKind;
use serde::Serialize;

use crate::dolt::Dolt;
use crate::error::BenchResult;
use crate::sample::Sample;

/// How often the disk is timed.
const SYNCS: usize = 50;

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    system: String,
    cores: usize,
    /// The processor's name, where the system says.
    processor: Option<String>,
    memory_mb: Option<u64>,
    /// What the databases are on: `doltlite` or `dolt`.
    #[serde(skip)]
    kind: EngineKind,
    /// The engine's name and version.
    engine: String,
    /// How many processes wanted to run in the last minute before the first measurement.
    load: Option<f64>,
    /// How many milliseconds the disk takes to make a few bytes durable, p50: no commit is faster.
    sync_ms: Option<f64>,
    /// Whether the program was built without optimisation.
    debug_build: bool,
}

impl Machine {
    /// This machine, now; with `dolt`, where that is what is measured.
    pub(crate) fn here(dolt: Option<&Dolt>) -> BenchResult<Self> {
        let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        let after_colon = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kilobytes = |text: String| text.strip_suffix(" kB")?.trim().parse::<u64>().ok();
        Ok(Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: after_colon(&cpu, "model name"),
            memory_mb: after_colon(&memory, "MemTotal").and_then(kilobytes).map(|kb| kb / 1024),
            kind: if dolt.is_some() { EngineKind::Dolt } else { EngineKind::DoltLite },
            engine: match dolt {
                Some(dolt) => format!("Dolt {}", dolt.version()?),
                None => doltlite_version(),
            },
            load: load.split(' ').next().and_then(|load| load.parse().ok()),
            sync_ms: time_syncs().ok(),
            debug_build: cfg!(debug_assertions),
        })
    }

    /// What the databases are on.
    pub(crate) fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Why what is measured now means little, if it does.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.debug_build {
            return Some("this is a debug build: run with --release".to_owned());
        }
        let load = self.load.filter(|load| *load > 0.5)?;
        Some(format!("the machine is busy (load {load}): times mean little"))
    }
}

/// Times appending to a file in the directory for temporary files, as a commit does.
fn time_syncs() -> std::io::Result<f64> {
    let mut file = tempfile::tempfile()?;
    let mut times = Sample::default();
    for _ in 0..SYNCS {
        file.write_all(&[1; 1024])?;
        let start = Instant::now();
        file.sync_all()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times.p50())
}

/// The engine's name and version.
fn doltlite_version() -> String {
    let version = doltlite::Connection::open_in_memory()
        .and_then(|connection| connection.query("SELECT dolt_version()", &[]));
    let rows = version.unwrap_or_default();
    let version = rows.first().and_then(|row| row.get(0)).and_then(doltlite::Value::as_str);
    format!("DoltLite {}", version.unwrap_or("of an unknown version"))
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores", self.system, self.cores)?;
        if let Some(processor) = &self.processor {
            write!(f, " of {processor}")?;
        }
        if let Some(memory) = self.memory_mb {
            write!(f, ", {memory} MB")?;
        }
        if let Some(load) = self.load {
            write!(f, ", load before {load}")?;
        }
        if let Some(sync) = self.sync_ms {
            write!(f, ", {sync:.2} ms for a disk sync")?;
        }
        write!(f, ", {}", self.engine)?;
        if self.debug_build {
            write!(f, ", DEBUG BUILD")?;
        }
        Ok(())
    }
}
