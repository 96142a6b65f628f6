//! Decides where a request may go, before anything is resolved or connected.

use std::net::IpAddr;

use http::Method;
use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::{ConnectionName, InstallationName};
use reqwest::Url;

use super::address;

/// The domain of connections; `.internal` is reserved for private use and never resolves.
const CONNECTION_SUFFIX: &str = ".connection.internal";

/// Where a request may go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To a connection, by the operator's name; path and query as the guest gave them.
    Connection { operator_name: ConnectionName, plugin_name: ConnectionName },
    /// To the host in the URL, whose addresses are still to be checked.
    Direct(Url),
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not granted; the text names the grant that would allow it.
    Denied(String),
    /// Not a request that any grant would allow.
    Malformed(&'static str),
}

/// Decides on a request. `uri` is as the guest made it.
pub(super) fn route(
    method: &Method,
    uri: &http::Uri,
    grants: &EffectiveGrants,
    installation: &InstallationName,
) -> Result<Route, Refusal> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Refusal::Malformed("CONNECT and TRACE are not offered"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Refusal::Malformed("a URL has no user information; use a connection"));
    }
    // One parser decides what the host is, and the same URL is then connected to. It also brings `2130706433`,
    // `0x7f.1` and letter case into one form.
    let url = Url::parse(&uri.to_string()).map_err(|_| Refusal::Malformed("this is not a URL"))?;
    let host = url.host_str().ok_or(Refusal::Malformed("the URL has no host"))?;
    if let Some(name) = host.strip_suffix(CONNECTION_SUFFIX) {
        return connection(method, &url, name, grants, installation);
    }
    let port = url.port_or_known_default().ok_or(Refusal::Malformed("the URL has no port"))?;
    if !grants.http.iter().any(|rule| rule.matches(url.scheme(), host, port)) {
        let origin = origin(&url);
        return Err(Refusal::Denied(format!(
            "denied: {method} {origin}: add http = [\"{origin}\"] to the grants of `{installation}`"
        )));
    }
    if let Some(ip) = ip_literal(&url)
        && let Some(word) = address::closed(ip, &grants.networks)
    {
        return Err(Refusal::Denied(address_denied(method.as_str(), &origin(&url), ip, word, installation)));
    }
    Ok(Route::Direct(url))
}

fn connection(
    method: &Method,
    url: &Url,
    name: &str,
    grants: &EffectiveGrants,
    installation: &InstallationName,
) -> Result<Route, Refusal> {
    if url.scheme() != "https" || url.port().is_some() {
        return Err(Refusal::Malformed("a connection is addressed as `https://<name>.connection.internal/`"));
    }
    let plugin_name =
        ConnectionName::new(name).map_err(|_| Refusal::Malformed("this is not the name of a connection"))?;
    match grants.connections.get(&plugin_name) {
        Some(operator_name) => Ok(Route::Connection { operator_name: operator_name.clone(), plugin_name }),
        None => Err(Refusal::Denied(format!(
            "denied: {method} {}: add {name} = \"<the operator's connection>\" under [connections] in the grants of \
             `{installation}`",
            origin(url)
        ))),
    }
}

/// Writes scheme, host and port as a host rule does. Never path or query: they may hold event data.
pub(super) fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// Returns the address of a URL whose host is one: no resolver ever sees it.
fn ip_literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Writes the denial of an address.
pub(super) fn address_denied(
    method: &str,
    origin: &str,
    ip: IpAddr,
    word: &str,
    installation: &InstallationName,
) -> String {
    format!(
        "denied: {method} {origin}: the address {ip} is {word}: add networks = [\"{}\"] to the grants of \
         `{installation}`",
        address::single(ip)
    )
}
