//! From the Git repository of a Keptn V1 project to the files of a Pilothouse project.
//!
//! [`import`] is a function of the repository's content: it reads no disk and starts no program. Keptn keeps a stage on a
//! branch of its own, or below `.keptn-stages`; Pilothouse has one branch with folders ([`crate::resource`]). `job/config.yaml`
//! becomes `jobs.yaml`, `webhook/webhook.yaml` becomes `webhooks.yaml`; everything else is copied byte for byte. What could
//! not be translated, and what the operator has to define, is a [`Note`]: nothing is lost in silence.
//!
//! Never here: Git itself, secrets' values, the writing of the project.

mod connections;
mod curl;
pub(crate) mod emit;
mod job_template;
mod jobs;
mod jobs_file;
mod layout;
mod note;
mod request;
#[cfg(test)]
mod tests;
mod value;
mod webhooks;
mod webhooks_file;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::files::gate::GATE_FILE;
use crate::files::{self, FileKind};
use crate::name::ServiceName;
use crate::resource::{FILE_BYTES_MAX, FilePath, Folder};
use crate::shipyard::{self, SHIPYARD_FILE, Shipyard};
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Position, Problem, Value};
use layout::{Placed, Plan};
use note::Notes;
pub use note::{NOTES_MAX, Note, NoteSeverity};

/// Most files of a repository, those of all branches together: 100 stages that each repeat some hundred files.
pub const REPOSITORY_FILES_MAX: usize = 100_000;
/// Most bytes of a repository's files, those of all branches together. They are held in memory; a file that several branches
/// share counts each time.
pub const REPOSITORY_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Most files of the new project: as many as a host lists.
pub const FILES_MAX: usize = 20_000;

/// Where Keptn's job-executor-service keeps its settings, below a project, a stage or a service.
const V1_JOBS: &str = "job/config.yaml";
/// Where Keptn's webhook-service keeps its settings.
const V1_WEBHOOKS: &str = "webhook/webhook.yaml";
/// What the plugin `job` reads.
const JOBS_FILE: &str = "jobs.yaml";
/// What the plugin `webhook` reads.
const WEBHOOKS_FILE: &str = "webhooks.yaml";
/// What makes a service, as the host writes it when one is created.
const SERVICE_FILE: &str = "service.yaml";
/// Most items of a list in a file of Keptn that is translated; a real one has some dozens.
const ITEMS_MAX: usize = 500;
/// Names for templates and connections are at most this long, so that a number fits behind them.
const SLUG_LENGTH_MAX: usize = 50;

/// A Keptn V1 repository as it was read: the files of each branch, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V1Repository {
    /// The branch with the shipyard.
    pub default_branch: String,
    /// The files of each branch, by the branch's name and the file's path.
    pub branches: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

/// How a repository keeps its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Each stage is a branch.
    BranchPerStage,
    /// Each stage is a folder below `.keptn-stages` on the default branch.
    StagesFolder,
}

/// A project made from a Keptn V1 repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The files of the new project, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How the repository kept its stages.
    pub layout: Layout,
    /// The stages, in the order of the shipyard.
    pub stages: Vec<String>,
    /// The services.
    pub services: BTreeSet<String>,
    /// What was changed, what was left out, and what a person has to do.
    pub notes: Vec<Note>,
}

/// Says why a repository cannot be imported at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The repository does not have its default branch.
    #[error("the repository has no branch `{branch}`; say on which branch the shipyard is")]
    NoBranch {
        /// The branch.
        branch: String,
    },
    /// There is no shipyard on the default branch.
    #[error(
        "`{branch}` has no `{SHIPYARD_FILE}`, so this is not the repository of a Keptn project, or it has another default branch"
    )]
    NoShipyard {
        /// The branch.
        branch: String,
    },
    /// The shipyard is of Keptn 0.7 or older, whose stages have no sequences.
    #[error(
        "`{path}` is of version {version}, which has no sequences; write it anew as `spec.keptn.sh/0.2.3` and import again"
    )]
    ShipyardTooOld {
        /// The file, with its branch.
        path: String,
        /// What it says.
        version: String,
    },
    /// The shipyard cannot be used.
    #[error("`{path}` cannot be used: {}", listed(problems))]
    Shipyard {
        /// The file, with its branch.
        path: String,
        /// What is wrong with it, and where.
        problems: Vec<Problem>,
    },
    /// The repository is too large.
    #[error("the repository has {found} {what}, at most {most} are imported")]
    TooLarge {
        /// What there are too many of.
        what: &'static str,
        /// How many there are, at least.
        found: usize,
        /// How many there may be.
        most: usize,
    },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The gate file of a project that comes from Keptn.
const GATE: &[u8] = b"# As in Keptn, from which this project was imported; a new project says `warning`.\nspec_version: '1.0'\nwithoutSlo: pass\n";

/// Makes a project of a Keptn V1 repository.
///
/// # Errors
/// There is no shipyard, it could not be written to a project, or the repository is beyond [`REPOSITORY_FILES_MAX`],
/// [`REPOSITORY_BYTES_MAX`] or [`FILES_MAX`].
pub fn import(repository: &V1Repository) -> Result<Imported, ImportError> {
    bounded(repository, REPOSITORY_FILES_MAX, REPOSITORY_BYTES_MAX)?;
    let mut session = Session::default();
    let shipyard = read_shipyard(repository, &mut session.notes)?;
    let plan = layout::plan(repository, &shipyard, &mut session.notes);
    let mut files = BTreeMap::new();
    copy(&plan, &mut files, &mut session);
    jobs(&plan, &mut files, &mut session);
    webhooks::translate(&plan, &mut files, &mut session);
    services(&plan.services, &mut files);
    // Keptn passed a service without an SLO file, and what was imported goes on as it was.
    files.entry(GATE_FILE.to_owned()).or_insert_with(|| GATE.to_vec());
    leave_refused(&mut files, &mut session.notes);
    if files.len() > FILES_MAX {
        return Err(ImportError::TooLarge { what: "files", found: files.len(), most: FILES_MAX });
    }
    Ok(Imported {
        files,
        layout: plan.layout,
        stages: shipyard.stages.iter().map(|stage| stage.name.to_string()).collect(),
        services: plan.services.iter().map(ToString::to_string).collect(),
        notes: session.notes.finish(),
    })
}

fn bounded(repository: &V1Repository, files_max: usize, bytes_max: usize) -> Result<(), ImportError> {
    let count = repository.branches.values().map(BTreeMap::len).fold(0, usize::saturating_add);
    if count > files_max {
        return Err(ImportError::TooLarge { what: "files in its branches", found: count, most: files_max });
    }
    let sizes = repository.branches.values().flat_map(BTreeMap::values).map(Vec::len);
    let bytes = sizes.fold(0, usize::saturating_add);
    if bytes > bytes_max {
        return Err(ImportError::TooLarge { what: "bytes in its branches", found: bytes, most: bytes_max });
    }
    Ok(())
}

fn read_shipyard(repository: &V1Repository, notes: &mut Notes) -> Result<Shipyard, ImportError> {
    let branch = repository.default_branch.clone();
    let Some(files) = repository.branches.get(&branch) else { return Err(ImportError::NoBranch { branch }) };
    let Some(bytes) = files.get(SHIPYARD_FILE) else { return Err(ImportError::NoShipyard { branch }) };
    let path = format!("{branch}:{SHIPYARD_FILE}");
    if let Some(version) = old_version(bytes) {
        return Err(ImportError::ShipyardTooOld { path, version });
    }
    let (shipyard, mut problems) = shipyard::read(bytes);
    match shipyard {
        Some(shipyard) if !problems.iter().any(Problem::stops_a_write) => {
            for problem in problems {
                notes.add(&path, NoteSeverity::Left, format!("{problem}"));
            }
            Ok(shipyard)
        }
        _ => {
            if problems.is_empty() {
                problems.push(Problem::error(Position::START, "the shipyard cannot be read"));
            }
            Err(ImportError::Shipyard { path, problems })
        }
    }
}

/// Returns the version of a shipyard from before sequences.
fn old_version(bytes: &[u8]) -> Option<String> {
    let Ok(node) = crate::yaml::parse(bytes) else { return None };
    let Value::Map(members) = node.value else { return None };
    let member = |name: &str| members.iter().find(|member| member.key == name);
    match member("apiVersion").map(|member| &member.node.value) {
        Some(Value::Scalar(scalar)) => {
            let number = scalar.text.strip_prefix("spec.keptn.sh/").unwrap_or(&scalar.text);
            (number == "0.1" || number.starts_with("0.1.")).then(|| format!("`{number}`"))
        }
        Some(_) => None,
        None => member("stages").is_some().then(|| "0.1 (it has no `apiVersion`)".to_owned()),
    }
}

/// What is known across the files of one import.
#[derive(Default)]
struct Session {
    notes: Notes,
    templates: Names,
    connections: Names,
}

/// Names that were given: the same thing gets the same name, another thing another name.
#[derive(Default)]
struct Names {
    /// What was given, by what was wished for and what it stands for.
    given: BTreeMap<(String, String), String>,
    taken: BTreeSet<String>,
    /// How many have one wish, so that the next number is found at once.
    wishes: BTreeMap<String, usize>,
}

impl Names {
    /// Gives a name that begins with `wish`; says whether it is a new one.
    fn claim(&mut self, wish: &str, meaning: &str) -> (String, bool) {
        let key = (wish.to_owned(), meaning.to_owned());
        if let Some(name) = self.given.get(&key) {
            return (name.clone(), false);
        }
        let count = self.wishes.entry(wish.to_owned()).or_default();
        let name = loop {
            *count += 1;
            let name = if *count == 1 { wish.to_owned() } else { format!("{wish}-{count}") };
            if self.taken.insert(name.clone()) {
                break name;
            }
        };
        self.given.insert(key, name.clone());
        (name, true)
    }
}

/// Makes a name by the rule of [`crate::name`] out of any text.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars() {
        if slug.len() >= SLUG_LENGTH_MAX {
            break;
        }
        match letter.to_ascii_lowercase() {
            letter if letter.is_ascii_lowercase() => slug.push(letter),
            digit if digit.is_ascii_digit() && !slug.is_empty() => slug.push(digit),
            digit if digit.is_ascii_digit() => slug.extend(['n', digit]),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "unnamed".to_owned() } else { slug.to_owned() }
}

/// Returns the items of a list in one of Keptn's files, none if there are too many.
fn items<'n>(fields: &mut Fields<'n, '_>, name: &'static str) -> &'n [Node] {
    let items = fields.list(name).unwrap_or_default();
    match items.get(ITEMS_MAX) {
        Some(item) => {
            let message = format!("`{name}` has more than {ITEMS_MAX} items");
            fields.problems().push(Problem::error(item.at, message));
            &[]
        }
        None => items,
    }
}

/// Copies what is not translated.
fn copy(plan: &Plan<'_>, files: &mut BTreeMap<String, Vec<u8>>, session: &mut Session) {
    for placed in plan.placed.iter().filter(|placed| placed.path != V1_JOBS && placed.path != V1_WEBHOOKS) {
        put(placed, files, &mut session.notes);
    }
}

/// Puts a file where it belongs; what cannot lie there is noted.
fn put(placed: &Placed<'_>, files: &mut BTreeMap<String, Vec<u8>>, notes: &mut Notes) {
    let path = format!("{}{}", placed.folder.prefix(), placed.path);
    if let Err(error) = FilePath::new(&path) {
        return notes.add(&placed.from, NoteSeverity::NotTranslated, format!("not copied: {error}"));
    }
    if placed.content.len() > FILE_BYTES_MAX {
        let size = placed.content.len();
        let message = format!("not copied: it has {size} bytes, a project's file has at most {FILE_BYTES_MAX}");
        return notes.add(&placed.from, NoteSeverity::NotTranslated, message);
    }
    if Folder::of_path(&path) != (placed.folder.clone(), placed.path.as_str()) {
        let message = "not copied: in Pilothouse, what lies in `stages/<stage>/` and `services/<service>/` belongs to a stage or a service; put the file into another folder";
        return notes.add(&placed.from, NoteSeverity::NotTranslated, message);
    }
    files.insert(path, placed.content.to_vec());
}

/// Puts a translated file where it belongs, unless there is one of its name.
fn put_new(placed: &Placed<'_>, name: &str, text: String, files: &mut BTreeMap<String, Vec<u8>>, notes: &mut Notes) {
    let path = format!("{}{name}", placed.folder.prefix());
    if files.contains_key(&path) {
        let message = format!("the repository has `{path}` already, which was kept; the translation is:\n{text}");
        return notes.add(&placed.from, NoteSeverity::NotTranslated, message);
    }
    notes.add(&placed.from, NoteSeverity::Translated, format!("became `{path}`"));
    files.insert(path, text.into_bytes());
}

/// Translates the settings of the job-executor-service.
fn jobs(plan: &Plan<'_>, files: &mut BTreeMap<String, Vec<u8>>, session: &mut Session) {
    let mut known: BTreeSet<&str> = plan.placed.iter().map(|placed| placed.path.as_str()).collect();
    known.remove(V1_JOBS);
    known.remove(V1_WEBHOOKS);
    for placed in plan.placed.iter().filter(|placed| placed.path == V1_JOBS) {
        match jobs::translate(placed, &known, session) {
            Some(text) => put_new(placed, JOBS_FILE, text, files, &mut session.notes),
            None => put(placed, files, &mut session.notes),
        }
    }
}

/// Leaves out what a project would not take: Keptn looked at few files before it used them.
fn leave_refused(files: &mut BTreeMap<String, Vec<u8>>, notes: &mut Notes) {
    files.retain(|path, content| {
        let Some(kind) = FileKind::of_path(path) else { return true };
        let problems = files::check(kind, content);
        let refused: Vec<Problem> = problems.into_iter().filter(Problem::stops_a_write).collect();
        if !refused.is_empty() {
            let message = format!("not copied, mend it and add it by `pilothouse resource add`: {}", listed(&refused));
            notes.add(path, NoteSeverity::NotTranslated, message);
        }
        refused.is_empty()
    });
}

/// Makes the services, those without any file too.
fn services(services: &BTreeSet<ServiceName>, files: &mut BTreeMap<String, Vec<u8>>) {
    for service in services {
        let folder = Folder { stage: None, service: Some(service.clone()) };
        let content = format!("# Makes `{service}` a service of this project, in every stage.\nname: {service}\n");
        files.entry(format!("{}{SERVICE_FILE}", folder.prefix())).or_insert_with(|| content.into_bytes());
    }
}
