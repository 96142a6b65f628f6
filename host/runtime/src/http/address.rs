//! Which addresses a plugin may reach: everything public, and what a granted network holds.
//!
//! The check is on the address that is connected to, never on a name; see [`super::resolve`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pilothouse_core::grant::Network;

/// An address range, and the word that a denial uses for it.
type Block<Address> = (Address, u32, &'static str);

/// Networks that no rule reaches by itself, each with the word that the denial uses (RFC 6890 and its successors).
const CLOSED_V4: [Block<Ipv4Addr>; 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "private (carrier-grade NAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's metadata service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local (metadata services)"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
];

/// The same within 2000::/3; everything outside of it is closed altogether.
const CLOSED_V6: [Block<Ipv6Addr>; 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

/// Returns the address that packets to `address` reach in the end: the IPv4 address inside IPv4-mapped,
/// IPv4-compatible, 6to4 and NAT64 forms.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [s0, s1, s2, s3, s4, s5, s6, s7] = v6.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [s0, s1, s2, s3, s4, s5] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => embedded(s6, s7),
        // `::` and `::1` are addresses of their own; every other one of this form is IPv4-compatible.
        [0, 0, 0, 0, 0, 0] if s6 != 0 || s7 > 1 => embedded(s6, s7),
        [0x64, 0xff9b, 0, 0, 0, 0] => embedded(s6, s7),
        [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

/// Says why a plugin may not reach `address`; `None` if it may.
pub(crate) fn closed(address: IpAddr, granted: &[Network]) -> Option<&'static str> {
    let canonical = canonical(address);
    if granted.iter().any(|network| network.contains(canonical)) {
        return None;
    }
    match canonical {
        IpAddr::V4(v4) => {
            let within = |block: Ipv4Addr, prefix: u32| (block.to_bits() ^ v4.to_bits()).leading_zeros() >= prefix;
            CLOSED_V4.iter().find(|(block, prefix, _)| within(*block, *prefix)).map(|(_, _, word)| *word)
        }
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some("loopback"),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some("unspecified"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("multicast"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(v6) if v6.is_unique_local() => Some("private"),
        // Only 2000::/3 is routed on the internet.
        IpAddr::V6(v6) if v6.to_bits() >> 125 != 1 => Some("reserved"),
        IpAddr::V6(v6) => {
            let within = |block: Ipv6Addr, prefix: u32| (block.to_bits() ^ v6.to_bits()).leading_zeros() >= prefix;
            CLOSED_V6.iter().find(|(block, prefix, _)| within(*block, *prefix)).map(|(_, _, word)| *word)
        }
    }
}

/// Returns the narrowest network that would open `address`, as a grant writes it.
pub(crate) fn single(address: IpAddr) -> String {
    let address = canonical(address);
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(address: &str, granted: &[&str]) -> bool {
        let granted: Vec<Network> = granted.iter().map(|it| it.parse().unwrap()).collect();
        closed(address.parse().unwrap(), &granted).is_some()
    }

    #[test]
    fn addresses_that_are_not_on_the_internet_are_closed_in_every_spelling() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.9",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "fec0::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "64:ff9b:1::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(is_closed(address, &[]), "{address}");
        }
        for address in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::8.8.8.8"] {
            assert!(!is_closed(address, &[]), "{address}");
        }
    }

    #[test]
    fn a_granted_network_opens_exactly_what_it_holds() {
        assert!(!is_closed("127.0.0.1", &["127.0.0.1/32"]));
        assert!(!is_closed("::ffff:127.0.0.1", &["127.0.0.1/32"]));
        assert!(is_closed("127.0.0.2", &["127.0.0.1/32"]));
        assert!(!is_closed("10.9.8.7", &["10.0.0.0/8"]));
        assert!(!is_closed("64:ff9b::10.9.8.7", &["10.0.0.0/8"]));
        assert!(!is_closed("::1", &["::1/128"]));
        assert!(!is_closed("169.254.1.1", &["0.0.0.0/0"]));
        assert!(is_closed("::1", &["0.0.0.0/0"]));
    }
}
