//! From a call of curl to a request of `webhooks.yaml` and the connection that it needs.

use serde_json::{Map, Value};

use super::connections::{Auth, Needed};
use super::curl::Call;
use super::emit::Yaml;
use super::value::{MASK_CLOSE, MASK_OPEN, Masked, Piece, Place};

/// The methods that the plugin `webhook` knows.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Most headers, and most parameters of a query: far more than any API has.
const ITEMS_MAX: usize = 100;
/// Deepest nesting of a body: as deep as any API asks for, and far from any reader's limit.
const BODY_DEPTH_MAX: usize = 32;
/// Stands before a member's name to mark a place outside of quotes; for private use in Unicode.
const POINTER_MARK: &str = "\u{e002}pointer";

/// A request, and what it needs.
#[derive(Debug)]
pub(super) struct Made {
    /// The connection.
    pub(super) needed: Needed,
    /// The members of the request but for the connection.
    pub(super) members: Vec<(String, Yaml)>,
}

/// Makes a request.
///
/// # Errors
/// Why it cannot be one of `webhooks.yaml`.
pub(super) fn make(call: &Call, masked: &Masked) -> Result<Made, String> {
    let url = call.url.as_deref().filter(|url| !url.is_empty()).ok_or("it has no address")?;
    let method = match &call.method {
        Some(method) => method.to_ascii_uppercase(),
        None if call.data.is_some() => "POST".to_owned(),
        None => "GET".to_owned(),
    };
    if !METHODS.contains(&method.as_str()) {
        return Err(format!("the method `{method}` is none of {}", METHODS.join(", ")));
    }
    let mut members = vec![("method".to_owned(), method.into())];
    let (address, secret_address) = address(url, masked, &mut members)?;
    let auth = headers(call, masked, &mut members)?;
    if secret_address && auth != Auth::None {
        return Err("it has a secret in its address and one in a header; a connection has one credential".to_owned());
    }
    if let Some(data) = call.data.as_deref().filter(|data| !data.trim().is_empty()) {
        members.push(("body".to_owned(), body(data, masked)?));
    }
    Ok(Made { needed: Needed { address, secret_address, auth }, members })
}

/// Splits the address: the connection's part is returned, path and query become members. If a secret is in it, all of it is
/// the connection's.
fn address(url: &str, masked: &Masked, members: &mut Vec<(String, Yaml)>) -> Result<(String, bool), String> {
    let url = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(format!("`{scheme}` is neither `http` nor `https`"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') || authority.contains(char::is_whitespace) {
        return Err("the address has no host, or a user in it".to_owned());
    }
    let pieces = masked.pieces(rest);
    let has_data = pieces.iter().any(|piece| matches!(piece, Piece::Place(Place::Data(_))));
    if pieces.iter().any(|piece| matches!(piece, Piece::Place(Place::Secret(_)))) {
        if has_data {
            return Err("its address has a secret and a value of the event; a connection's address is fixed".to_owned());
        }
        let whole: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (*text).to_owned(),
                Piece::Place(Place::Secret(name) | Place::Data(name)) => format!("<{name}>"),
            })
            .collect();
        return Ok((format!("{scheme}://{whole}"), true));
    }
    if authority.contains([MASK_OPEN, MASK_CLOSE]) {
        return Err("its host comes from the event; a connection's address is fixed".to_owned());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.is_empty() {
        members.push(("path".to_owned(), masked.fill(path)?.into()));
    }
    let query = self::query(query, masked)?;
    if !query.is_empty() {
        members.push(("query".to_owned(), Yaml::Map(query)));
    }
    Ok((format!("{scheme}://{authority}"), false))
}

fn query(query: &str, masked: &Masked) -> Result<Vec<(String, Yaml)>, String> {
    let mut found: Vec<(String, Yaml)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        if found.len() >= ITEMS_MAX {
            return Err(format!("its query has more than {ITEMS_MAX} parameters"));
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = decoded(name)?;
        if name.contains(MASK_OPEN) {
            return Err("the name of a query parameter comes from the event".to_owned());
        }
        if found.iter().any(|(known, _)| *known == name) {
            return Err(format!("the query parameter `{name}` stands twice"));
        }
        found.push((name, masked.fill(&decoded(value)?)?.into()));
    }
    Ok(found)
}

/// Undoes the encoding of a query, which the plugin does anew.
fn decoded(text: &str) -> Result<String, String> {
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("`{text}` of the query is not UTF-8"))
}

/// Makes members of the headers; returns how the connection signs in.
fn headers(call: &Call, masked: &Masked, members: &mut Vec<(String, Yaml)>) -> Result<Auth, String> {
    let mut found: Vec<(String, Yaml)> = Vec::new();
    let mut auth = Auth::None;
    if call.headers.len() > ITEMS_MAX {
        return Err(format!("it has more than {ITEMS_MAX} headers"));
    }
    for (name, value) in &call.headers {
        if name.is_empty() || name.contains(MASK_OPEN) {
            return Err("a header has no name, or one that comes from the event".to_owned());
        }
        if name.eq_ignore_ascii_case("content-type") {
            let media_type = value.split(';').next().unwrap_or_default().trim();
            if call.data.is_some() && !media_type.eq_ignore_ascii_case("application/json") {
                return Err(format!("its body is `{media_type}`; `webhooks.yaml` has bodies in JSON"));
            }
            continue;
        }
        if found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(format!("the header `{name}` stands twice"));
        }
        match secret_header(name, &masked.pieces(value))? {
            Some(_) if auth != Auth::None => return Err("two headers hold secrets; a connection has one".to_owned()),
            Some(kind) => auth = kind,
            None => found.push((name.clone(), masked.fill(value)?.into())),
        }
    }
    if !found.is_empty() {
        members.push(("headers".to_owned(), Yaml::Map(found)));
    }
    Ok(auth)
}

/// Returns how a connection sends a header that has a secret; `None` for one that has none.
fn secret_header(name: &str, pieces: &[Piece<'_>]) -> Result<Option<Auth>, String> {
    let secret = pieces.iter().find_map(|piece| match piece {
        Piece::Place(Place::Secret(secret)) => Some(secret.clone()),
        _ => None,
    });
    let Some(secret) = secret else { return Ok(None) };
    let places = pieces.iter().filter(|piece| matches!(piece, Piece::Place(_))).count();
    if places > 1 {
        return Err(format!("the header `{name}` has a secret and another value; a connection's header is fixed"));
    }
    let bearer = matches!(pieces, [Piece::Text(text), Piece::Place(_)] if text.trim().eq_ignore_ascii_case("bearer"));
    if name.eq_ignore_ascii_case("authorization") && bearer {
        return Ok(Some(Auth::Bearer { secret }));
    }
    let shown = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => (*text).to_owned(),
        Piece::Place(_) => format!("<{secret}>"),
    });
    Ok(Some(Auth::Header { name: name.to_owned(), value: shown.collect(), secret }))
}

/// Makes a body of JSON in which templates stand, in quotes or without.
fn body(data: &str, masked: &Masked) -> Result<Yaml, String> {
    let text = marked(data, masked)?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| format!("its body is not JSON ({error}); `webhooks.yaml` has bodies in JSON"))?;
    Ok(filled(value, masked, 0)?.into())
}

/// Replaces the marks that stand outside of quotes by mappings, so that the text becomes JSON.
fn marked(data: &str, masked: &Masked) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = data;
    let mut quoted = false;
    while let Some(letter) = rest.chars().next() {
        let after = rest.split_at_checked(letter.len_utf8()).map(|(_, after)| after).unwrap_or_default();
        match letter {
            '\\' if quoted => {
                let escaped: String = rest.chars().take(2).collect();
                rest = rest.strip_prefix(escaped.as_str()).unwrap_or_default();
                text.push_str(&escaped);
                continue;
            }
            '"' => quoted = !quoted,
            MASK_OPEN if !quoted => {
                let (number, after) = after.split_once(MASK_CLOSE).unwrap_or((after, ""));
                let mark = format!("{MASK_OPEN}{number}{MASK_CLOSE}");
                match masked.pieces(&mark).first() {
                    Some(Piece::Place(Place::Data(pointer))) => {
                        let mut member = Map::new();
                        member.insert(POINTER_MARK.to_owned(), pointer.as_str().into());
                        text.push_str(&Value::Object(member).to_string());
                    }
                    _ => {
                        return Err(
                            "its body has a secret; only a connection's address or header can have one".to_owned()
                        );
                    }
                }
                rest = after;
                continue;
            }
            _ => {}
        }
        text.push(letter);
        rest = after;
    }
    Ok(text)
}

/// Writes the places of a body as the plugin reads them.
fn filled(value: Value, masked: &Masked, depth: usize) -> Result<Value, String> {
    if depth > BODY_DEPTH_MAX {
        return Err(format!("its body is nested more than {BODY_DEPTH_MAX} deep"));
    }
    match value {
        Value::String(text) => masked.fill(&text).map(Value::String),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| filled(item, masked, depth + 1));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Value::Object(members) => {
            let mut written = Map::new();
            for (name, value) in members {
                if name == POINTER_MARK {
                    written.insert("pointer".to_owned(), value);
                } else if name.contains(MASK_OPEN) {
                    return Err("the name of a member of its body comes from the event".to_owned());
                } else if name == "pointer" && value.is_string() {
                    return Err("its body has a member `pointer`, which names a place of the event in `webhooks.yaml`"
                        .to_owned());
                } else {
                    written.insert(name, filled(value, masked, depth + 1)?);
                }
            }
            Ok(Value::Object(written))
        }
        scalar => Ok(scalar),
    }
}
