//! A stand-in for Prometheus, files and state, for native tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use pilothouse_sdk::Failure;
use pilothouse_sdk::http::Response;
use pilothouse_sdk::resources::Level;

use crate::tools::{Found, Tools};

/// A path, and the fields sent with it.
pub(crate) type Call = (String, Vec<(String, String)>);

/// Holds what was written, and answers as told. The last answer of a path repeats.
#[derive(Default)]
pub(crate) struct StandIn {
    pub(crate) files: RefCell<BTreeMap<String, String>>,
    pub(crate) state: RefCell<BTreeMap<String, Vec<u8>>>,
    pub(crate) calls: RefCell<Vec<Call>>,
    /// What was written last, so that hand edits are seen.
    written: RefCell<BTreeMap<String, String>>,
    /// Files of the project, by level and path.
    pub(crate) project: RefCell<BTreeMap<(String, String), String>>,
    answers: RefCell<BTreeMap<String, VecDeque<Result<Response, Failure>>>>,
}

/// Makes a response.
pub(crate) fn answer(status: u16, body: &str) -> Result<Response, Failure> {
    Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
}

impl StandIn {
    /// Adds an answer for a path, after those that it has.
    pub(crate) fn answers(&self, path: &str, answer: Result<Response, Failure>) {
        self.answers.borrow_mut().entry(path.to_owned()).or_default().push_back(answer);
    }

    /// Returns how often a path was called.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.calls.borrow().iter().filter(|(it, _)| it == path).count()
    }

    fn call(&self, path: &str, fields: &[(&str, &str)]) -> Result<Response, Failure> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.calls.borrow_mut().push((path.to_owned(), fields));
        let mut answers = self.answers.borrow_mut();
        let queue = answers.get_mut(path).unwrap_or_else(|| panic!("nobody said what {path} answers"));
        if queue.len() > 1 { queue.pop_front().unwrap() } else { queue.front().unwrap().clone() }
    }
}

impl Tools for StandIn {
    fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Failure> {
        self.call(path, query)
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Response, Failure> {
        self.call(path, form)
    }

    fn look(&self, directory: &str, name: &str) -> Result<Found, Failure> {
        let path = format!("{directory}/{name}");
        let (files, written) = (self.files.borrow(), self.written.borrow());
        Ok(match files.get(&path) {
            None => Found::Nothing,
            Some(text) if written.get(&path).is_some_and(|written| written != text) => Found::Changed,
            Some(text) => Found::Own(text.as_bytes().to_vec()),
        })
    }

    fn take_over(&self, directory: &str, name: &str) -> Result<Vec<u8>, Failure> {
        let path = format!("{directory}/{name}");
        let text = self.files.borrow().get(&path).cloned().unwrap();
        self.written.borrow_mut().insert(path, text.clone());
        Ok(text.into_bytes())
    }

    fn files(&self, directory: &str) -> Result<Vec<String>, Failure> {
        let prefix = format!("{directory}/");
        Ok(self.files.borrow().keys().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn write(&self, directory: &str, name: &str, content: Option<&[u8]>) -> Result<(), Failure> {
        let path = format!("{directory}/{name}");
        if let Some(content) = content {
            self.written.borrow_mut().insert(path.clone(), String::from_utf8(content.to_vec()).unwrap());
        } else {
            self.written.borrow_mut().remove(&path);
        }
        match content {
            Some(content) => self.files.borrow_mut().insert(path, String::from_utf8(content.to_vec()).unwrap()),
            None => self.files.borrow_mut().remove(&path),
        };
        Ok(())
    }

    fn resource(&self, level: Level, path: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.project.borrow().get(&(format!("{level:?}"), path.to_owned())).map(|text| text.as_bytes().to_vec()))
    }

    fn services(&self) -> Result<Vec<String>, Failure> {
        let project = self.project.borrow();
        let of = |path: &String| {
            let rest = path.strip_prefix("services/").or_else(|| Some(path.split_once("/services/")?.1))?;
            Some(rest.split_once('/')?.0.to_owned())
        };
        let names: std::collections::BTreeSet<String> = project.keys().filter_map(|(_, path)| of(path)).collect();
        Ok(names.into_iter().collect())
    }

    fn kept(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.state.borrow().get(key).cloned())
    }

    fn keep(&self, key: &str, value: Option<&[u8]>) -> Result<(), Failure> {
        match value {
            Some(value) => self.state.borrow_mut().insert(key.to_owned(), value.to_vec()),
            None => self.state.borrow_mut().remove(key),
        };
        Ok(())
    }
}
