//! Networks that something may be used from.

use crate::fault::{Answer, Fault};
use ipnet::IpNet;
use std::net::IpAddr;

/// A network in CIDR form, or one address. IPv4 in IPv6 notation is IPv4.
fn parse(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => IpNet::new(v4.into(), length).ok(),
        _ => Some(network),
    }
}

/// Networks as a caller writes them, in their shortest form.
pub(crate) fn check(pointer: &str, list: &[String]) -> Answer<Vec<String>> {
    crate::check::at_most(pointer, list, 100)?;
    let networks = list.iter().enumerate().map(|(i, text)| {
        let network = parse(text).ok_or_else(|| {
            let detail = "an address such as 192.0.2.7, or a network such as 192.0.2.0/24";
            Fault::invalid(format!("{pointer}/{i}"), detail)
        })?;
        // As it was written: reading IPv4 in IPv6 notation drops what is beyond.
        let written = text.parse::<IpNet>().unwrap_or(network);
        if written.trunc() != written {
            let detail = format!("it has bits beyond its length: write it as {}", network.trunc());
            return Err(Fault::invalid(format!("{pointer}/{i}"), detail));
        }
        Ok(network.to_string())
    });
    networks.collect()
}

/// Whether `address` lies in one of the networks. An empty list allows every address, a list that cannot be
/// read and an unknown address allow nothing.
pub(crate) fn allows(list: &[String], address: Option<&str>) -> bool {
    if list.is_empty() {
        return true;
    }
    let Some(address) = address.and_then(|text| text.parse::<IpAddr>().ok()) else {
        return false;
    };
    let address = address.to_canonical();
    list.iter()
        .filter_map(|text| parse(text))
        .any(|network| network.contains(&address))
}

/// Whether everything that `inner` allows is allowed by `outer`, too.
pub(crate) fn is_within(inner: &[String], outer: &[String]) -> bool {
    if outer.is_empty() {
        return true;
    }
    let outer: Vec<IpNet> = outer.iter().filter_map(|text| parse(text)).collect();
    let covered = |text: &String| parse(text).is_some_and(|net| outer.iter().any(|o| o.contains(&net)));
    !inner.is_empty() && inner.iter().all(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_compared_as_what_they_are() {
        let nets = list(&["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]);
        for inside in ["192.0.2.200", "::ffff:192.0.2.1", "2001:db8:1::1", "198.51.100.7"] {
            assert!(allows(&nets, Some(inside)), "{inside}");
        }
        for outside in [
            "192.0.3.1",
            "::ffff:192.0.3.1",
            "2001:db9::1",
            "198.51.100.8",
            "",
            "x",
        ] {
            assert!(!allows(&nets, Some(outside)), "{outside}");
        }
        assert!(!allows(&nets, None));
        assert!(allows(&[], None));
        assert!(!allows(&list(&["nonsense"]), Some("192.0.2.1")));
    }

    #[test]
    fn a_list_is_within_another_when_nothing_more_is_allowed() {
        let outer = list(&["10.0.0.0/8", "2001:db8::/32"]);
        assert!(is_within(&list(&["10.1.0.0/16", "10.2.3.4"]), &outer));
        assert!(is_within(&list(&["2001:db8:5::/48"]), &outer));
        assert!(!is_within(&list(&["10.1.0.0/16", "11.0.0.0/8"]), &outer));
        assert!(!is_within(&list(&["10.0.0.0/7"]), &outer));
        assert!(!is_within(&[], &outer));
        assert!(is_within(&[], &[]) && is_within(&outer, &[]));
    }

    #[test]
    fn networks_are_kept_in_their_shortest_form() {
        let kept = check(
            "/x",
            &list(&["192.0.2.0/24", "::ffff:198.51.100.7", "2001:DB8::/32"]),
        );
        assert_eq!(
            kept.unwrap(),
            ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]
        );
        assert!(check("/x", &list(&["192.0.2.0/33"])).is_err());
        // A length that was meant for another address opens more than was meant.
        for meant in [
            "192.0.2.77/24",
            "127.0.0.1/0",
            "::ffff:192.0.2.1/96",
            "2001:db8::1/32",
        ] {
            assert!(check("/x", &list(&[meant])).is_err(), "{meant}");
        }
        assert!(check("/x", &list(&["example.com"])).is_err());
    }
}
