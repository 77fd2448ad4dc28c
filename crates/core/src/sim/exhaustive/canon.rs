//! What a node is, without what makes no difference: two nodes with the same digest do the same
//! from here on, so the search looks at one of them only.
//!
//! A node is read through its derived `Debug`, so that a field that is added to it one day is part
//! of the digest without anyone remembering to add it here. What is left out or replaced must be
//! argued:
//!
//! - **Times** become *past*, *now* or *future*. In this search the clock of a node stands still
//!   but when its timers fire, and then it jumps beyond every one of them (`JUMP` is longer than
//!   any delay of `limits`). So a time in the future stays in the future until the jump and is past
//!   after it, however far away it is; and a duration is zero, or longer than any that is compared
//!   with.
//! - **Operations** are named by what they are: a node has at most one advert, one question and one
//!   pull under way to each peer, one merge and one move.
//! - **Jitter** and counters that only stretch delays decide nothing but how far away a time is.
//! - `main_seen` is only shown: a node decides nothing by where a peer's main was.
//! - `last_seen` decides which peer is forgotten beyond `PEERS_MAX` of them, the order of insertion
//!   in the memory of merges what is forgotten beyond `MERGES_REMEMBERED_MAX`: neither is reached.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::node::OpId;
use crate::time::Time;

/// Fields that decide nothing here; see above. The graph is added in full by the caller.
const LEFT_OUT: [&str; 9] = [
    "jitter:",
    "next_op:",
    "last_seen:",
    "main_seen:",
    "confirms:",
    "rejections:",
    "insertions:",
    "graph:",
    "now:",
];

/// A part of a `Debug` text.
enum Part<'a> {
    Text(&'a str),
    Group(char, Vec<Vec<Part<'a>>>),
}

/// Rewrites the `Debug` text of a node in its canonical form.
pub(super) fn canonical(text: &str, now: Time, names: &BTreeMap<OpId, String>) -> String {
    let mut rest = text;
    let parts = element(&mut rest);
    let mut canonical = String::with_capacity(text.len());
    render(&parts, now, names, &mut canonical);
    canonical
}

/// Reads up to the comma or the closing bracket that ends an element.
fn element<'a>(rest: &mut &'a str) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    loop {
        let end = rest.find(['{', '[', '(', '}', ']', ')', ',', '"']).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let Some(found) = after.chars().next() else {
            *rest = after;
            return parts;
        };
        *rest = after;
        match found {
            '"' => parts.push(Part::Text(quoted(rest))),
            '{' | '[' | '(' => {
                *rest = &after[1..];
                let mut elements = Vec::new();
                loop {
                    elements.push(element(rest));
                    let is_last = !rest.starts_with(',');
                    *rest = rest.get(1..).unwrap_or_default();
                    if is_last {
                        break;
                    }
                }
                parts.push(Part::Group(found, elements));
            }
            _ => return parts,
        }
    }
}

/// Reads a quoted text, whose quotes inside are escaped.
fn quoted<'a>(rest: &mut &'a str) -> &'a str {
    let mut is_escaped = false;
    let closes = |(_, found): &(usize, char)| {
        let closes = *found == '"' && !is_escaped;
        is_escaped = *found == '\\' && !is_escaped;
        closes
    };
    let inside = &rest[1..];
    let end = inside.char_indices().find(closes).map_or(rest.len(), |(at, _)| at + 2);
    let (text, after) = rest.split_at(end);
    *rest = after;
    text
}

fn render(parts: &[Part<'_>], now: Time, names: &BTreeMap<OpId, String>, out: &mut String) {
    let mut before = "";
    for part in parts {
        match part {
            Part::Text(text) => {
                out.push_str(text.trim());
                before = text;
            }
            Part::Group(_, elements) if before.ends_with("Time") => {
                out.push(match Time::from_millis(number(elements)).cmp(&now) {
                    std::cmp::Ordering::Less => '<',
                    std::cmp::Ordering::Equal => '=',
                    std::cmp::Ordering::Greater => '>',
                });
            }
            Part::Group(_, elements) if before.ends_with("OpId") => {
                let name = names.get(&OpId(number(elements)));
                out.push_str(name.map_or("?", String::as_str));
            }
            Part::Group(bracket, elements) => {
                render_group(*bracket, elements, now, names, out);
            }
        }
    }
}

fn render_group(
    bracket: char,
    elements: &[Vec<Part<'_>>],
    now: Time,
    names: &BTreeMap<OpId, String>,
    out: &mut String,
) {
    let mut texts = Vec::new();
    for parts in elements {
        let first = if let Some(Part::Text(text)) = parts.first() { text.trim() } else { "" };
        if LEFT_OUT.iter().any(|field| first.starts_with(field)) {
            continue;
        }
        let mut text = String::new();
        render(parts, now, names, &mut text);
        texts.push((first == "OpId", text));
    }
    // What is sorted by the number of the operation is sorted by its name instead.
    if texts.iter().any(|(by_op, _)| *by_op) {
        texts.sort_unstable();
    }
    let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    let _ = write!(out, "{bracket}{}", texts.join(","));
    out.push(match bracket {
        '{' => '}',
        '[' => ']',
        _ => ')',
    });
}

fn number(elements: &[Vec<Part<'_>>]) -> u64 {
    let Some([Part::Text(text)]) = elements.first().map(Vec::as_slice) else { return 0 };
    text.trim().parse().expect("because a time and an operation are numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_operations_are_replaced_and_nothing_else() {
        let text = "Node { now: Time(5), a: {OpId(7): (Some(Time(9)), \"a,\\\"}\"), OpId(3): \
                    Backoff { until: Some(Time(5)) }}, jitter: Jitter(77), b: [Time(1)] }";
        let names = [(OpId(3), "a3".into()), (OpId(7), "a1".into())].into();
        assert_eq!(
            canonical(text, Time::from_millis(5), &names),
            "Node{a:{OpIda1:(Some(Time>),\"a,\\\"}\"),OpIda3: Backoff{until: Some(Time=)}},b:[Time<]}"
        );
    }
}
