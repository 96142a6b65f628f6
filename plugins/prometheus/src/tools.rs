//! What this plugin needs from outside: Prometheus' API, files, and state. One trait, so that whole flows run in native
//! tests against a stand-in.
//!
//! Never here: decisions.

use std::time::Duration;

use pilothouse_sdk::http::Response;
use pilothouse_sdk::resources::Level;
use pilothouse_sdk::{Context, Failure, http, key_value, outputs, resources, retry};

use crate::destination::{self, Destination, GIT_FOLDER, Remote};

/// The directory for scrape targets, by this plugin's name for it.
pub const TARGETS_DIRECTORY: &str = "targets";
/// The directory for alert rules, by this plugin's name for it.
pub const RULES_DIRECTORY: &str = "rules";
/// Where Prometheus is, for this plugin.
const BASE: &str = "https://prometheus.connection.internal";
/// Longest wait for one answer of Prometheus. Its own limit for a query is two minutes; one that takes longer than this is
/// not worth the delivery's time.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Time that must be left for another call, so that the host does not stop the plugin in the middle.
const RESERVE: Duration = Duration::from_secs(2);
/// Largest answer read: `/api/v1/targets` has about 1 KiB per target.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is there of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// What this plugin wrote.
    Own(Vec<u8>),
    /// This plugin's file, which somebody changed since.
    Changed,
}

/// A file to write: its directory, its name, and its content, without which it is removed.
pub type ToWrite<'a> = (&'a str, &'a str, Option<&'a [u8]>);

/// The world outside.
pub trait Tools {
    /// Tells whether Prometheus reads what is generated from files, so that it has to be told of them.
    fn reads_files(&self) -> bool {
        true
    }
    /// Sends a GET with query parameters.
    ///
    /// # Errors
    /// Not granted, or no answer.
    fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Failure>;
    /// Sends a POST with a form.
    ///
    /// # Errors
    /// Not granted, or no answer.
    fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Response, Failure>;
    /// Returns what is there of one of the plugin's own files.
    ///
    /// # Errors
    /// Not granted, or another's file.
    fn look(&self, directory: &str, name: &str) -> Result<Found, Failure>;
    /// Makes one of the plugin's own files that somebody changed the plugin's again; returns it.
    ///
    /// # Errors
    /// Not granted, or another's file.
    fn take_over(&self, directory: &str, name: &str) -> Result<Vec<u8>, Failure>;
    /// Returns one of the plugin's own files, if it is there.
    ///
    /// # Errors
    /// Not granted, another's file, or one that somebody changed.
    fn file(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self.look(directory, name)? {
            Found::Nothing => Ok(None),
            Found::Own(content) => Ok(Some(content)),
            Found::Changed => Err(outputs::Error::Changed.into()),
        }
    }
    /// Lists the plugin's own files.
    ///
    /// # Errors
    /// Not granted.
    fn files(&self, directory: &str) -> Result<Vec<String>, Failure>;
    /// Writes a file, or removes it if there is no content.
    ///
    /// # Errors
    /// Not granted, or another's file.
    fn write(&self, directory: &str, name: &str, content: Option<&[u8]>) -> Result<(), Failure>;
    /// Writes and removes several files; together, where that can be.
    ///
    /// # Errors
    /// As for [`Tools::write`].
    fn write_all(&self, files: &[ToWrite<'_>]) -> Result<(), Failure> {
        files.iter().try_for_each(|(directory, name, content)| self.write(directory, name, *content))
    }
    /// Reads a file of the project in hand; `None` if it is not there, or if the project's files are not granted.
    ///
    /// # Errors
    /// The host failed.
    fn resource(&self, level: Level, path: &str) -> Result<Option<Vec<u8>>, String>;
    /// Lists the services of the project in hand; none if the project's files are not granted.
    ///
    /// # Errors
    /// The host failed.
    fn services(&self) -> Result<Vec<String>, Failure>;
    /// Returns a value kept by an earlier delivery.
    ///
    /// # Errors
    /// Not granted.
    fn kept(&self, key: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// Keeps a value when the delivery settles, or forgets it.
    ///
    /// # Errors
    /// Not granted.
    fn keep(&self, key: &str, value: Option<&[u8]>) -> Result<(), Failure>;
}

/// The host's capabilities.
pub struct Host<'a> {
    /// The delivery in hand.
    pub ctx: &'a Context<'a>,
    /// Where generated configuration goes.
    pub destination: Destination,
    /// The namespace of resources in Kubernetes.
    pub namespace: &'a str,
}

impl Host<'_> {
    fn send(&self, request: http::Request) -> Result<Response, Failure> {
        let left = self.ctx.remaining();
        if left < RESERVE {
            return Err(retry("no time was left to ask Prometheus"));
        }
        request.timeout(CALL_TIMEOUT.min(left)).body_bytes_max(BODY_BYTES_MAX).send().map_err(|error| {
            match Failure::from(error) {
                Failure::Retry { reason, after } => Failure::Retry { reason: format!("Prometheus: {reason}"), after },
                Failure::Reject(reason) => Failure::Reject(format!("Prometheus: {reason}")),
            }
        })
    }
}

impl destination::Send for Host<'_> {
    fn send(&self, request: http::Request) -> Result<Response, Failure> {
        Self::send(self, request)
    }
}

impl Host<'_> {
    /// Returns the place that generated configuration goes to, where that is no folder.
    fn remote(&self) -> Option<Remote<'_, Self>> {
        let remote = Remote { send: self, destination: self.destination, namespace: self.namespace };
        matches!(self.destination, Destination::Ruler | Destination::Kubernetes).then_some(remote)
    }

    /// Returns the path of a file in the project's Git, where that is the destination.
    fn in_git(&self, directory: &str, name: &str) -> Option<String> {
        (self.destination == Destination::Git).then(|| format!("{GIT_FOLDER}{directory}/{name}"))
    }
}

impl Tools for Host<'_> {
    fn reads_files(&self) -> bool {
        self.destination == Destination::Files
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Failure> {
        let request = http::Request::get(format!("{BASE}{path}"));
        self.send(query.iter().fold(request, |request, (name, value)| request.query(name, value)))
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Response, Failure> {
        self.send(http::Request::post(format!("{BASE}{path}")).form(form))
    }

    fn look(&self, directory: &str, name: &str) -> Result<Found, Failure> {
        if let Some(path) = self.in_git(directory, name) {
            return match resources::read(Level::Project, &path) {
                Ok(content) => Ok(Found::Own(content)),
                Err(resources::Error::NotFound) => Ok(Found::Nothing),
                Err(error) => Err(error.into()),
            };
        }
        if let Some(remote) = self.remote() {
            return Ok(remote.look(directory, name)?.map_or(Found::Nothing, |text| Found::Own(text.into_bytes())));
        }
        match outputs::read(directory, name) {
            Ok(content) => Ok(Found::Own(content)),
            Err(outputs::Error::NotFound) => Ok(Found::Nothing),
            Err(outputs::Error::Changed) => Ok(Found::Changed),
            Err(error) => Err(error.into()),
        }
    }

    fn take_over(&self, directory: &str, name: &str) -> Result<Vec<u8>, Failure> {
        Ok(outputs::take_over(directory, name)?)
    }

    fn files(&self, directory: &str) -> Result<Vec<String>, Failure> {
        if let Some(folder) = self.in_git(directory, "") {
            let entries = match resources::entries(Level::Project, &folder) {
                Err(resources::Error::NotFound) => Vec::new(),
                found => found?,
            };
            return Ok(entries.iter().filter_map(|it| it.path.strip_prefix(&folder)).map(str::to_owned).collect());
        }
        if let Some(remote) = self.remote() {
            return remote.names(directory, &self.ctx.project().unwrap_or_default());
        }
        Ok(outputs::entries(directory)?)
    }

    fn write_all(&self, files: &[ToWrite<'_>]) -> Result<(), Failure> {
        if self.destination != Destination::Git {
            return files.iter().try_for_each(|(directory, name, content)| self.write(directory, name, *content));
        }
        let change = |(directory, name, content): &ToWrite<'_>| {
            let path = self.in_git(directory, name).unwrap_or_default();
            resources::Change { path, content: content.map(<[u8]>::to_vec) }
        };
        let changes: Vec<resources::Change> = files.iter().map(change).collect();
        if !changes.is_empty() {
            resources::write(&changes, "Prometheus configuration generated from SLIs and SLOs")?;
        }
        Ok(())
    }

    fn write(&self, directory: &str, name: &str, content: Option<&[u8]>) -> Result<(), Failure> {
        if self.destination == Destination::Git {
            return self.write_all(&[(directory, name, content)]);
        }
        if let Some(remote) = self.remote() {
            let text = content.map(String::from_utf8_lossy);
            return remote.write(directory, name, text.as_deref());
        }
        let done = match content {
            Some(content) => outputs::write(directory, name, content),
            None => outputs::remove(directory, name),
        };
        match done {
            Ok(()) => Ok(()),
            Err(outputs::Error::NotFound) if content.is_none() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn resource(&self, level: Level, path: &str) -> Result<Option<Vec<u8>>, String> {
        match resources::read(level, path) {
            Ok(bytes) => Ok(Some(bytes)),
            // An event may belong to no project, stage or service, and the operator may keep the files to himself.
            Err(resources::Error::NotFound | resources::Error::Invalid(_) | resources::Error::Denied(_)) => Ok(None),
            Err(error @ resources::Error::Unavailable(_)) => Err(error.to_string()),
        }
    }

    fn services(&self) -> Result<Vec<String>, Failure> {
        match resources::services() {
            Ok(names) => Ok(names),
            Err(resources::Error::Denied(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn kept(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(key_value::get(key)?)
    }

    fn keep(&self, key: &str, value: Option<&[u8]>) -> Result<(), Failure> {
        match value {
            Some(value) => Ok(key_value::set(key, value)?),
            None => Ok(key_value::delete(key)?),
        }
    }
}
