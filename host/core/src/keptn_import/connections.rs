//! The connections that the operator has to define for translated webhooks: addresses and secrets leave the project's files.

use super::job_template::quoted;
use super::note::NoteSeverity;
use super::webhooks_file::Secret;
use super::{Session, slug};

/// How a connection signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// Not at all.
    None,
    /// By a bearer token.
    Bearer {
        /// The secret's name in templates.
        secret: String,
    },
    /// By a header.
    Header {
        /// The header.
        name: String,
        /// Its value, with the secret's name in angle brackets.
        value: String,
        /// The secret's name in templates.
        secret: String,
    },
}

/// A connection that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    /// The address; the names of secrets in it are in angle brackets.
    pub(super) address: String,
    /// Whether a secret is in the address.
    pub(super) secret_address: bool,
    /// How it signs in.
    pub(super) auth: Auth,
}

/// Names the connection, and tells the operator how to define it if it is a new one.
pub(super) fn name(needed: &Needed, secrets: &[Secret], from: &str, session: &mut Session) -> String {
    let authority = needed.address.split_once("://").map_or(needed.address.as_str(), |(_, rest)| rest);
    let host = authority.split(['/', '?']).next().unwrap_or_default();
    let meaning = definition("NAME", needed, secrets);
    let (name, new) = session.connections.claim(&slug(host), &meaning);
    if new {
        let message = format!(
            "the operator defines a connection in the configuration, and grants it to the plugin `webhook` with `connections.{name} = \"{name}\"`:\n{}",
            definition(&name, needed, secrets)
        );
        session.notes.add(from, NoteSeverity::NotTranslated, message);
    }
    name
}

/// Writes the connection for the host's configuration.
fn definition(name: &str, needed: &Needed, secrets: &[Secret]) -> String {
    let mut text = format!("[connections.{name}]\n");
    if needed.secret_address {
        let all: Vec<String> = secrets
            .iter()
            .filter(|secret| needed.address.contains(&format!("<{}>", secret.name)))
            .map(|secret| format!("<{}> is {}", secret.name, origin(secret)))
            .collect();
        let comment = commented(&format!("The file holds {}; {}.", needed.address, all.join("; ")));
        text.push_str(&format!("{comment}url-file = {}\n", quoted(&format!("/etc/pilothouse/{name}"))));
        return text;
    }
    text.push_str(&format!("url = {}\n", quoted(&needed.address)));
    let (secret, value) = match &needed.auth {
        Auth::None => return text,
        Auth::Bearer { secret } => {
            text.push_str("auth = \"bearer\"\n");
            (secret, None)
        }
        Auth::Header { name, value, secret } => {
            text.push_str(&format!("auth = \"header\"\nheader = {}\n", quoted(name)));
            (secret, Some(value).filter(|value| **value != format!("<{secret}>")))
        }
    };
    let known = secrets.iter().find(|it| it.name == *secret);
    let stored = known.map_or_else(|| slug(secret), |known| slug(&format!("{}-{}", known.secret, known.key)));
    let from = known.map_or_else(|| "what no `envFrom` names".to_owned(), origin);
    let what = value.map_or_else(|| from.clone(), |value| format!("`{value}`, where <{secret}> is {from}"));
    text.push_str(&commented(&format!("`pilothouse secret set {stored}` stores {what}.")));
    text.push_str(&format!("credential = {{ secret = \"{stored}\" }}\n"));
    text
}

fn origin(secret: &Secret) -> String {
    format!("key `{}` of the Kubernetes secret `{}`", secret.key, secret.secret)
}

/// Makes a comment of one line, whatever stands in the text.
fn commented(text: &str) -> String {
    format!("# {}\n", text.replace(|it: char| it.is_control(), " "))
}
