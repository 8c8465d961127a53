//! How results look: tables for people, YAML and JSON for people and programs, previews of changes.

use crate::failure::Outcome;
use crate::node::{Content, Node};
use crate::resources::Column;
use crate::surroundings::Surroundings;
use crate::yaml;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use std::collections::HashMap;
use wire::{Impact, ImpactShare};

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Columns.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Colours of a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    Red,
    Green,
    Yellow,
    Cyan,
    Bold,
    Dim,
}

/// Text in a colour, where there are colours.
pub(crate) fn paint(on: bool, paint: Paint, text: &str) -> String {
    if !on {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Red => "31",
        Paint::Green => "32",
        Paint::Yellow => "33",
        Paint::Cyan => "36",
        Paint::Bold => "1",
        Paint::Dim => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// What the server says may contain anything; a terminal gets to see text only.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| if wire::is_deceptive(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// One thing, or a list of things.
pub(crate) fn data(node: &Node, form: Form) -> String {
    match form {
        Form::Json => node.to_json() + "\n",
        Form::Yaml | Form::Table => yaml::write(node),
    }
}

/// The text of a field; `names` has names for identifiers.
fn cell(item: &Node, paths: &[&str], names: &HashMap<String, String>) -> String {
    let found = paths.iter().find_map(|path| {
        let node = path.split('.').try_fold(item, |node, part| node.get(part))?;
        (!node.is_null()).then_some(node)
    });
    let Some(node) = found else {
        return "-".into();
    };
    let text = |node: &Node| match &node.content {
        Content::Scalar(Value::String(text)) => to_seconds(names.get(text).unwrap_or(text)),
        Content::Scalar(Value::Bool(true)) => "yes".into(),
        Content::Scalar(Value::Bool(false)) => "no".into(),
        Content::Scalar(value) => value.to_string(),
        _ => "…".into(),
    };
    let whole = match &node.content {
        Content::List(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        _ => text(node),
    };
    clean(&whole)
}

/// A moment without its fraction, which nobody reads in a table; other text as it is.
fn to_seconds(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, fraction))
            if seconds.len() == 19
                && seconds.as_bytes()[10] == b'T'
                && fraction
                    .strip_suffix('Z')
                    .is_some_and(|f| f.bytes().all(|b| b.is_ascii_digit())) =>
        {
            format!("{seconds}Z")
        }
        _ => text.to_owned(),
    }
}

/// A table with a heading.
pub(crate) fn table(items: &[Node], columns: &[Column], names: &HashMap<String, String>) -> String {
    let head: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let rows = items.iter().map(|item| {
        columns
            .iter()
            .map(|(_, paths)| cell(item, paths, names))
            .collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What a dry run said.
pub(crate) fn preview(body: &Node, form: Form, around: &mut Surroundings) -> Outcome {
    if form != Form::Table {
        return around.print(data(body, form));
    }
    let colours = around.colours();
    let mut text = String::new();
    let changes = body.get("changes").map_or(&[][..], Node::items);
    if changes.is_empty() {
        text.push_str("Nothing would change.\n");
    }
    for change in changes {
        let action = change.get("action").and_then(Node::as_str).unwrap_or_default();
        let name = change
            .get("target")
            .and_then(|t| t.get("name").or_else(|| t.get("id")));
        let name = clean(name.and_then(Node::as_str).unwrap_or_default());
        text.push_str(&paint(colours, Paint::Bold, &format!("{action}  {name}")));
        text.push('\n');
        let sides = change.get("change");
        let side = |name: &str| {
            let node = sides.and_then(|c| c.get(name)).filter(|n| !n.is_null());
            node.map(yaml::write).unwrap_or_default()
        };
        text.push_str(&differences(&side("before"), &side("after"), colours));
    }
    if let Some(impact) = read_impact(body) {
        text.push_str(&impact_text(&impact, "  ", colours));
    }
    text.push_str("Dry run: nothing has changed.\n");
    around.print(text)
}

/// Lines that differ, with two of their neighbours.
pub(crate) fn differences(before: &str, after: &str, colours: bool) -> String {
    let mut text = String::new();
    let diff = TextDiff::from_lines(before, after);
    for (n, group) in diff.grouped_ops(2).iter().enumerate() {
        if n > 0 {
            text.push_str(&paint(colours, Paint::Cyan, "    …"));
            text.push('\n');
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, colour) = match change.tag() {
                ChangeTag::Delete => ('-', Some(Paint::Red)),
                ChangeTag::Insert => ('+', Some(Paint::Green)),
                ChangeTag::Equal => (' ', None),
            };
            let line = format!("  {sign} {}", clean(change.value().trim_end_matches('\n')));
            match colour {
                Some(colour) => text.push_str(&paint(colours, colour, &line)),
                None => text.push_str(&line),
            }
            text.push('\n');
        }
    }
    text
}

/// The impact in a preview, if there is one.
pub(crate) fn read_impact(preview: &Node) -> Option<Impact> {
    let impact = preview.get("impact").filter(|n| !n.is_null())?;
    serde_json::from_value(impact.to_value()).ok()
}

/// Who gains, keeps and loses access, in lines.
pub(crate) fn impact_text(impact: &Impact, indent: &str, colours: bool) -> String {
    let count = |n: i64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut text = String::new();
    let mut share = |verb: &str, share: &ImpactShare, colour: Paint| {
        if share.people == 0 && share.agents == 0 {
            return;
        }
        let mut names: Vec<String> = Vec::new();
        for name in &share.names {
            let person = name.email.as_ref().or(name.name.as_ref());
            let person = clean(person.map_or_else(|| name.user.as_ref(), String::as_str));
            let whole = match &name.client_name {
                Some(client) => format!("{} for {person}", clean(client)),
                None => person,
            };
            if !names.contains(&whole) {
                names.push(whole);
            }
        }
        let more = if (share.names.len() as i64) < share.people + share.agents {
            ", …"
        } else {
            ""
        };
        let line = format!(
            "{verb} access: {}, {} ({}{more})",
            count(share.people, "person", "people"),
            count(share.agents, "agent", "agents"),
            names.join(", ")
        );
        text.push_str(&format!("{indent}{}\n", paint(colours, colour, &line)));
    };
    share("lose", &impact.lose, Paint::Red);
    share("gain", &impact.gain, Paint::Green);
    share("keep", &impact.keep, Paint::Dim);
    let sign_in = impact.sign_in;
    if sign_in.gain != 0 || sign_in.lose != 0 {
        text.push_str(&format!(
            "{indent}sign-in: {} more can, {} can no longer\n",
            sign_in.gain, sign_in.lose
        ));
    }
    let tokens = impact.tokens;
    if tokens.moves() {
        text.push_str(&format!(
            "{indent}API tokens: {} stop, {} work again, {} go on\n",
            tokens.lose, tokens.gain, tokens.keep
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_tokens_that_stop_are_said() {
        let mut impact = Impact::default();
        impact.tokens.keep = 4;
        assert_eq!(impact_text(&impact, "", false), "");
        impact.tokens.lose = 2;
        let text = impact_text(&impact, "  ", false);
        assert_eq!(text, "  API tokens: 2 stop, 0 work again, 4 go on\n");
    }

    #[test]
    fn tables_show_text_only() {
        let items: Node = serde_json::from_str(
            "[{\"name\":\"a\\u001b[2J\",\"on\":true,\"in\":\"acc_1\"},{\"name\":\"long name\"}]",
        )
        .unwrap();
        let names = HashMap::from([("acc_1".to_owned(), "Labs".to_owned())]);
        let columns: &[Column] = &[("NAME", &["name"]), ("ON", &["on"]), ("IN", &["in"])];
        let expected = "NAME       ON   IN\na\u{fffd}[2J      yes  Labs\nlong name  -    -\n";
        assert_eq!(table(items.items(), columns, &names), expected);
        assert_eq!(to_seconds("2026-11-22T03:00:38.518845Z"), "2026-11-22T03:00:38Z");
        assert_eq!(to_seconds("wiki.example.com"), "wiki.example.com");
    }
}
