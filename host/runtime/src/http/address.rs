//! Which addresses a plugin may reach: everything public, and what a granted network holds.
//!
//! The check is on the address that is connected to, never on a name; see [`super::resolve`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Says why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network; write an address and a prefix length, such as `10.0.0.0/8`")]
pub struct NetworkError(String);

/// A network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6(first: u16, second: u16, third: u16, prefix: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0)), prefix }
    }

    /// Tells whether the network holds `address`, whatever form the address is written in.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical(address)) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                let cut = |it: Ipv4Addr| it.to_bits().checked_shr(shift).unwrap_or(0);
                cut(network) == cut(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                let cut = |it: Ipv6Addr| it.to_bits().checked_shr(shift).unwrap_or(0);
                cut(network) == cut(address)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.chars().take(60).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        if prefix > bits { Err(error()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Networks that no rule reaches by itself, each with the word that the denial uses (RFC 6890 and its successors).
const CLOSED_V4: [(Network, &str); 17] = [
    (Network::v4(0, 0, 0, 0, 8), "unspecified"),
    (Network::v4(10, 0, 0, 0, 8), "private"),
    (Network::v4(100, 64, 0, 0, 10), "private (carrier-grade NAT)"),
    (Network::v4(127, 0, 0, 0, 8), "loopback"),
    (Network::v4(168, 63, 129, 16, 32), "a cloud's metadata service"),
    (Network::v4(169, 254, 0, 0, 16), "link-local (metadata services)"),
    (Network::v4(172, 16, 0, 0, 12), "private"),
    (Network::v4(192, 0, 0, 0, 24), "reserved"),
    (Network::v4(192, 0, 2, 0, 24), "for documentation"),
    (Network::v4(192, 88, 99, 0, 24), "reserved"),
    (Network::v4(192, 168, 0, 0, 16), "private"),
    (Network::v4(198, 18, 0, 0, 15), "for benchmarks"),
    (Network::v4(198, 51, 100, 0, 24), "for documentation"),
    (Network::v4(203, 0, 113, 0, 24), "for documentation"),
    (Network::v4(224, 0, 0, 0, 4), "multicast"),
    (Network::v4(240, 0, 0, 0, 4), "reserved"),
    (Network::v4(255, 255, 255, 255, 32), "broadcast"),
];

/// The same within 2000::/3; everything outside of it is closed altogether.
const CLOSED_V6: [(Network, &str); 3] = [
    (Network::v6(0x2001, 0, 0, 23), "reserved"),
    (Network::v6(0x2001, 0xdb8, 0, 32), "for documentation"),
    (Network::v6(0x3fff, 0, 0, 20), "for documentation"),
];

/// The part of IPv6 that is routed on the internet.
const GLOBAL_V6: Network = Network::v6(0x2000, 0, 0, 3);

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
    if granted.iter().any(|network| network.contains(address)) {
        return None;
    }
    let canonical = canonical(address);
    let find = |list: &[(Network, &'static str)]| {
        list.iter().find(|(network, _)| network.contains(canonical)).map(|(_, word)| *word)
    };
    match canonical {
        IpAddr::V4(_) => find(&CLOSED_V4),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some("loopback"),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some("unspecified"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("multicast"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(v6) if v6.is_unique_local() => Some("private"),
        IpAddr::V6(_) if !GLOBAL_V6.contains(canonical) => Some("reserved"),
        IpAddr::V6(_) => find(&CLOSED_V6),
    }
}

/// Returns the narrowest network that would open `address`, for the text of a denial.
pub(crate) fn single(address: IpAddr) -> Network {
    let address = canonical(address);
    Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
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
        assert!(is_closed("11.0.0.1", &["12.0.0.0/8"]) == is_closed("11.0.0.1", &[]));
        assert!(!is_closed("::1", &["::1/128"]));
        assert!(!is_closed("169.254.1.1", &["0.0.0.0/0"]));
        assert!(is_closed("::1", &["0.0.0.0/0"]));
    }

    #[test]
    fn a_network_is_an_address_and_a_prefix() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1", "10.0.0/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
