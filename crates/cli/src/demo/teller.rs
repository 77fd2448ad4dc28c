//! Tells the story: to people as it goes, to programs in one value at the end.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::CommandResult;
use crate::output;

/// Who is told what happens.
#[derive(Debug)]
pub(super) struct Teller {
    json: bool,
    steps: Vec<Value>,
}

impl Teller {
    /// Tells people, or with `json` collects figures.
    pub(super) fn new(json: bool) -> Self {
        Self { json, steps: Vec::new() }
    }

    /// Begins a step, with a sentence on what it is about.
    pub(super) fn step(&mut self, name: &str, about: &str) -> CommandResult<()> {
        self.steps.push(json!({ "step": name }));
        let number = self.steps.len();
        self.say(&format!("\n{number}. {about}"))
    }

    /// Adds a figure to the step.
    pub(super) fn figure(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(Value::Object(step)) = self.steps.last_mut() {
            step.insert(key.to_owned(), value.into());
        }
    }

    /// Says something to people.
    pub(super) fn say(&self, text: &str) -> CommandResult<()> {
        if self.json { Ok(()) } else { output::print(text) }
    }

    /// Draws a picture for people.
    pub(super) fn draw(&self, lines: &[&str]) -> CommandResult<()> {
        let indented: Vec<String> = lines.iter().map(|line| format!("       {line}")).collect();
        self.say(&indented.join("\n"))
    }

    /// Ends the story.
    pub(super) fn end(self, summary: &Value) -> CommandResult<()> {
        if !self.json {
            let seconds = &summary["seconds"];
            return match summary["ok"] {
                Value::Bool(true) => {
                    output::print(&format!("\nAll in step, nothing lost, in {seconds} s."))
                }
                _ => output::print("\nThe nodes are NOT in step."),
            };
        }
        let mut value = Map::new();
        value.insert("steps".to_owned(), self.steps.into());
        value.extend(summary.as_object().cloned().unwrap_or_default());
        output::print_json(&value)
    }
}

/// A duration in milliseconds, with a tenth where it is short.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
