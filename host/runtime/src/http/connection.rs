//! Requests to connections: the operator's address and credentials, the guest's path beneath the operator's.

use http::header::{self, HeaderMap};
use reqwest::Url;

use crate::services::Connection;

/// How often a path is decoded in search of `..`: servers have been seen to decode twice.
const DECODINGS_MAX: usize = 3;

/// Joins the guest's path and query beneath the connection's base.
///
/// A guest's path of `/` is the base itself, so that a base may name one resource, as a webhook does.
///
/// # Errors
/// The path would climb out of the base, or the operator's base is not a usable URL. Neither text quotes the URL,
/// which may hold a credential.
pub(super) fn url(connection: &Connection, uri: &http::Uri) -> Result<Url, &'static str> {
    let base = Url::parse(&connection.base_url).map_err(|_| "the operator's base URL cannot be read")?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err("the operator's base URL is not `http://…` or `https://…`");
    }
    let path = uri.path();
    if climbs(path) {
        return Err("a path beneath a connection has no `.` or `..` segment");
    }
    let mut joined = base.clone();
    if path != "/" && !path.is_empty() {
        joined.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    }
    match (base.query(), uri.query()) {
        (Some(operator), Some(guest)) => joined.set_query(Some(&format!("{operator}&{guest}"))),
        (None, Some(guest)) => joined.set_query(Some(guest)),
        (_, None) => {}
    }
    joined.set_fragment(None);
    // The parser normalizes paths; should it ever find a climb that was not seen above, the request ends here.
    let beneath = joined.path().starts_with(base.path().trim_end_matches('/'));
    if joined.origin() == base.origin() && beneath { Ok(joined) } else { Err("the path leaves the connection") }
}

fn climbs(path: &str) -> bool {
    let mut path = path.to_owned();
    for _ in 0..DECODINGS_MAX {
        if path.replace('\\', "/").split('/').any(|segment| matches!(segment, "." | "..")) {
            return true;
        }
        let decoded = decode(&path);
        if decoded == path {
            return false;
        }
        path = decoded;
    }
    path.replace('\\', "/").split('/').any(|segment| matches!(segment, "." | ".."))
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let hex = |digit: Option<&u8>| digit.and_then(|digit| char::from(*digit).to_digit(16));
        match (first, hex(rest.first()), hex(rest.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                bytes = rest.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Puts the connection's headers in place of the guest's. Credentials that the guest set never go along: a connection's
/// are the host's matter alone.
pub(super) fn headers(connection: &Connection, headers: &mut HeaderMap) {
    for name in [header::AUTHORIZATION, header::COOKIE] {
        headers.remove(name);
    }
    for (name, value) in &connection.headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(base: &str, path: &str) -> Result<String, &'static str> {
        let connection = Connection { base_url: base.to_owned(), headers: Vec::new() };
        let uri: http::Uri = format!("https://x.connection.internal{path}").parse().unwrap();
        url(&connection, &uri).map(String::from)
    }

    #[test]
    fn a_path_is_joined_beneath_the_base() {
        let base = "https://hooks.example.com:8443/services/T0/B0";
        assert_eq!(join(base, "/").unwrap(), base);
        assert_eq!(join(base, "/x/y?q=1&q=2").unwrap(), format!("{base}/x/y?q=1&q=2"));
        assert_eq!(join("http://p:9090/", "/api/v1/query?query=up").unwrap(), "http://p:9090/api/v1/query?query=up");
        assert_eq!(join("http://p:9090", "/-/reload").unwrap(), "http://p:9090/-/reload");
        assert_eq!(join("http://p/api?key=k", "/a?b=c").unwrap(), "http://p/api/a?key=k&b=c");
        assert_eq!(join("http://p/", "/a%2Fb/c..d").unwrap(), "http://p/a%2Fb/c..d");
        assert_eq!(join("http://p/base", "//evil.io/x").unwrap(), "http://p/base//evil.io/x");
    }

    #[test]
    fn a_path_that_climbs_is_refused_in_every_spelling() {
        for path in [
            "/..",
            "/../x",
            "/a/../../x",
            "/./x",
            "/%2e%2e/x",
            "/%2E./x",
            "/..%2fx",
            "/a/..%5cx",
            "/..%5c..%5cx",
            "/%252e%252e/x",
            "/%25252e%25252e/x",
            "/a%2f..%2f..%2fx",
        ] {
            assert!(join("https://h/base", path).is_err(), "{path}");
        }
    }

    #[test]
    fn credentials_of_the_guest_are_replaced_or_dropped() {
        let connection = Connection {
            base_url: "https://h".into(),
            headers: vec![(header::AUTHORIZATION, "Bearer host".parse().unwrap())],
        };
        let mut map = HeaderMap::new();
        map.insert(header::AUTHORIZATION, "Bearer guest".parse().unwrap());
        map.append(header::AUTHORIZATION, "Bearer guest2".parse().unwrap());
        map.insert(header::COOKIE, "a=b".parse().unwrap());
        map.insert("x-own", "1".parse().unwrap());
        headers(&connection, &mut map);
        assert_eq!(map.get_all(header::AUTHORIZATION).iter().collect::<Vec<_>>(), ["Bearer host"]);
        assert!(map.get(header::COOKIE).is_none() && map.contains_key("x-own"));
        assert!(!format!("{map:?}{connection:?}").contains("Bearer host"));
    }
}
