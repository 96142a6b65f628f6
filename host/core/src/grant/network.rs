//! Networks in CIDR form, with which an operator opens addresses that are otherwise closed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not an address and a prefix length.
    #[error("`{0}` is not a network; write an address and a prefix length, such as `10.0.0.0/8` or `127.0.0.1/32`")]
    Syntax(String),
    /// The address has bits that the prefix does not cover: either the address or the prefix is a mistake.
    #[error("`{text}` has bits beyond its prefix; write `{network}`, or a longer prefix")]
    HostBits {
        /// The text as given.
        text: String,
        /// The network that it lies in.
        network: Network,
    },
}

/// A network in CIDR form. IPv4 inside IPv6 (`::ffff:10.0.0.0/104`) is held as the IPv4 network that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address/prefix`.
    ///
    /// # Errors
    /// The text has another form, or the address has bits beyond the prefix.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError::Syntax(text.chars().take(60).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let given: IpAddr = address.parse().map_err(|_| error())?;
        let prefix =
            prefix.bytes().all(|it| it.is_ascii_digit()).then(|| prefix.parse().ok()).flatten().ok_or_else(error)?;
        let (address, prefix): (IpAddr, u8) = match (given, given.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) => (mapped, u8::checked_sub(prefix, 96).ok_or_else(error)?),
            _ => (given, prefix),
        };
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(error());
        }
        let network = Self { address: cut(address, prefix), prefix };
        if network.address == address {
            return Ok(network);
        }
        Err(NetworkError::HostBits { text: text.chars().take(60).collect(), network })
    }

    /// Tells whether the network holds `address`; an IPv4-mapped IPv6 address is the IPv4 address that it leads to.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.prefix) == self.address
    }
}

/// Sets the bits beyond the prefix to zero.
fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl std::str::FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        Self::parse(text)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_share_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1/32", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "255.1.1.1", "::1"),
            ("::/0", "2001::1", "10.0.0.1"),
            ("::1/128", "::1", "::2"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.1.1.1"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(Network::parse(&parsed.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn a_text_that_is_not_a_network_is_refused_and_stray_bits_are_pointed_out() {
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "a/8",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::ffff:10.0.0.0/95",
            "/8",
        ] {
            assert!(matches!(Network::parse(bad), Err(NetworkError::Syntax(_))), "{bad}");
        }
        let error = Network::parse("10.1.2.3/8").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.1.2.3/8` has bits beyond its prefix; write `10.0.0.0/8`, or a longer prefix"
        );
    }
}
