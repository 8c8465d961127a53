//! YAML in and out. Reading keeps line and column of everything, and takes what YAML 1.2's core schema says;
//! what people get wrong without noticing (two values under one key, keys that are no text, tags, several
//! documents) is refused. Writing is deterministic: the same document is the same bytes.

use crate::node::{Content, Key, Node, Position};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::{Number, Value};
use std::collections::HashMap;

/// Why a file cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) at: Position,
    pub(crate) detail: String,
}

/// Values in a document at the most, aliases counted each time that they are used.
const MOST: usize = 2_000_000;
/// Levels at the most.
const DEEPEST: usize = 100;

/// Reads the one document of a text.
pub(crate) fn read(text: &str) -> Result<Node, Unreadable> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        left: MOST,
    };
    let mut document = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::DocumentStart(_) if document.is_some() => {
                return Err(refuse(span, "one document only"));
            }
            Event::DocumentStart(_) => document = Some(reader.node(0)?),
            Event::StreamEnd => break,
            _ => {}
        }
    }
    Ok(document.unwrap_or_else(|| Content::Scalar(Value::Null).into()))
}

fn position(marker: &Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn refuse(span: Span, detail: impl Into<String>) -> Unreadable {
    Unreadable {
        at: position(&span.start),
        detail: detail.into(),
    }
}

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    left: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Unreadable {
                at: position(error.marker()),
                detail: error.info().to_owned(),
            }),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 0, 0)))),
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let (event, span) = self.next()?;
        self.value_of(event, span, depth)
    }

    fn spend(&mut self, span: Span, values: usize) -> Result<(), Unreadable> {
        self.left = self
            .left
            .checked_sub(values)
            .ok_or_else(|| refuse(span, "too large"))?;
        Ok(())
    }

    fn value_of(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Unreadable> {
        if depth > DEEPEST {
            return Err(refuse(span, "too deep"));
        }
        self.spend(span, 1)?;
        let before = self.left;
        let (content, anchor) = match event {
            Event::Alias(anchor) => {
                let found = self.anchors.get(&anchor).cloned();
                let (node, size) = found.ok_or_else(|| refuse(span, "an alias of itself"))?;
                self.spend(span, size)?;
                (node.content, 0)
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(refuse(span, "tags are not understood here"));
            }
            Event::Scalar(text, style, anchor, None) => (Content::Scalar(scalar(&text, style)), anchor),
            Event::SequenceStart(anchor, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.value_of(event, span, depth + 1)?),
                    }
                }
                (Content::List(items), anchor)
            }
            Event::MappingStart(anchor, None) => (Content::Map(self.entries(depth)?), anchor),
            _ => return Err(refuse(span, "a value is missing")),
        };
        let node = Node {
            at: position(&span.start),
            content,
        };
        if anchor > 0 {
            self.anchors
                .insert(anchor, (node.clone(), before - self.left + 1));
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Unreadable> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (name, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(name, _, _, None), span) => (name, span),
                (_, span) => return Err(refuse(span, "keys are text")),
            };
            if let Some((first, _)) = entries.iter().find(|(k, _)| k.name == *name) {
                let detail = format!("`{name}` is there already, in line {}", first.at.line);
                return Err(refuse(span, detail));
            }
            let key = Key {
                at: position(&span.start),
                name: name.into_owned(),
            };
            let value = self.node(depth + 1)?;
            entries.push((key, value));
        }
    }
}

/// The core schema (YAML 1.2.2 section 10.3) of what stands without quotes.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return text.into();
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = plain.parse::<i64>() {
        return number.into();
    }
    if let Ok(number) = plain.parse::<u64>() {
        return number.into();
    }
    let (hex, octal) = (text.strip_prefix("0x"), text.strip_prefix("0o"));
    if let Some(number) = hex
        .and_then(|h| u64::from_str_radix(h, 16).ok())
        .or_else(|| octal.and_then(|o| u64::from_str_radix(o, 8).ok()))
    {
        return number.into();
    }
    let float = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        .then(|| plain.parse::<f64>().ok().and_then(Number::from_f64))
        .flatten();
    float.map_or_else(|| text.into(), Value::Number)
}

/// Longest line that a list or map is put on as a whole.
const LINE: usize = 100;

/// Writes a document.
pub(crate) fn write(node: &Node) -> String {
    let mut text = String::new();
    match &node.content {
        Content::Map(entries) if !entries.is_empty() => write_entries(&mut text, entries, 0, false),
        Content::List(items) if !items.is_empty() => write_items(&mut text, items, 0),
        _ => {
            text.push_str(&flow(node));
            text.push('\n');
        }
    }
    text
}

fn indent(text: &mut String, depth: usize) {
    text.push_str(&"  ".repeat(depth));
}

/// `first` goes on in the line that is begun: behind the dash of an item.
fn write_entries(text: &mut String, entries: &[(Key, Node)], depth: usize, first: bool) {
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 || !first {
            indent(text, depth);
        }
        text.push_str(&quoted(&key.name));
        text.push(':');
        match on_one_line(value, depth * 2 + key.name.len() + 2) {
            Some(line) => {
                text.push(' ');
                text.push_str(&line);
                text.push('\n');
            }
            None => {
                text.push('\n');
                match &value.content {
                    Content::List(items) => write_items(text, items, depth + 1),
                    Content::Map(entries) => write_entries(text, entries, depth + 1, false),
                    Content::Scalar(_) => {}
                }
            }
        }
    }
}

fn write_items(text: &mut String, items: &[Node], depth: usize) {
    for item in items {
        indent(text, depth);
        text.push_str("- ");
        // What begins with a name is a thing of its own, one key a line.
        let thing = matches!(&item.content, Content::Map(entries) if entries.first().is_some_and(|(k, _)| k.name == "name"));
        let line = on_one_line(item, depth * 2 + 2).or_else(|| short_map(item, depth * 2 + 2));
        let line = line.filter(|_| !thing);
        match (line, &item.content) {
            (Some(line), _) => {
                text.push_str(&line);
                text.push('\n');
            }
            (None, Content::Map(entries)) => write_entries(text, entries, depth + 1, true),
            (None, Content::List(inner)) => {
                text.push('\n');
                write_items(text, inner, depth + 1);
            }
            (None, Content::Scalar(_)) => {}
        }
    }
}

/// Scalars, empty things and short lists of scalars.
fn on_one_line(node: &Node, column: usize) -> Option<String> {
    match &node.content {
        Content::Scalar(_) => Some(flow(node)),
        // One value is as good beside its key as below it.
        Content::Map(entries) if entries.len() == 1 => entries
            .iter()
            .all(|(_, value)| matches!(value.content, Content::Scalar(_)))
            .then(|| flow(node))
            .filter(|line| column + line.len() <= LINE),
        Content::Map(entries) => entries.is_empty().then(|| "{}".into()),
        Content::List(items) => {
            let scalars = items.iter().all(|i| matches!(i.content, Content::Scalar(_)));
            scalars
                .then(|| flow(node))
                .filter(|line| items.is_empty() || column + line.len() <= LINE)
        }
    }
}

/// Maps of scalars, such as selectors.
fn short_map(node: &Node, column: usize) -> Option<String> {
    let Content::Map(entries) = &node.content else {
        return None;
    };
    let simple = |node: &Node| match &node.content {
        Content::Scalar(_) => true,
        Content::List(items) => items.iter().all(|i| matches!(i.content, Content::Scalar(_))),
        Content::Map(entries) => entries
            .iter()
            .all(|(_, v)| matches!(v.content, Content::Scalar(_))),
    };
    entries
        .iter()
        .all(|(_, value)| simple(value))
        .then(|| flow(node))
        .filter(|line| column + line.len() <= LINE)
}

fn flow(node: &Node) -> String {
    match &node.content {
        Content::Scalar(Value::String(text)) => quoted(text),
        Content::Scalar(value) => value.to_string(),
        Content::List(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Content::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(&key.name), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text without quotes where nobody and no YAML reader, also of version 1.1, can take it for something else.
fn quoted(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '_');
    let inside = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | '/' | '@' | '+' | '-' | ':');
    let ambiguous = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let plain = begins
        && text.chars().all(inside)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains("  ")
        && !ambiguous;
    if plain {
        return text.to_owned();
    }
    // JSON's form is YAML's double-quoted form, but for what JSON leaves as it is and YAML does not show.
    let mut line = String::new();
    for c in Value::from(text).to_string().chars() {
        match u32::from(c) {
            _ if !wire::is_deceptive(c) => line.push(c),
            code @ ..=0xffff => line.push_str(&format!("\\u{code:04x}")),
            code => line.push_str(&format!("\\U{code:08x}")),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_node() -> impl Strategy<Value = Node> {
        let text = prop_oneof![
            ".*",
            "[a-z0-9 :#,.{}\\[\\]&*!|>'\"%@`~-]*",
            "[yYnNoOtTrRuUeEfF0-9.x+-]{0,5}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        let leaf = leaf.prop_map(|v| Content::Scalar(v).into());
        leaf.prop_recursive(4, 40, 6, |inner: BoxedStrategy<Node>| {
            let map = prop::collection::btree_map(".{0,8}", inner.clone(), 0..5).prop_map(|entries| {
                let entries = entries.into_iter().map(|(k, v)| (k.as_str().into(), v));
                Content::Map(entries.collect()).into()
            });
            prop_oneof![prop::collection::vec(inner, 0..5).prop_map(Node::list), map]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(node in any_node()) {
            let text = write(&node);
            let again = read(&text).map_err(|e| TestCaseError::fail(format!("{e:?} in\n{text}")))?;
            prop_assert_eq!(&again, &node, "{}", text);
            prop_assert_eq!(write(&again), text);
        }
    }

    #[test]
    fn documents_are_written_for_people() {
        let json = r#"{"name":"Wiki","on":true,"note":"1e3","empty":[],"policies":["Staff","No agents, ever"],
            "include":[{"type":"group","group":"Staff"},{"type":"ip","ranges":["10.0.0.0/8"]}],
            "oauth":{"scopes":[{"name":"read","covers":[{"methods":["GET"]}]}]}}"#;
        let node: Node = serde_json::from_str(json).unwrap();
        let expected = "\
name: Wiki
\"on\": true
note: \"1e3\"
empty: []
policies: [Staff, \"No agents, ever\"]
include:
  - {type: group, group: Staff}
  - {type: ip, ranges: [\"10.0.0.0/8\"]}
oauth:
  scopes:
    - name: read
      covers:
        - {methods: [GET]}
";
        assert_eq!(write(&node), expected);
        assert_eq!(read(expected).unwrap(), node);
    }

    #[test]
    fn what_is_easily_got_wrong_is_refused_and_says_where() {
        for (text, at, word) in [
            ("a: 1\nb: 2\na: 3\n", (3, 1), "already, in line 1"),
            ("a: [1, 2\nb: 3\n", (2, 1), ""),
            ("a: !secret x\n", (1, 4), "tags"),
            ("a: 1\n---\nb: 2\n", (2, 1), "one document"),
            ("? [a]\n: 1\n", (1, 3), "keys are text"),
            ("a: &a [*a]\n", (1, 8), "itself"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.at.line, at.0, "{text}: {error:?}");
            assert!(error.detail.contains(word), "{text}: {error:?}");
            if !word.is_empty() {
                assert_eq!(error.at.column, at.1, "{text}: {error:?}");
            }
        }
    }

    #[test]
    fn aliases_repeat_what_they_name_but_not_without_end() {
        let node = read("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(node.get("a"), node.get("c"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let of = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{of}]\n"));
        }
        assert_eq!(read(&bomb).unwrap_err().detail, "too large");
    }

    #[test]
    fn pointers_lead_to_their_place() {
        let node = read("name: x\noauth:\n  scopes:\n    - name: a\n      description: b\n").unwrap();
        assert_eq!(node.locate("/oauth/scopes/0/description").to_string(), "5:7");
        assert_eq!(node.locate("/oauth/scopes/3/name").to_string(), "3:3");
        assert_eq!(node.locate("").to_string(), "1:1");
    }
}
