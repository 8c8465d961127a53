//! The few requests to this machine that measuring needs: HTTP/1.1 in clear text, one connection each.
//!
//! The product's own requests go through its guarded client; this program must stay quick to build, so it
//! brings no HTTP library.

use anyhow::{Context as _, bail};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// An answer, with header names in lower case.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> anyhow::Result<serde_json::Value> {
        if self.status >= 400 {
            bail!("status {}: {}", self.status, self.body);
        }
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

/// Keeps cookies, as a browser does. All hosts are this machine, and cookies know no ports.
#[derive(Debug, Default)]
pub(super) struct Browser {
    cookies: BTreeMap<String, String>,
}

/// What to send.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
}

impl Browser {
    pub(super) fn get(&mut self, url: &str) -> anyhow::Result<Answer> {
        self.send(&Request {
            method: "GET",
            url,
            headers: &[("accept", "application/json")],
            body: "",
        })
    }

    /// Opens a page, as a person's browser would ask for it.
    pub(super) fn navigate(&mut self, url: &str) -> anyhow::Result<Answer> {
        let headers = [
            ("accept", "text/html"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        self.send(&Request {
            method: "GET",
            url,
            headers: &headers,
            body: "",
        })
    }

    /// Sends a form, as a person's browser would from a page of `origin`.
    pub(super) fn submit(&mut self, url: &str, fields: &[(String, String)]) -> anyhow::Result<Answer> {
        let origin = split(url)?.0;
        let headers = [
            ("accept", "text/html"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin.as_str()),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send(&Request {
            method: "POST",
            url,
            headers: &headers,
            body: &form(fields),
        })
    }

    pub(super) fn send(&mut self, request: &Request<'_>) -> anyhow::Result<Answer> {
        let (origin, target) = split(request.url)?;
        let authority = origin.trim_start_matches("http://");
        let mut stream =
            TcpStream::connect(authority).with_context(|| format!("connecting to {authority}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut head = format!(
            "{} {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\nuser-agent: chatelaine-bench\r\n",
            request.method
        );
        for (name, value) in request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            head.push_str(&format!("cookie: {}\r\n", pairs.join("; ")));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
        stream.write_all(head.as_bytes())?;
        stream.write_all(request.body.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let answer =
            parse(&bytes).with_context(|| format!("the answer to {} {}", request.method, request.url))?;
        for (_, value) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            if let Some((name, value)) = value.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.cookies
                    .insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(answer)
    }
}

/// Splits an absolute URL into origin and the rest.
fn split(url: &str) -> anyhow::Result<(String, String)> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("not an http URL: {url}"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let path = match &rest[end..] {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    Ok((
        format!("http://{}", &rest[..end]),
        path.split('#').next().unwrap_or("/").to_owned(),
    ))
}

/// What `location`, found in an answer to `base`, means.
pub(super) fn join(base: &str, location: &str) -> anyhow::Result<String> {
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let (origin, path) = split(base)?;
    Ok(if location.starts_with('/') {
        format!("{origin}{location}")
    } else if location.is_empty() || location.starts_with('?') {
        format!("{origin}{}{location}", path.split('?').next().unwrap_or("/"))
    } else {
        let folder = path
            .split('?')
            .next()
            .and_then(|path| path.rsplit_once('/'))
            .map_or("", |(folder, _)| folder);
        format!("{origin}{folder}/{location}")
    })
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the head is cut short")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .context("no status line")?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let raw = &bytes[end + 4..];
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = if chunked { dechunk(raw)? } else { raw.to_vec() };
    Ok(Answer {
        status,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn dechunk(mut raw: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = raw
            .windows(2)
            .position(|window| window == b"\r\n")
            .context("a chunk is cut short")?;
        let line = std::str::from_utf8(&raw[..end])?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = raw.get(end + 2..end + 2 + size).context("a chunk is cut short")?;
        body.extend_from_slice(chunk);
        raw = raw.get(end + 2 + size + 2..).context("a chunk is cut short")?;
    }
}

/// `application/x-www-form-urlencoded`.
pub(super) fn form(fields: &[(String, String)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// Percent-encoding of everything but unreserved characters (RFC 3986 section 2.3).
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_resolve_as_in_a_browser() {
        let base = "http://127.0.0.1:7400/oauth/app_1/authorize?a=b";
        let cases = [
            (
                "http://127.0.0.1:9/callback?code=1",
                "http://127.0.0.1:9/callback?code=1",
            ),
            ("/login?x=1", "http://127.0.0.1:7400/login?x=1"),
            ("", "http://127.0.0.1:7400/oauth/app_1/authorize"),
            ("?c=d", "http://127.0.0.1:7400/oauth/app_1/authorize?c=d"),
            ("token", "http://127.0.0.1:7400/oauth/app_1/token"),
        ];
        for (location, expected) in cases {
            assert_eq!(join(base, location).unwrap(), expected, "{location:?}");
        }
    }

    #[test]
    fn chunked_answers_are_put_together() {
        let answer = parse(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        )
        .unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcde"));
        assert_eq!(answer.header("set-cookie"), Some("a=b"));
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc").is_err());
    }

    #[test]
    fn form_fields_are_percent_encoded() {
        assert_eq!(form(&[("a b".into(), "ü&=".into())]), "a%20b=%C3%BC%26%3D");
    }
}
