//! Addresses at which nobody's service lies: link-local ones, where clouds hand out credentials to whoever asks,
//! those that are no single host, and IPv6 forms that are another address in disguise.
//!
//! This is less than what [`crate::is_global`] keeps off: private networks are where internal apps live.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(segments: [u16; 8], prefix: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

/// No single host, or the host itself under a name that means "any".
const NOBODY: [IpNet; 5] = [
    v4(0, 0, 0, 0, 8),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// Refused unless somebody opens them.
const SPECIAL: [IpNet; 18] = [
    v4(169, 254, 0, 0, 16),     // link-local; metadata at nearly every cloud
    v4(192, 0, 0, 0, 24),       // IETF protocol assignments; Oracle's metadata
    v4(100, 100, 100, 200, 32), // Alibaba's metadata
    v4(168, 63, 129, 16, 32),   // Azure's platform agent
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // site-local, deprecated
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), // Amazon's metadata
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32),  // Google's
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), // Oracle's
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), // Scaleway's
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 0], 48), // Akamai's
    v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128), // Alibaba's
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),      // discard only
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),          // IPv4-compatible, deprecated; all but loopback
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),     // IPv4-translated (RFC 2765)
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), // local NAT64 (RFC 8215): where the IPv4 address is, nobody can say
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),    // Teredo
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),    // 6to4
];

/// NAT64 (RFC 6052): the IPv4 address is in the last 32 bits.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The address that is reached through `ip`: IPv4 for what is IPv4 in the form of IPv6.
pub(crate) fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if NAT64.contains(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        ip => ip,
    }
}

/// Whether `ip` is one of them, and in none of the networks that were opened.
#[must_use]
pub fn is_special(ip: IpAddr, opened: &[IpNet]) -> bool {
    let ip = reached(ip);
    let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
    within(&NOBODY) || within(&SPECIAL) && !ip.is_loopback() && !within(opened)
}

/// Whether a network can be opened: it lies among the special ones, and hosts are in it.
#[must_use]
pub fn can_be_opened(net: &IpNet) -> bool {
    SPECIAL.iter().any(|special| special.contains(net)) && !NOBODY.iter().any(|nobody| nobody.contains(net))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(ip: &str) -> bool {
        is_special(ip.parse().unwrap(), &[])
    }

    #[test]
    fn metadata_in_every_form_is_special() {
        for ip in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "fd00:100::100:200",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::168.63.129.16",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "100::1",
        ] {
            assert!(special(ip), "{ip}");
        }
    }

    #[test]
    fn private_networks_and_the_internet_are_not() {
        for ip in [
            "10.0.0.1",
            "127.0.0.1",
            "127.0.0.53",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.1.1",
            "100.64.0.1",
            "100.100.100.201",
            "168.63.129.15",
            "169.253.255.255",
            "8.8.8.8",
            "::1",
            "fc00::1",
            "fd00::1",
            "fd00:ec3::254",
            "2001:db8::1",
            "2606:4700::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(!special(ip), "{ip}");
        }
    }

    #[test]
    fn what_was_opened_is_open_and_nothing_else() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let opened = [net("169.254.10.0/24"), net("fd00:ec2::/64")];
        for ip in [
            "169.254.10.7",
            "::ffff:169.254.10.7",
            "64:ff9b::169.254.10.7",
            "fd00:ec2::254",
        ] {
            assert!(!is_special(ip.parse().unwrap(), &opened), "{ip}");
        }
        for ip in ["169.254.169.254", "fe80::1", "0.0.0.0"] {
            assert!(is_special(ip.parse().unwrap(), &opened), "{ip}");
        }
        assert!(is_special("0.0.0.0".parse().unwrap(), &[net("0.0.0.0/0")]));
        for good in [
            "169.254.169.254/32",
            "169.254.0.0/16",
            "fe80::/64",
            "168.63.129.16/32",
        ] {
            assert!(can_be_opened(&net(good)), "{good}");
        }
        for bad in [
            "0.0.0.0/0",
            "169.0.0.0/8",
            "10.0.0.0/8",
            "::/0",
            "0.0.0.0/8",
            "224.0.0.0/24",
            "::/128",
        ] {
            assert!(!can_be_opened(&net(bad)), "{bad}");
        }
    }
}
