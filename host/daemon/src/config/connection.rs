//! Named outside endpoints: where they are and how the host signs in. Plugins see only the name.
//!
//! Credentials are read from the environment or a file, at start and again on SIGHUP; they are never in the
//! configuration, in a log line or in an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use http::{HeaderName, HeaderValue};
use pilothouse_core::name::{ConnectionName, SecretName};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A named outside endpoint. Exactly one of `url`, `url-file` and `url-env` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConnectionConfig {
    /// Base address, `http` or `https`. What a plugin asks for is appended to its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File that holds the address, where the address itself is a secret (an incoming webhook).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Environment variable that holds the address, where the address itself is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_env: Option<String>,
    /// How the host signs in.
    pub auth: AuthKind,
    /// User name for `auth = "basic"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the header for `auth = "header"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Where the token, password or header value is: `{ secret = "name" }`, `{ env = "NAME" }` or `{ file = "/path" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
}

/// How the host signs in to an outside endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthKind {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer <credential>`.
    Bearer,
    /// `Authorization: Basic`, with `user` and the credential as password.
    Basic,
    /// The header named by `header`, with the credential as its value.
    Header,
}

impl AuthKind {
    /// Returns the word used in the configuration and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::Header => "header",
        }
    }
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// In this environment variable.
    Env(String),
    /// In this file; white space around it is cut off.
    File(PathBuf),
    /// In the host's own store, put there by `pilothouse secret set`.
    Secret(#[schemars(with = "String")] SecretName),
}

/// The stored secrets that connections name, or why one cannot be had.
pub type SecretTexts = BTreeMap<SecretName, Result<String, String>>;

impl<'de> Deserialize<'de> for Credential {
    // Written by hand, because serde's own message would quote a secret that was put here by mistake.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let member = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        let secret = member("secret").and_then(|name| SecretName::new(name).ok());
        match (value.as_object().map(serde_json::Map::len), member("env"), member("file"), secret) {
            (Some(1), Some(name), None, None) => Ok(Self::Env(name.to_owned())),
            (Some(1), None, Some(path), None) => Ok(Self::File(path.into())),
            (Some(1), None, None, Some(name)) => Ok(Self::Secret(name)),
            _ => Err(serde::de::Error::custom(
                "a credential is `{ secret = \"name\" }`, `{ env = \"NAME\" }` or `{ file = \"/path\" }`; the secret itself never \
                 stands here",
            )),
        }
    }
}

impl Credential {
    fn read(&self, secrets: &SecretTexts) -> Result<String, String> {
        match self {
            Self::Env(name) => read_variable(name),
            Self::File(path) => read_file(path),
            Self::Secret(name) => {
                let unknown =
                    || Err(format!("there is no secret `{name}`; store it with `pilothouse secret set {name}`"));
                secrets.get(name).cloned().unwrap_or_else(unknown)
            }
        }
    }
}

fn read_variable(name: &str) -> Result<String, String> {
    let text = std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?;
    Some(text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| format!("the environment variable `{name}` is empty"))
}

fn read_file(path: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    Some(text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| format!("the file `{}` is empty", path.display()))
}

impl ConnectionConfig {
    /// Returns what is wrong with the entry: the key at fault, and a sentence.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let addresses = [self.url.is_some(), self.url_file.is_some(), self.url_env.is_some()];
        if addresses.into_iter().filter(|given| *given).count() != 1 {
            problems.push(("url", "give exactly one of `url`, `url-file` and `url-env`".to_owned()));
        }
        if let Some(Err(message)) = self.url.as_deref().map(check_url) {
            problems.push(("url", message));
        }
        if (self.auth == AuthKind::None) == self.credential.is_some() {
            let message = if self.credential.is_some() {
                "it is not used with `auth = \"none\"`; set `auth` to bearer, basic or header"
            } else {
                "it is missing: `{ secret = \"name\" }`, `{ env = \"NAME\" }` or `{ file = \"/path\" }`"
            };
            problems.push(("credential", message.to_owned()));
        }
        if (self.auth == AuthKind::Basic) != self.user.is_some() {
            problems.push(("user", "it goes with `auth = \"basic\"`, and only with it".to_owned()));
        }
        let header = self.header.as_deref().map(|name| HeaderName::from_bytes(name.as_bytes()));
        if (self.auth == AuthKind::Header) != self.header.is_some() {
            problems.push(("header", "it goes with `auth = \"header\"`, and only with it".to_owned()));
        } else if let Some(Err(_)) = header {
            problems.push(("header", "it is not a valid name of an HTTP header".to_owned()));
        }
        problems
    }

    /// Returns the stored secret that the host signs in with, if it is one.
    pub fn stored_secret(&self) -> Option<&SecretName> {
        match &self.credential {
            Some(Credential::Secret(name)) => Some(name),
            _ => None,
        }
    }

    /// Reads address and credential.
    ///
    /// # Errors
    /// The variable, file or secret does not exist or holds nothing usable. Never quotes what it holds.
    pub fn resolve(&self, secrets: &SecretTexts) -> Result<ResolvedConnection, String> {
        let base_url = match (&self.url, &self.url_file, &self.url_env) {
            (Some(url), ..) => url.clone(),
            (_, Some(path), _) => read_file(path)?,
            (.., Some(name)) => read_variable(name)?,
            _ => return Err("the connection has no address".to_owned()),
        };
        check_url(&base_url)?;
        let credential =
            self.credential.as_ref().map(|credential| credential.read(secrets)).transpose()?.unwrap_or_default();
        let header = match self.auth {
            AuthKind::None => None,
            AuthKind::Bearer => Some(("authorization", format!("Bearer {credential}"))),
            AuthKind::Basic => {
                let pair = format!("{}:{credential}", self.user.as_deref().unwrap_or_default());
                Some(("authorization", format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))))
            }
            AuthKind::Header => Some((self.header.as_deref().unwrap_or_default(), credential)),
        };
        let headers = header.map(|(name, value)| secret_header(name, &value)).transpose()?.into_iter().collect();
        Ok(ResolvedConnection { base_url, headers, auth: self.auth })
    }
}

fn secret_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| "the credential has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Checks an address without ever quoting it: it may be a secret.
fn check_url(url: &str) -> Result<(), String> {
    let parsed: http::Uri = url.parse().map_err(|_| "the address is not a URL".to_owned())?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Err("the address must begin with `http://` or `https://`".to_owned());
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("the address must not contain a user or password; use `auth` and `credential`".to_owned());
    }
    Ok(())
}

/// A connection with its address and credential at hand. Its `Debug` shows neither.
#[derive(Clone)]
pub struct ResolvedConnection {
    /// Base address.
    pub base_url: String,
    /// Headers that sign in, marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How.
    pub auth: AuthKind,
}

impl fmt::Debug for ResolvedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedConnection").field("auth", &self.auth).finish_non_exhaustive()
    }
}

/// Says why a connection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// There is no such entry in the configuration.
    #[error("there is no connection `{0}`: add `[connections.{0}]` to the configuration")]
    Unknown(ConnectionName),
    /// Its address or credential cannot be read.
    #[error("the connection `{name}` cannot be used: {reason}")]
    Unusable {
        /// The connection.
        name: ConnectionName,
        /// Why.
        reason: String,
    },
}

type Table = BTreeMap<ConnectionName, Result<Arc<ResolvedConnection>, String>>;

/// All connections with their credentials, replaced as a whole on reload.
#[derive(Debug)]
pub struct Connections(ArcSwap<Table>);

impl Connections {
    /// Reads every connection's address and credential. One that cannot be read fails when it is used, and is logged.
    pub fn read(entries: &BTreeMap<ConnectionName, ConnectionConfig>, secrets: &SecretTexts) -> Self {
        Self(ArcSwap::from_pointee(read_table(entries, secrets)))
    }

    /// Reads everything again.
    pub fn reload(&self, entries: &BTreeMap<ConnectionName, ConnectionConfig>, secrets: &SecretTexts) {
        self.0.store(Arc::new(read_table(entries, secrets)));
    }

    /// Returns one connection.
    ///
    /// # Errors
    /// It is not configured, or its address or credential could not be read.
    pub fn resolved(&self, name: &ConnectionName) -> Result<Arc<ResolvedConnection>, ConnectionError> {
        match self.0.load().get(name) {
            None => Err(ConnectionError::Unknown(name.clone())),
            Some(Err(reason)) => Err(ConnectionError::Unusable { name: name.clone(), reason: reason.clone() }),
            Some(Ok(connection)) => Ok(Arc::clone(connection)),
        }
    }

    /// Returns the names of all connections.
    pub fn names(&self) -> Vec<ConnectionName> {
        self.0.load().keys().cloned().collect()
    }
}

fn read_table(entries: &BTreeMap<ConnectionName, ConnectionConfig>, secrets: &SecretTexts) -> Table {
    let read = |(name, entry): (&ConnectionName, &ConnectionConfig)| {
        let resolved = entry.resolve(secrets);
        if let Err(reason) = &resolved {
            tracing::warn!(connection = %name, %reason, "ConnectionUnusable");
        }
        (name.clone(), resolved.map(Arc::new))
    };
    entries.iter().map(read).collect()
}
