//! The rules of the source tree that the compiler does not check.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The longest source file, in lines.
const LINES_MAX: usize = 1_000;
/// Code that no person wrote.
const GENERATED: &str = "crates/doltswarm/src/net/pb/doltswarm.v1.rs";

/// Words that files under a folder must not contain.
struct Wall {
    /// The folder or file, from the workspace root.
    under: &'static str,
    /// Folders or files below it to which the wall does not apply.
    except: &'static [&'static str],
    /// The words, each whole: a letter, digit or underscore beside it makes another word.
    words: &'static [&'static str],
    /// Why.
    rule: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        under: "crates/core/src",
        except: PROGRAMS,
        words: &[
            "tokio",
            "iroh",
            "tonic",
            "std::net",
            "std::fs",
            "std::time::Instant",
            "Instant",
            "SystemTime",
        ],
        rule: "core does no IO and reads no clock",
    },
    Wall {
        under: "crates/core/Cargo.toml",
        except: &[],
        words: &["tokio", "iroh", "tonic", "rand", "getrandom"],
        rule: "core does no IO and has no randomness",
    },
    Wall {
        under: "crates/core/src",
        except: &[],
        words: &["HashMap", "HashSet"],
        rule: "core's order is the same in every run",
    },
    Wall {
        under: "crates/doltswarm/src/engine",
        except: &[],
        words: &["crate::net", "iroh", "tonic"],
        rule: "an engine knows nothing of the network",
    },
    Wall {
        under: "crates/doltswarm/src/net",
        except: &[],
        words: &["engine::doltlite", "engine::dolt", "doltlite::"],
        rule: "the network knows nothing of an engine",
    },
    Wall { under: "crates/core/src", except: &[], words: PRINTS, rule: "a library does not print" },
    Wall {
        under: "crates/doltswarm/src",
        // Only there for tests.
        except: &["crates/doltswarm/src/small_disk.rs"],
        words: PRINTS,
        rule: "a library does not print",
    },
];

/// The programs that run the simulator: they have a clock and a terminal.
const PROGRAMS: &[&str] = &["crates/core/src/bin"];

const PRINTS: &[&str] = &["println!", "eprintln!", "print!", "eprint!"];

/// Checks the rules; each fault is one line that names the file, the line and the rule.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path)?;
        faults.extend(faults_of(&name, &text));
    }
    Ok(faults)
}

/// Lists the files to look at.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            collect(&path, files)?;
        } else if matches!(extension, Some("rs" | "toml")) {
            files.push(path);
        }
    }
    Ok(())
}

/// The faults of one file.
fn faults_of(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name == GENERATED {
        return faults;
    }
    if name.ends_with(".rs") {
        if !text.starts_with("//!") {
            faults.push(format!("{name}:1: a file begins with `//!`, what it is for"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{name}:{lines}: a file has at most {LINES_MAX} lines"));
        }
        if !name.ends_with("/ffi.rs") && !name.contains("/ffi/") {
            faults.extend(forbidden(name, text, "unsafe", "`unsafe` belongs in ffi.rs or ffi/"));
        }
    }
    for wall in WALLS.iter().filter(|wall| within(name, wall.under)) {
        if !wall.except.iter().any(|except| within(name, except)) {
            // A test may say why it does nothing here.
            let code = if wall.words == PRINTS { before_tests(name, text) } else { text };
            for word in wall.words {
                faults.extend(forbidden(name, code, word, wall.rule));
            }
        }
    }
    faults
}

/// The part of a file that is not tests, which come last.
fn before_tests<'a>(name: &str, text: &'a str) -> &'a str {
    if name.contains("/tests/") || name.ends_with("tests.rs") {
        return "";
    }
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// Whether a file is the given one or in the given folder.
fn within(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where the code (not the comments) of a file has a word.
fn forbidden(name: &str, text: &str, word: &str, rule: &str) -> Vec<String> {
    let comment = if name.ends_with(".toml") { "#" } else { "//" };
    let has = |line: &str| {
        // A comment mark in a string hides the rest of its line: no rule is worth a parser.
        let code = line.split(comment).next().unwrap_or_default();
        code.match_indices(word).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(in_word) && !after.is_some_and(in_word)
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| has(line));
    lines.map(|(at, _)| format!("{name}:{}: `{word}`: {rule}", at + 1)).collect()
}

fn in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_tree_keeps_its_rules() {
        let faults = check(&crate::root()).unwrap();
        assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let file = "crates/core/src/a.rs";
        assert!(faults_of(file, "//! A.\nuse std::collections::BTreeMap;\n").is_empty());
        for (name, line, found) in [
            (file, "use std::collections::HashMap;", "core's order"),
            (file, "let now = std::time::Instant::now();", "no clock"),
            (file, "use tokio::sync::mpsc;", "no IO"),
            ("crates/core/Cargo.toml", "tokio.workspace = true", "no IO"),
            ("crates/doltswarm/src/engine/a.rs", "use crate::net::Network;", "an engine knows"),
            (
                "crates/doltswarm/src/net/a.rs",
                "use crate::engine::doltlite::X;",
                "the network knows",
            ),
            ("crates/doltswarm/src/a.rs", "println!(\"x\");", "does not print"),
            ("crates/cli/src/a.rs", "unsafe { x() }", "belongs in ffi"),
        ] {
            let faults = faults_of(name, &format!("//! A.\n{line}\n"));
            assert!(!faults.is_empty(), "{line} was not found");
            for fault in faults {
                assert!(
                    fault.starts_with(&format!("{name}:")) && fault.contains(":2: "),
                    "{fault}"
                );
                assert!(fault.contains(found), "{fault}");
            }
        }
        let headless = faults_of(file, "fn a() {}\n");
        assert!(headless[0].starts_with("crates/core/src/a.rs:1: "), "{headless:?}");
        let long = format!("//! A.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(faults_of(file, &long).len(), 1);
    }

    #[test]
    fn comments_and_parts_of_words_are_no_faults() {
        let text = "//! Not unsafe, no HashMap.\n#![forbid(unsafe_code)]\nfn a() {} // println!\n";
        assert!(faults_of("crates/core/src/a.rs", text).is_empty());
        for name in ["crates/doltswarm/src/ffi.rs", "crates/doltswarm/src/x/ffi/a.rs"] {
            assert!(faults_of(name, "//! A.\nunsafe {}\n").is_empty());
        }
        let text = "//! A.\n\n#[cfg(test)]\nmod tests {\n    println!();\n}\n";
        assert!(faults_of("crates/doltswarm/src/a.rs", text).is_empty());
        assert!(faults_of("crates/doltswarm/src/a/tests.rs", "//! A.\nprintln!();\n").is_empty());
    }
}
