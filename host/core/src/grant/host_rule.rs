//! Which hosts may be called: rules `scheme://host[:port]`.
//!
//! A rule is about names. Which addresses a name may lead to is [`super::Network`]'s matter.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest host name (RFC 1035 §2.3.4).
const HOST_LENGTH_MAX: usize = 253;
/// Longest label of a host name (RFC 1035 §2.3.4).
const LABEL_LENGTH_MAX: usize = 63;

/// Says why a text is not a rule for hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a rule for hosts: {reason}")]
pub struct HostRuleError {
    text: String,
    reason: &'static str,
}

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `http`, port 80 unless given.
    Http,
    /// `https`, port 443 unless given.
    Https,
}

impl Scheme {
    /// Reads `http` or `https`, whatever the letter case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|it| it.as_str().eq_ignore_ascii_case(text))
    }

    /// Returns the scheme in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port of a URL that names none.
    pub fn port_default(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Allows requests by one scheme, on one port, to one host, or to all hosts beneath a name (`*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostRule {
    scheme: Scheme,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Name(String),
    /// Every name that ends in a dot and this one; not the name itself.
    Beneath(String),
    Address(IpAddr),
}

impl HostRule {
    /// Reads a rule and brings it into canonical form: lower case, no trailing dot, the port always known.
    ///
    /// # Errors
    /// The text has another scheme, a path, a query or user information; a `*` that is not the whole first label;
    /// a name that is not ASCII (IDN are written in punycode) or looks like a number; or no host.
    pub fn parse(text: &str) -> Result<Self, HostRuleError> {
        Self::read(text).map_err(|reason| HostRuleError { text: text.chars().take(120).collect(), reason })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (scheme, authority) = text.split_once("://").ok_or("write `scheme://host` or `scheme://host:port`")?;
        let scheme = Scheme::parse(scheme).ok_or("the scheme is `http` or `https`")?;
        if authority.contains(['/', '?', '#', '\\']) {
            return Err("a rule has no path, query or fragment; it allows the whole host");
        }
        if authority.contains('@') {
            return Err("credentials belong to a connection, never in a rule");
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => scheme.port_default(),
            Some(port) => port.parse().ok().filter(|it| *it != 0).ok_or("the port is a number from 1 to 65535")?,
        };
        Ok(Self { scheme, host: read_host(host)?, port })
    }

    /// Tells whether a request is allowed. `host` may be in any letter case, with a trailing dot, or in brackets.
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        if Scheme::parse(scheme) != Some(self.scheme) || port != self.port {
            return false;
        }
        let host = without_brackets(host).to_ascii_lowercase();
        match (&self.host, host.parse::<IpAddr>()) {
            (Host::Address(allowed), Ok(address)) => *allowed == address.to_canonical(),
            (Host::Address(_), Err(_)) | (_, Ok(_)) => false,
            (Host::Name(name), Err(_)) => name == without_dot(&host),
            (Host::Beneath(parent), Err(_)) => is_beneath(without_dot(&host), parent),
        }
    }

    /// Tells whether this rule allows everything that `other` allows.
    pub fn covers(&self, other: &Self) -> bool {
        let host_covered = match (&self.host, &other.host) {
            (Host::Beneath(parent), Host::Name(name)) => is_beneath(name, parent),
            (Host::Beneath(parent), Host::Beneath(name)) => name == parent || is_beneath(name, parent),
            (mine, others) => mine == others,
        };
        host_covered && self.scheme == other.scheme && self.port == other.port
    }
}

/// The dot between keeps `evil-example.com` from passing for a host beneath `example.com`.
fn is_beneath(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("an IPv6 address ends with `]`")?;
        let (host, rest) = authority.split_at(end + 1);
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((host, None)),
            (_, Some(port)) => Ok((host, Some(port))),
            _ => Err("after `]` comes a port or nothing"),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err("an IPv6 address is written in brackets, such as `http://[::1]:9090`")
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    if text.starts_with('[') {
        let address: Ipv6Addr =
            without_brackets(text).parse().map_err(|_| "the text in brackets is not an IPv6 address")?;
        return Ok(Host::Address(IpAddr::V6(address).to_canonical()));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("*.") {
        Some(parent) => read_name(parent).map(Host::Beneath),
        None => read_name(&lower).map(Host::Name),
    }
}

fn read_name(text: &str) -> Result<String, &'static str> {
    let name = without_dot(text);
    if name.is_empty() {
        return Err("the host is missing");
    }
    if !name.is_ascii() {
        return Err("write the host in punycode, such as `xn--bcher-kva.example`");
    }
    if name.contains('*') {
        return Err("`*` stands only for the whole first label, such as `https://*.example.com`");
    }
    let label_valid = |label: &str| {
        let bytes_valid =
            label.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'_'));
        bytes_valid && (1..=LABEL_LENGTH_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > HOST_LENGTH_MAX || !name.split('.').all(label_valid) {
        return Err("the host is not a name or an address");
    }
    // URL parsers read such names as IPv4 addresses (`127.1`, `0x7f000001`), so a rule would not mean what it says.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|it| it.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|it| it.is_ascii_digit()) {
        return Err("write an IPv4 address as four decimal numbers; `*.` needs a name");
    }
    Ok(name.to_owned())
}

impl std::str::FromStr for HostRule {
    type Err = HostRuleError;
    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        Self::parse(text)
    }
}

impl fmt::Display for HostRule {
    /// Writes the canonical form, without the port that the scheme implies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Beneath(parent) => write!(f, "*.{parent}")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        if self.port == self.scheme.port_default() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> HostRule {
        HostRule::parse(text).unwrap()
    }

    #[test]
    fn a_rule_is_written_in_its_canonical_form() {
        for (text, canonical) in [
            ("HTTPS://API.Example.com.", "https://api.example.com"),
            ("https://a.com:443", "https://a.com"),
            ("http://a.com:443", "http://a.com:443"),
            ("https://*.a.com:8443", "https://*.a.com:8443"),
            ("http://[::1]:9090", "http://[::1]:9090"),
            ("http://[::ffff:10.0.0.1]", "http://10.0.0.1"),
            ("http://my_service:80", "http://my_service"),
        ] {
            assert_eq!(rule(text).to_string(), canonical);
            assert_eq!(rule(canonical), rule(text));
        }
    }

    #[test]
    fn what_is_not_scheme_host_and_port_is_refused() {
        for bad in [
            "",
            "*",
            "a.com",
            "ftp://a.com",
            "*://a.com",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.com",
            "https://a*.com",
            "https://*.*.com",
            "https://a.com/",
            "https://a.com/x",
            "https://a.com?x",
            "https://a.com#x",
            "https://u@a.com",
            "https://u:p@a.com",
            "https://a.com:0",
            "https://a.com:99999",
            "https://a.com:",
            "https://a b.com",
            "https://bücher.example",
            "https://*.10.0.0.1",
            "http://127.1",
            "http://0x7f.0.0.1",
            "http://0x7f000001",
            "http://2130706433",
            "http://::1",
            "http://[::1",
            "http://[::1]x",
            "http://[a]",
            "https://a..com",
            "https://-a.com",
            "https://a.com\\x",
        ] {
            assert!(HostRule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_allows_one_scheme_one_port_and_its_hosts() {
        let plain = rule("https://api.example.com");
        assert!(plain.matches("https", "API.example.COM.", 443));
        for (scheme, host, port) in [
            ("http", "api.example.com", 443),
            ("https", "api.example.com", 8443),
            ("https", "example.com", 443),
            ("https", "x.api.example.com", 443),
            ("https", "api.example.com.evil.io", 443),
        ] {
            assert!(!plain.matches(scheme, host, port), "{host}");
        }
        let wild = rule("https://*.example.com");
        assert!(wild.matches("https", "a.example.com", 443) && wild.matches("https", "a.b.example.com", 443));
        for host in ["example.com", "evil-example.com", ".example.com", "10.0.0.1"] {
            assert!(!wild.matches("https", host, 443), "{host}");
        }
        let address = rule("http://10.0.0.1");
        assert!(address.matches("http", "[::ffff:10.0.0.1]", 80) && !address.matches("http", "10.0.0.2", 80));
    }

    #[test]
    fn a_rule_covers_itself_and_what_is_narrower() {
        let covers = |a: &str, b: &str| rule(a).covers(&rule(b));
        assert!(covers("https://a.com", "https://a.com:443"));
        assert!(covers("https://*.a.com", "https://x.a.com"));
        assert!(covers("https://*.a.com", "https://*.x.a.com"));
        assert!(covers("https://*.a.com", "https://*.a.com"));
        assert!(!covers("https://*.a.com", "https://a.com"));
        assert!(!covers("https://*.x.a.com", "https://*.a.com"));
        assert!(!covers("https://x.a.com", "https://*.a.com"));
        assert!(!covers("https://a.com", "http://a.com"));
    }
}
