//! The commands that bring data in, and the one that looks at what is there.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use serde_json::Value;

use crate::args::ImportArgs;
use crate::commands::Context;
use crate::commands::write::{committed, read_stdin, read_text};
use crate::control::protocol::Request;
use crate::error::{CommandError, CommandResult};
use crate::render::text::{items, text};

/// `import`: puts the records of a CSV file into a table.
pub(super) async fn import(context: &Context, args: ImportArgs) -> CommandResult<()> {
    let ImportArgs { file, table, key, message } = args;
    let (csv, name) = if file == Path::new("-") {
        (read_stdin()?, "standard input".to_owned())
    } else {
        let name = file.display().to_string();
        let opened = File::open(&file)
            .map_err(|error| CommandError::failed(format!("cannot read {name}: {error}")))?;
        (read_text(opened, &name)?, name)
    };
    let message = message.unwrap_or_else(|| format!("import {name} into {table}"));
    context.ask(Request::Import { table, key, csv, message }, committed).await
}

/// `lint`: names what will hurt when several peers write.
pub(super) async fn lint(context: &Context) -> CommandResult<()> {
    context.ask(Request::Lint {}, findings).await
}

fn findings(findings: &Value) -> String {
    let mut out = String::new();
    for finding in items(findings) {
        let subject = text(finding, "subject");
        let subject = if subject.is_empty() { subject } else { format!(".{subject}") };
        let _ = writeln!(out, "{}{subject}: {}", text(finding, "table"), text(finding, "problem"));
        let _ = writeln!(out, "    {}", text(finding, "remedy"));
    }
    if out.is_empty() {
        out.push_str("nothing that would hurt was found\n");
    }
    out
}
