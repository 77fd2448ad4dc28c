//! The commands about the program itself: completions for shells, pages for `man`.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::commands::Context;
use crate::error::{CommandError, CommandResult};
use crate::output;

/// `completions`: prints the script that teaches a shell the commands.
pub(super) fn completions(args: CompletionsArgs) -> CommandResult<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "doltswarm", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// `man`: writes a page for the program and one for each command.
pub(super) fn man(context: &Context, args: &ManArgs) -> CommandResult<()> {
    let dir = &args.dir;
    let written = write_pages(dir).map_err(|error| {
        CommandError::failed(format!("cannot write the pages to {}: {error}", dir.display()))
    })?;
    let answer = json!({ "pages": written, "dir": dir.to_string_lossy() });
    context.print(&answer, |_| format!("{} pages are in {}", written.len(), dir.display()))
}

fn write_pages(dir: &Path) -> io::Result<Vec<String>> {
    fs::create_dir_all(dir)?;
    let mut program = Cli::command();
    program.build();
    let mut written = Vec::new();
    let mut waiting = vec![(program.get_name().to_owned(), program)];
    while let Some((name, command)) = waiting.pop() {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            waiting.push((format!("{name}-{}", below.get_name()), below.clone()));
        }
        let file = format!("{name}.1");
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        fs::write(dir.join(&file), page)?;
        written.push(file);
    }
    written.sort();
    Ok(written)
}
