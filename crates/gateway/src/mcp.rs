//! What an MCP message asks for: as much of JSON-RPC 2.0 as decision and audit need. The origin gets the
//! bytes that were read here, so every way in which its parser could see another message is refused:
//! repeated members, members that only a lenient parser takes for ours (`Method`), and headers that say
//! something else than the body.

use aws_lc_rs::digest;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use wire::AuditMcp;

/// The largest message that is read, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// The longest batch.
const MAX_BATCH: usize = 64;
/// The longest method or tool name.
const MAX_NAME: usize = 256;

/// What one `POST` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The calls of tools, in order.
    pub(crate) calls: Vec<AuditMcp>,
    /// The messages that call no tool, in order.
    pub(crate) others: Vec<AuditMcp>,
}

impl Asked {
    /// Names of the tools.
    pub(crate) fn tools(&self) -> Vec<&str> {
        self.calls
            .iter()
            .filter_map(|call| call.tool.as_deref())
            .collect()
    }
}

/// Whether the body may be read as JSON in UTF-8, by us and by any origin: one media type, `application/json`, with no
/// parameter but `charset=utf-8` (servers decode by whatever stands there), not compressed.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(media), None) = (types.next(), types.next()) else {
        return false;
    };
    let mut parts = media.to_str().unwrap_or_default().split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let parameters: Vec<_> = parts.collect();
    let is_utf8 = match parameters.as_slice() {
        [] => true,
        [only] => ["charset=utf-8", "charset=\"utf-8\""]
            .iter()
            .any(|charset| only.eq_ignore_ascii_case(charset)),
        _ => false,
    };
    is_json && is_utf8 && !headers.contains_key(CONTENT_ENCODING)
}

/// Reads the body of a `POST`.
///
/// # Errors
/// What is wrong, in words for the caller.
pub(crate) fn read(body: &[u8], headers: &HeaderMap) -> Result<Asked, &'static str> {
    const BAD: &str = "the body is not a JSON-RPC message, or one that could be read in two ways";
    // Parsers skip what they do not need without looking whether it is text.
    let body = std::str::from_utf8(body).map_err(|_| BAD)?;
    let first = body.bytes().find(|b| !b.is_ascii_whitespace());
    let messages: Vec<Message<'_>> = if first == Some(b'[') {
        serde_json::from_str(body).map_err(|_| BAD)?
    } else {
        vec![serde_json::from_str(body).map_err(|_| BAD)?]
    };
    if messages.is_empty() || messages.len() > MAX_BATCH {
        return Err("a batch holds 1 to 64 messages");
    }
    let mut asked = Asked::default();
    for message in &messages {
        let method = message.method.as_deref().unwrap_or("(response)");
        if method.is_empty() || method.len() > MAX_NAME || is_slippery(method) {
            return Err(
                "the method's name is empty, too long or holds blanks or characters that cannot be seen",
            );
        }
        if is_nearly_a_call(method) {
            return Err("the method is tools/call but for case or slashes");
        }
        let mut entry = AuditMcp {
            method: method.to_owned(),
            ..AuditMcp::default()
        };
        if method == "tools/call" {
            let params = message
                .params
                .as_ref()
                .and_then(|p| p.name.as_deref().map(|name| (p, name)));
            let (params, name) = params.ok_or("tools/call without the name of a tool")?;
            if name.is_empty() || name.len() > MAX_NAME || is_slippery(name) {
                return Err(
                    "the tool's name is empty, too long or holds blanks or characters that cannot be seen",
                );
            }
            entry.tool = Some(name.to_owned());
            entry.arguments_sha256 = params.arguments.map(|arguments| {
                URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, arguments.get().as_bytes()))
            });
            asked.calls.push(entry);
        } else {
            asked.others.push(entry);
        }
    }
    check_headers(&messages, headers)?;
    Ok(asked)
}

/// `Mcp-Method` and `Mcp-Name` repeat what the body says; an origin may go by either.
fn check_headers(messages: &[Message<'_>], headers: &HeaderMap) -> Result<(), &'static str> {
    const DIFFERS: &str = "Mcp-Method or Mcp-Name says something else than the body";
    let single = |name| -> Result<Option<String>, &'static str> {
        let mut values = headers.get_all(name).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(DIFFERS);
        }
        first
            .map(|v| decode_sentinel(v.as_bytes()).ok_or(DIFFERS))
            .transpose()
    };
    let (method, name) = (single("mcp-method")?, single("mcp-name")?);
    if method.is_none() && name.is_none() {
        return Ok(());
    }
    let [message] = messages else {
        return Err(DIFFERS);
    };
    let params = message.params.as_ref();
    // What the header repeats is the specification's to say; of other methods it says nothing.
    let named = match message.method.as_deref() {
        Some("tools/call" | "prompts/get") => Some(params.and_then(|p| p.name.as_deref())),
        Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
            Some(params.and_then(|p| p.uri.as_deref()))
        }
        _ => None,
    };
    if method.is_some_and(|m| message.method.as_deref() != Some(&m))
        || name.is_some_and(|n| named.is_some_and(|named| named != Some(&n)))
    {
        return Err(DIFFERS);
    }
    Ok(())
}

/// MCP writes values that are no header text as `=?base64?…?=`.
fn decode_sentinel(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let Some(inner) = text.strip_prefix("=?base64?").and_then(|t| t.strip_suffix("?=")) else {
        return Some(text.to_owned());
    };
    String::from_utf8(STANDARD.decode(inner).ok()?).ok()
}

#[derive(Default)]
struct Message<'a> {
    method: Option<String>,
    params: Option<Params<'a>>,
}

#[derive(Default)]
struct Params<'a> {
    name: Option<String>,
    uri: Option<String>,
    arguments: Option<&'a RawValue>,
}

/// The member that a lenient parser may take `key` for: ASCII case and the two letters that Unicode folds
/// into ASCII (long s, kelvin sign) do not count for it.
fn folded(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// Whether software may read a text as another one: it ends at a control, drops what cannot be seen, or trims.
fn is_slippery(text: &str) -> bool {
    !wire::is_plain(text) || text.contains(char::is_control)
}

/// Whether an origin that is generous with case and slashes takes a method for `tools/call`, which is not written so.
fn is_nearly_a_call(method: &str) -> bool {
    if method == "tools/call" {
        return false;
    }
    let folded = folded(method);
    let words = folded.split(['/', '\\']).filter(|word| !word.is_empty());
    words.eq(["tools", "call"])
}

/// Whether `key` is the member `name`; an error when it is not but could be taken for it, or comes again.
fn is_member<E: serde::de::Error>(key: &str, name: &str, seen: bool) -> Result<bool, E> {
    // Some parsers end a name at NUL; in JavaScript this one lends its members to the message.
    if is_slippery(key) || key == "__proto__" {
        return Err(E::custom("ambiguous member"));
    }
    if folded(key) != name {
        return Ok(false);
    }
    if key != name || seen {
        return Err(E::custom("ambiguous member"));
    }
    Ok(true)
}

impl<'de> Deserialize<'de> for Message<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Message<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut message = Message::default();
                let (mut method, mut params) = (false, false);
                let (mut result, mut error) = (false, false);
                while let Some(key) = map.next_key::<String>()? {
                    if is_member::<A::Error>(&key, "method", method)? {
                        method = true;
                        message.method = Some(map.next_value()?);
                    } else if is_member::<A::Error>(&key, "params", params)? {
                        params = true;
                        let raw: &RawValue = map.next_value()?;
                        // By position, or nothing: no tool is called so, see `read`.
                        if raw.get().starts_with('{') {
                            message.params = Some(serde_json::from_str(raw.get()).map_err(A::Error::custom)?);
                        }
                    } else {
                        result |= is_member::<A::Error>(&key, "result", result)?;
                        error |= is_member::<A::Error>(&key, "error", error)?;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                // JSON-RPC 2.0: a request has a method, a response a result or an error.
                if method == (result || error) {
                    return Err(A::Error::custom("neither a request nor a response"));
                }
                Ok(message)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Params<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Params<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("parameters by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut params = Params::default();
                let (mut name, mut uri, mut arguments) = (false, false, false);
                while let Some(key) = map.next_key::<String>()? {
                    if is_member::<A::Error>(&key, "name", name)? {
                        name = true;
                        let raw: &RawValue = map.next_value()?;
                        // Other methods may use the member for something else than text.
                        params.name = serde_json::from_str(raw.get()).ok();
                    } else if is_member::<A::Error>(&key, "uri", uri)? {
                        uri = true;
                        let raw: &RawValue = map.next_value()?;
                        params.uri = serde_json::from_str(raw.get()).ok();
                    } else if is_member::<A::Error>(&key, "arguments", arguments)? {
                        arguments = true;
                        params.arguments = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(params)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Result<Asked, &'static str> {
        read(body.as_bytes(), &HeaderMap::new())
    }

    #[test]
    fn a_call_names_its_tool_and_the_digest_of_its_arguments_as_sent() {
        let asked = ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"close","arguments":{"id": 7}}}"#)
            .unwrap();
        assert_eq!(asked.tools(), ["close"]);
        assert_eq!(asked.calls[0].method, "tools/call");
        assert_eq!(
            asked.calls[0].arguments_sha256,
            Some(store::sha256(r#"{"id": 7}"#))
        );
        assert!(asked.others.is_empty());
    }

    #[test]
    fn a_batch_names_all_its_tools() {
        let asked = ask(
            r#"[{"method":"tools/call","params":{"name":"a"}},{"method":"ping"},{"method":"tools/call","params":{"name":"b"}}]"#,
        )
        .unwrap();
        assert_eq!(asked.tools(), ["a", "b"]);
        assert_eq!(asked.others[0].method, "ping");
    }

    #[test]
    fn what_some_parser_takes_for_another_message_is_refused() {
        for body in [
            r#"{"method":"ping","method\u0000":"tools/call","params":{"name":"danger"}}"#,
            r#"{"method":"tools/call","params":{"name":"a","name\u0000":"danger"}}"#,
            r#"{"method":"tools/call","params":{"name":"a"},"params\u0000":{"name":"danger"}}"#,
            r#"{"method":"tools/call\u0000","params":{"name":"danger"}}"#,
            r#"{"method":"tools/call\u200b","params":{"name":"danger"}}"#,
            r#"{"method":" tools/call","params":{"name":"danger"}}"#,
            r#"{"method":"Tools/Call","params":{"name":"danger"}}"#,
            r#"{"method":"tools/call/","params":{"name":"danger"}}"#,
            r#"{"method":"/tools/call","params":{"name":"danger"}}"#,
            r#"{"method":"tools//call","params":{"name":"danger"}}"#,
            r#"{"method":"tools\\call","params":{"name":"danger"}}"#,
            "{\"method\":\"tool\u{17f}/call\",\"params\":{\"name\":\"danger\"}}",
            r#"{"method":"tools/call","params":{"name":"danger "}}"#,
            r#"{"method":"","params":{}}"#,
            r#"{"method":"ping","x\n":1}"#,
            r#"{"method":"ping","\ufeffmethod":"tools/call"}"#,
            r#"{"id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"__proto__":{"method":"tools/call","params":{"name":"danger"}}}"#,
            r#"{"id":1,"result":{},"method":"ping"}"#,
            r#"{"id":1,"Result":{}}"#,
            r#"{"method":"ping","params":{"__proto__":{"name":"danger"}}}"#,
        ] {
            assert!(ask(body).is_err(), "{body}");
        }
    }

    #[test]
    fn messages_that_call_no_tool_pass() {
        for body in [
            r#"{"method":"initialize","params":{"x":1}}"#,
            r#"{"id":1,"result":{}}"#,
            r#"{"method":"x","params":[1]}"#,
            r#"{"method":"x","params":null}"#,
        ] {
            let asked = ask(body).unwrap();
            assert!(asked.calls.is_empty() && asked.others.len() == 1, "{body}");
        }
    }

    #[test]
    fn messages_with_two_readings_are_refused() {
        for body in [
            "",
            "null",
            "1",
            "\"x\"",
            "{}",
            "[]",
            "{",
            "[[]]",
            "{}x",
            "\u{feff}{\"method\":\"x\"}",
            r#"{"method":"tools/list","method":"tools/call","params":{"name":"a"}}"#,
            r#"{"method":"tools/list","Method":"tools/call"}"#,
            r#"{"method":"tools/list","METHOD":"tools/call"}"#,
            "{\"method\":\"x\",\"param\u{17f}\":{\"name\":\"a\"}}",
            r#"{"\u006dethod":"tools/list","method":"tools/call"}"#,
            r#"{"method":"tools/call"}"#,
            r#"{"method":"tools/call","params":["a"]}"#,
            r#"{"method":"tools/call","params":{"name":1}}"#,
            r#"{"method":"tools/call","params":{"name":""}}"#,
            r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
            r#"{"method":7}"#,
        ] {
            assert!(ask(body).is_err(), "{body}");
        }
    }

    #[test]
    fn the_body_is_text_in_utf_8_and_nothing_else() {
        let is = |media: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, media.parse().unwrap());
            is_json(&headers)
        };
        for good in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json ; Charset=\"UTF-8\"",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in [
            "application/json; charset=utf-7",
            "application/json; charset=utf-16",
            "application/json; charset=utf8",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset=utf-8, text/plain",
            "application/json; charset*=utf-8''utf-7",
            "application/json; charset='utf-8'",
            "application/json; boundary=x",
            "application/json;",
            "application/json, application/json",
            "application/vnd.api+json",
            "text/json",
        ] {
            assert!(!is(bad), "{bad}");
        }
        for body in [
            &b"{\"method\":\"ping\",\"x\":\"\xff\"}"[..],
            b"{\"method\":\"ping\",\"x\":\"\xc0\xaf\"}",
            b"\xff\xfe{\0\"\0",
            b"{\"method\":\"ping\",\"params\":{\"x\":\"\xed\xa0\x80\"}}",
        ] {
            assert!(read(body, &HeaderMap::new()).is_err());
        }
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let body = br#"{"method":"tools/call","params":{"name":"a"}}"#;
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            read(body, &headers).is_ok()
        };
        assert!(with("mcp-method", "tools/call"));
        assert!(with("mcp-name", "a"));
        assert!(with("mcp-name", "=?base64?YQ==?="));
        assert!(!with("mcp-method", "tools/list"));
        assert!(!with("mcp-name", "b"));
        assert!(!with("mcp-name", "=?base64?Yg==?="));
        for (body, name, good) in [
            (r#"{"method":"prompts/get","params":{"name":"a"}}"#, "a", true),
            (r#"{"method":"prompts/get","params":{"name":"a"}}"#, "b", false),
            (
                r#"{"method":"resources/read","params":{"uri":"a:b"}}"#,
                "a:b",
                true,
            ),
            (
                r#"{"method":"resources/read","params":{"uri":"a:b"}}"#,
                "a:c",
                false,
            ),
            (
                r#"{"method":"resources/read","params":{"name":"a:c"}}"#,
                "a:c",
                false,
            ),
            (
                r#"{"method":"tools/call","params":{"name":"a","uri":"b"}}"#,
                "b",
                false,
            ),
            (r#"{"method":"tasks/get","params":{"taskId":"7"}}"#, "7", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("mcp-name", name.parse().unwrap());
            assert_eq!(read(body.as_bytes(), &headers).is_ok(), good, "{body}, {name}");
        }
    }
}
