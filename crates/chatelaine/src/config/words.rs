//! What is wrong with a configuration, in the words of whoever wrote it; and values that may be written in several ways.

use figment::error::{Error, Kind};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// All faults of a configuration, each with its key and where it is written.
pub(super) fn say(error: &Error) -> anyhow::Error {
    let faults: Vec<String> = error.clone().into_iter().map(|fault| one(&fault)).collect();
    anyhow::anyhow!("the configuration is not acceptable: {}", faults.join("; "))
}

fn one(fault: &Error) -> String {
    let what = match &fault.kind {
        Kind::InvalidType(actual, expected) => {
            format!("it is the {actual} and has to be {}", plain(expected))
        }
        Kind::InvalidValue(actual, expected) => format!("the {actual} is not {}", plain(expected)),
        Kind::UnknownVariant(found, known) => format!("{found:?} is none of {}", known.join(", ")),
        Kind::UnknownField(found, known) => {
            format!(
                "there is no setting {found:?} here; there are {}",
                known.join(", ")
            )
        }
        Kind::MissingField(name) => format!("{name} is missing"),
        other => other.to_string(),
    };
    let file = fault.metadata.as_ref().filter(|from| from.source.is_some());
    let is_set = fault
        .metadata
        .as_ref()
        .is_some_and(|from| from.name.contains("environment"));
    let key = match is_set {
        true => format!("CHATELAINE_{}", fault.path.join("__").to_uppercase()),
        false => fault.path.join("."),
    };
    let file = file
        .and_then(|from| from.source.as_ref())
        .map(|source| format!(" (in {source})"));
    let key = if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    };
    format!("{key}{what}{}", file.unwrap_or_default())
}

/// What a value has to be, without the words of the language that this is written in.
fn plain(expected: &str) -> String {
    match expected {
        "a sequence" => "a list, such as [\"one\", \"two\"]".to_owned(),
        "a string" | "path string" => "a text in quotes".to_owned(),
        "u16" | "u32" | "u64" | "usize" => "a whole number, not below zero".to_owned(),
        _ if expected.starts_with("struct ") => "a table with settings of its own".to_owned(),
        other => other.to_owned(),
    }
}

/// Address ranges; one address is a range.
pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let listed = Vec::<String>::deserialize(from)?;
    let read = |text: &String| match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.trim().parse::<IpNet>().map_err(|_| {
            serde::de::Error::custom(format!(
                "{text:?} is neither an address nor a range of them, such as 10.0.0.0/8"
            ))
        }),
    };
    listed.iter().map(read).collect()
}

/// Whether one can listen there: a host and a port.
pub(super) fn is_place(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    !host.is_empty() && !is_bare_v6 && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use figment::Figment;
    use figment::providers::{Format, Serialized, Toml};

    fn told(toml: &str) -> String {
        let figment = Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(toml));
        super::say(&figment.extract::<Config>().unwrap_err()).to_string()
    }

    #[test]
    fn a_fault_is_said_in_the_words_of_the_file() {
        for (toml, words) in [
            (
                "listen = \"127.0.0.1:1\"",
                "listen: it is the string \"127.0.0.1:1\" and has to be a list",
            ),
            (
                "mail = \"smtp\"",
                "mail: it is the string \"smtp\" and has to be a table",
            ),
            (
                "drain_seconds = \"5\"",
                "drain_seconds: it is the string \"5\" and has to be a whole number",
            ),
            ("drain_seconds = -5", "is not a whole number, not below zero"),
            (
                "trusted_proxies = [\"proxy\"]",
                "\"proxy\" is neither an address nor a range",
            ),
            (
                "log_format = \"xml\"",
                "log_format: \"xml\" is none of text, json",
            ),
            (
                "[mail]\ntransprt = \"smtp\"",
                "there is no setting \"transprt\" here; there are transport",
            ),
        ] {
            let told = told(toml);
            assert!(told.contains(words), "{toml}: {told}");
            assert!(!told.contains("struct ") && !told.contains("default."), "{told}");
        }
    }

    #[test]
    fn an_address_is_a_range() {
        let toml = "trusted_proxies = [\"192.0.2.7\", \"10.0.0.0/8\", \"2001:db8::1\"]";
        let config: Config = Figment::from(Serialized::defaults(Config::default()))
            .merge(Toml::string(toml))
            .extract()
            .unwrap();
        let said: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::1/128"]);
    }

    #[test]
    fn where_to_listen_has_a_port() {
        for good in ["127.0.0.1:7400", "[::]:80", "localhost:1"] {
            assert!(super::is_place(good), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "7400",
            ":80",
            "::1:80",
            "127.0.0.1:99999",
            "127.0.0.1:http",
        ] {
            assert!(!super::is_place(bad), "{bad}");
        }
    }
}
