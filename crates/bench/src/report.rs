//! The figures, as a table for people and as JSON.

use doltswarm::core::commit::EngineKind;
use serde::Serialize;
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

use crate::machine::Machine;

/// How many columns the table has.
const COLUMNS: usize = 7;

/// One measured value beside what is wanted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What is measured; see `--filter`.
    pub(crate) name: &'static str,
    /// Under which circumstances.
    pub(crate) params: Map<String, Value>,
    /// The value, or null where it could not be measured.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    /// What the first implementation did, in its own words.
    pub(crate) first_implementation: Option<&'static str>,
    /// The largest value that is wanted.
    pub(crate) wanted: Option<f64>,
    /// Whether the value is not larger; null where none is wanted.
    pub(crate) reached: Option<bool>,
    /// What else has to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Figure {
    /// A value; NaN counts as not measured.
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            params: Map::new(),
            value: value.is_finite().then_some(value),
            unit,
            first_implementation: None,
            wanted: None,
            reached: None,
            note: None,
        }
    }

    /// Adds a circumstance.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    /// Adds what the first implementation did.
    pub(crate) fn first(mut self, text: &'static str) -> Self {
        self.first_implementation = Some(text);
        self
    }

    /// Adds the largest value that is wanted. What could not be measured does not reach it.
    pub(crate) fn at_most(mut self, wanted: f64) -> Self {
        self.wanted = Some(wanted);
        self.reached = Some(self.value.is_some_and(|value| value <= wanted));
        self
    }

    /// Adds a remark.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn cells(&self) -> [String; COLUMNS] {
        let param = |(name, value): (&String, &Value)| match value {
            Value::String(text) => text.clone(),
            value => format!("{name} {value}"),
        };
        let params: Vec<String> = self.params.iter().map(param).collect();
        let amount = |value: f64| format!("{} {}", number(value), self.unit).trim().to_owned();
        let mark = match self.reached {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.name.to_owned(),
            params.join(", "),
            self.value.map_or_else(|| "not measured".to_owned(), amount),
            self.first_implementation.unwrap_or("").to_owned(),
            self.wanted.map(|wanted| format!("<= {}", amount(wanted))).unwrap_or_default(),
            mark.to_owned(),
            self.note.clone().unwrap_or_default(),
        ]
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 || x.fract() == 0.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// All figures as one JSON value.
pub(crate) fn to_json(machine: &Machine, figures: &[Figure]) -> Value {
    json!({
        "engine": machine.kind().as_str(),
        "machine": machine,
        "version": env!("CARGO_PKG_VERSION"),
        "figures": figures,
    })
}

/// All figures as an aligned table.
pub(crate) fn to_table(machine: &Machine, figures: &[Figure]) -> String {
    let head =
        ["figure", "of", "here", "first implementation", "wanted", "", ""].map(str::to_owned);
    let rows: Vec<[String; COLUMNS]> =
        std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let engine = match machine.kind() {
        EngineKind::DoltLite => "the database in files (DoltLite)",
        EngineKind::Dolt => {
            "each node beside a Dolt server of its own, as the first implementation was"
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("doltswarm {version}, {engine}\n{machine}\n\n");
    for (number, row) in rows.iter().enumerate() {
        text.push_str(&line(row, &widths));
        if number == 0 {
            let rule = widths.map(|width| "-".repeat(width));
            text.push_str(&line(&rule, &widths));
        }
    }
    let judged = figures.iter().filter(|figure| figure.reached.is_some()).count();
    let reached = figures.iter().filter(|figure| figure.reached == Some(true)).count();
    text.push_str(&format!("\n{reached} of {judged} wanted values reached\n"));
    text
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let space = " ".repeat(width.saturating_sub(cell.width()));
        // Values stand on the right, so that their units are one below the other.
        let parts = if column == 2 { [space.as_str(), cell] } else { [cell, space.as_str()] };
        line.push_str(&parts.concat());
        line.push_str("  ");
    }
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_judged() {
        let figure = Figure::new("exec", 2.0, "ms");
        assert_eq!(figure.clone().reached, None);
        assert_eq!(figure.clone().at_most(2.0).reached, Some(true));
        assert_eq!(figure.at_most(1.9).reached, Some(false));
        assert_eq!(Figure::new("exec", f64::NAN, "ms").at_most(1.0).reached, Some(false));
    }

    #[test]
    fn the_table_is_aligned() {
        let figures = [
            Figure::new("exec", 1.234, "ms").with("peers", 8).at_most(2.0).first("2.8 ms"),
            Figure::new("memory", 31.0, "MB").with("what", "idle").note("a remark"),
        ];
        let table = to_table(&Machine::here(None).unwrap(), &figures);
        let lines: Vec<&str> = table.lines().skip(3).collect();
        assert_eq!(lines[0], "figure  of          here  first implementation  wanted");
        assert_eq!(lines[2], "exec    peers 8  1.23 ms  2.8 ms                <= 2 ms  reached");
        assert!(table.ends_with("1 of 1 wanted values reached\n"));
    }

    #[test]
    fn the_json_has_what_scripts_rely_on() {
        let figures = [Figure::new("exec", 1.5, "ms").with("peers", 8)];
        let value = to_json(&Machine::here(None).unwrap(), &figures);
        assert_eq!(value["engine"], "doltlite");
        assert!(value["machine"]["cores"].is_u64() && value["version"].is_string());
        let figure = &value["figures"][0];
        for key in ["name", "params", "value", "unit", "first_implementation", "wanted", "reached"]
        {
            assert!(figure.get(key).is_some(), "{key}");
        }
    }
}
