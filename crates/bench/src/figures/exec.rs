//! `exec`: how long it takes to execute one INSERT and commit it, beside the engine by itself.

use super::Bench;
use crate::error::BenchResult;
use crate::fleet::Fleet;
use crate::protocol::Request;
use crate::report::Figure;
use crate::sample::Sample;
use crate::worker::Durations;

/// How many writes are measured at normal size.
const ROUNDS: usize = 500;
/// How much longer than the engine by itself a write may take.
const OVERHEAD: f64 = 1.3;

pub(super) async fn measure(bench: &Bench<'_>) -> BenchResult<Vec<Figure>> {
    let fleet = Fleet::found(bench, 0).await?;
    let (dir, rounds) = (fleet.beside("alone"), bench.size.times(ROUNDS));
    let durations: Durations = fleet.node(0).ask(Request::Alone { dir, rounds }).await?;
    fleet.end().await?;
    let sample = |values: Vec<f64>| values.into_iter().collect::<Sample>();
    let swarm = sample(durations.swarm);
    let engine = sample(durations.engine);
    let library = sample(durations.library);
    let two_steps = sample(durations.two_steps);
    let [one_name, two_name] = match bench.dolt {
        None => ["engine, one transaction", "engine, INSERT then dolt_commit"],
        Some(_) => ["MySQL client, one transaction", "MySQL client, INSERT then DOLT_COMMIT"],
    };
    let mut figures = Vec::new();
    for (percent, first) in [(50, "2.8 ms"), (99, "6.7 ms")] {
        let own = engine.percentile(percent);
        let of = |what: &str, value: f64| {
            Figure::new("exec", value, "ms").with("what", what).with("p", percent)
        };
        figures.push(
            of("exec_and_commit", swarm.percentile(percent))
                .first(first)
                .at_most(OVERHEAD * own)
                .note(format!("{:.2} x the engine", swarm.percentile(percent) / own)),
        );
        figures.push(of(one_name, own));
        figures.push(of(two_name, two_steps.percentile(percent)));
        figures.push(of("engine as the library uses it", library.percentile(percent)));
    }
    Ok(figures)
}
