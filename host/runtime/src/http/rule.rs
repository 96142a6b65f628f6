//! Which hosts a plugin may call: rules `scheme://host[:port]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Says why a text is not a host rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a host rule: {rule}")]
pub struct HostRuleError {
    text: String,
    rule: &'static str,
}

/// The two schemes that a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A rule that allows requests to one host, or with `*.` in front to the hosts beneath it; on one port of one scheme.
///
/// It says nothing about addresses: a name that leads to a private network needs a granted network too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    scheme: Scheme,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Exactly(String),
    Beneath(String),
    Address(IpAddr),
}

impl HostRule {
    /// Tells whether the rule allows a request. `host` is in its canonical form: lower case, IDNA, no brackets.
    pub(crate) fn allows(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        let host_allowed = match &self.host {
            Host::Exactly(name) => name == host,
            // The dot keeps `evil-example.com` from passing for a host beneath `example.com`.
            Host::Beneath(parent) => {
                host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Host::Address(address) => host.parse::<IpAddr>().is_ok_and(|it| it == *address),
        };
        host_allowed && self.scheme == scheme && self.port == port
    }
}

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        let error = |rule| HostRuleError { text: text.chars().take(120).collect(), rule };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error("write `scheme://host[:port]`"))?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| error("the scheme is `http` or `https`"))?;
        if rest.contains(['/', '?', '#']) {
            return Err(error("a rule has no path; it allows the whole host"));
        }
        if rest.contains('@') {
            return Err(error("credentials belong in a connection, never in a rule"));
        }
        let (beneath, name) = match rest.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, rest),
        };
        if name.contains('*') {
            return Err(error("`*.` may stand only in front of the whole host"));
        }
        // The same parser as for requests, so that rule and request have one canonical form.
        let url = reqwest::Url::parse(&format!("{}://{name}/", scheme.as_str()))
            .map_err(|_| error("the host is not a name or an address"))?;
        let port = url.port_or_known_default().unwrap_or_else(|| scheme.port());
        let host = canonical_host(&url).ok_or_else(|| error("a host is missing"))?;
        let host = match (host.parse::<IpAddr>(), beneath) {
            (Ok(_), true) => return Err(error("`*.` needs a name, not an address")),
            (Ok(address), false) => Host::Address(address),
            (Err(_), true) => Host::Beneath(host),
            (Err(_), false) => Host::Exactly(host),
        };
        Ok(Self { scheme, host, port })
    }
}

/// Returns the host of a URL without the brackets of an IPv6 address.
pub(crate) fn canonical_host(url: &reqwest::Url) -> Option<String> {
    let host = url.host_str()?;
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            Host::Exactly(name) => f.write_str(name)?,
            Host::Beneath(parent) => write!(f, "*.{parent}")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, url: &str) -> bool {
        let rule: HostRule = rule.parse().unwrap();
        let url = reqwest::Url::parse(url).unwrap();
        let scheme = Scheme::parse(url.scheme()).unwrap();
        rule.allows(scheme, &canonical_host(&url).unwrap(), url.port_or_known_default().unwrap())
    }

    #[test]
    fn a_rule_allows_one_scheme_one_host_and_one_port() {
        assert!(allows("https://api.example.com", "https://api.example.com/v1?x=1"));
        assert!(allows("https://api.example.com", "https://API.Example.COM:443/"));
        assert!(allows("http://api.example.com:8080", "http://api.example.com:8080/"));
        assert!(allows("https://bücher.example", "https://xn--bcher-kva.example/"));
        assert!(allows("http://127.0.0.1:9090", "http://2130706433:9090/"));
        assert!(allows("http://[::1]:9090", "http://[0:0:0:0:0:0:0:1]:9090/"));
        for other in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com./",
            "https://example.com/",
            "https://x.api.example.com/",
            "https://api.example.com.evil.io/",
            "https://evil.io/api.example.com",
            "https://api.example.com@evil.io/",
        ] {
            assert!(!allows("https://api.example.com", other), "{other}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_hosts_beneath_and_not_for_the_parent_or_look_alikes() {
        assert!(allows("https://*.example.com", "https://a.example.com/"));
        assert!(allows("https://*.example.com", "https://a.b.example.com/"));
        for other in ["https://example.com/", "https://evil-example.com/", "https://.example.com/"] {
            assert!(!allows("https://*.example.com", other), "{other}");
        }
    }

    #[test]
    fn what_is_not_scheme_host_and_port_is_not_a_rule() {
        for bad in [
            "",
            "*",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.com",
            "api.example.com",
            "ftp://a.com",
            "https://a.com/",
            "https://a.com/x",
            "https://a.com?x",
            "https://u@a.com",
            "https://*.10.0.0.1",
            "https://a.com:99999",
            "*://a.com",
            "https://a b.com",
        ] {
            assert!(bad.parse::<HostRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in ["https://a.com", "http://a.com:8080", "https://*.a.com:8443", "http://[::1]:9090"] {
            assert_eq!(text.parse::<HostRule>().unwrap().to_string(), text);
        }
    }
}
