//! Documents as people write them: values that keep the order of their keys and, when they were read from a
//! file, where they stood. JSON answers and YAML files are both read into this form, and written from it.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Where something stands in a file, from 1; 0 for what was never in one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// Null, a truth value, a number or text.
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) name: String,
}

/// Equal in what they say; where they stand does not count.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self {
            at: Position::default(),
            name: name.to_owned(),
        }
    }
}

impl From<Content> for Node {
    fn from(content: Content) -> Self {
        Self {
            at: Position::default(),
            content,
        }
    }
}

impl Node {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Content::Scalar(Value::String(text.into())).into()
    }

    /// A map of what is there.
    pub(crate) fn map(entries: Vec<(&str, Self)>) -> Self {
        Content::Map(entries.into_iter().map(|(k, v)| (k.into(), v)).collect()).into()
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Content::List(items).into()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(k, _)| k.name == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) const fn is_null(&self) -> bool {
        matches!(self.content, Content::Scalar(Value::Null))
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The same without order and places.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.name.clone(), node.to_value()))
                    .collect(),
            ),
        }
    }

    /// Where a JSON pointer leads: to a key, an item, or as near to it as there is something.
    pub(crate) fn locate(&self, pointer: &str) -> Position {
        let mut node = self;
        let mut at = self.at;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            match &node.content {
                Content::List(items) => {
                    let Some(item) = part.parse().ok().and_then(|i: usize| items.get(i)) else {
                        return at;
                    };
                    (node, at) = (item, item.at);
                }
                Content::Map(entries) => {
                    let Some((key, value)) = entries.iter().find(|(k, _)| k.name == part) else {
                        return at;
                    };
                    (node, at) = (value, key.at);
                }
                Content::Scalar(_) => return at,
            }
        }
        at
    }

    /// As JSON, keys in their order.
    pub(crate) fn to_json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text, 0);
        text
    }

    fn write_json(&self, text: &mut String, depth: usize) {
        let line = |text: &mut String, depth: usize| {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        };
        match &self.content {
            Content::Scalar(value) => text.push_str(&value.to_string()),
            Content::List(items) if items.is_empty() => text.push_str("[]"),
            Content::Map(entries) if entries.is_empty() => text.push_str("{}"),
            Content::List(items) => {
                text.push('[');
                for (i, item) in items.iter().enumerate() {
                    text.push_str(if i > 0 { "," } else { "" });
                    line(text, depth + 1);
                    item.write_json(text, depth + 1);
                }
                line(text, depth);
                text.push(']');
            }
            Content::Map(entries) => {
                text.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    text.push_str(if i > 0 { "," } else { "" });
                    line(text, depth + 1);
                    text.push_str(&Value::from(key.name.as_str()).to_string());
                    text.push_str(": ");
                    value.write_json(text, depth + 1);
                }
                line(text, depth);
                text.push('}');
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Content::Scalar(value.into()).into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Content::Scalar(value.into()).into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Content::Scalar(value.into()).into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Content::Scalar(value.into()).into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::text(value))
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Content::Scalar(Value::Null).into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::list(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Node>()? {
            entries.push((key.as_str().into(), value));
        }
        Ok(Content::Map(entries).into())
    }
}
