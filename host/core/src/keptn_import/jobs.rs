//! From `job/config.yaml` to `jobs.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use super::emit::{Yaml, write};
use super::job_template::{FILES_COUNT_MAX, Suggestion, quoted};
use super::jobs_file::{Action, ActionEvent, ActionTask, Variable, read};
use super::layout::Placed;
use super::note::NoteSeverity;
use super::value::{Path, json_path};
use super::{Session, slug};
use crate::keptn::{TaskEventKind, parse_task_event};
use crate::name::TaskName;
use crate::resource::FilePath;

/// The file that a job finds the data of its event in.
const EVENT_FILE: &str = "event.json";
/// What the job-executor-service gives every container.
const AUTOMATIC: [(&str, &str); 3] =
    [("KEPTN_PROJECT", "/project"), ("KEPTN_SERVICE", "/service"), ("KEPTN_STAGE", "/stage")];

/// What the translation of one file needs.
struct Translation<'a> {
    from: &'a str,
    /// The paths of all files, each in its project, stage or service.
    known: &'a BTreeSet<&'a str>,
    session: &'a mut Session,
    tasks: BTreeMap<String, Yaml>,
}

/// Translates the file; `None` if nothing of it could be translated.
pub(super) fn translate(placed: &Placed<'_>, known: &BTreeSet<&str>, session: &mut Session) -> Option<String> {
    let (actions, odd) = match read(placed.content) {
        Ok(read) => read,
        Err(problems) => {
            let message = format!("copied as it is, because it cannot be read: {}", super::listed(&problems));
            session.notes.add(&placed.from, NoteSeverity::NotTranslated, message);
            return None;
        }
    };
    let mut translation = Translation { from: &placed.from, known, session, tasks: BTreeMap::new() };
    for problem in odd {
        translation.note(format!("left out: {problem}"));
    }
    for action in &actions {
        translation.action(action);
    }
    if translation.tasks.is_empty() {
        translation.note("copied as it is: nothing of it became a task's job".to_owned());
        return None;
    }
    Some(file(translation.tasks.into_iter().collect()))
}

fn file(tasks: Vec<(String, Yaml)>) -> String {
    write(&Yaml::map([
        ("apiVersion", "pilothouse.dev/v1".into()),
        ("kind", "Jobs".into()),
        ("tasks", Yaml::Map(tasks)),
    ]))
}

impl Translation<'_> {
    fn note(&mut self, message: String) {
        self.session.notes.add(self.from, NoteSeverity::NotTranslated, message);
    }

    fn action(&mut self, action: &Action) {
        let name = &action.name;
        let mut wanted: Vec<(TaskName, Option<&(String, String)>)> = Vec::new();
        for event in &action.events {
            match triggered_task(event) {
                Some(task) => wanted.push((task, event.filter.as_ref())),
                None => self.note(format!(
                    "action `{name}`, event `{}`: `jobs.yaml` names tasks, so this must be `sh.keptn.event.<task>.triggered`; for anything else, make the work a task of a sequence",
                    event.name
                )),
            }
        }
        if action.silent && !wanted.is_empty() {
            self.note(format!("action `{name}`: `silent` has no meaning, a task is always answered"));
        }
        if wanted.is_empty() {
            return;
        }
        match action.tasks.as_slice() {
            [] => self.note(format!("action `{name}` has no task")),
            [task] => {
                let entry = self.entry(action, task);
                for (name, filter) in wanted {
                    self.claim(action, name, filter, &entry);
                }
            }
            several => self.several(action, several),
        }
    }

    /// Gives a task its job, if no earlier action did.
    fn claim(&mut self, action: &Action, task: TaskName, filter: Option<&(String, String)>, entry: &Yaml) {
        if let Some((property, wanted)) = filter {
            let hint = match json_path(property) {
                Ok(Path::Pointer(pointer)) => format!(
                    "write `match = {{ {} = [{}] }}` below `[tasks.{task}]` of the plugin's grants",
                    quoted(&pointer),
                    quoted(wanted)
                ),
                _ => "there is nothing like it".to_owned(),
            };
            self.note(format!(
                "action `{}`: `jobs.yaml` has no filter such as `{property}` = `{wanted}`; {hint}",
                action.name
            ));
        }
        if self.tasks.contains_key(task.as_str()) {
            let text = file(vec![(task.to_string(), entry.clone())]);
            self.note(format!(
                "action `{}`: the task `{task}` has a job already, and can have one; this one would be:\n{text}",
                action.name
            ));
            return;
        }
        self.tasks.insert(task.to_string(), entry.clone());
    }

    /// Notes an action with several containers: a task has one job.
    fn several(&mut self, action: &Action, tasks: &[ActionTask]) {
        let mut entries: Vec<(String, Yaml)> = Vec::new();
        for (number, task) in (1_usize..).zip(tasks) {
            let mut name = slug(&task.name);
            if entries.iter().any(|(known, _)| *known == name) {
                name = format!("{name}-{number}");
            }
            entries.push((name, self.entry(action, task)));
        }
        self.note(format!(
            "action `{}` has {} tasks, and a task of Pilothouse has one job: let one program do all of it, or make each a task of the sequence in the shipyard, with these entries in `jobs.yaml`:\n{}",
            action.name,
            tasks.len(),
            file(entries)
        ));
    }

    /// Makes the entry of a task in `jobs.yaml`, and suggests its template.
    fn entry(&mut self, action: &Action, task: &ActionTask) -> Yaml {
        let mut parameters: BTreeMap<String, Yaml> = BTreeMap::new();
        for (name, pointer) in AUTOMATIC {
            parameters.insert(name.to_owned(), Yaml::map([("pointer", pointer.into())]));
        }
        let mut whole = false;
        for variable in &task.env {
            self.variable(task, variable, &mut parameters, &mut whole);
        }
        let files = self.files(task);
        let suggestion = Suggestion {
            task,
            parameters: parameters.iter().map(|(name, value)| (name.clone(), fixed(value))).collect(),
            files: files.iter().filter(|path| !path.ends_with('/')).cloned().collect(),
            has_files: whole || !files.is_empty(),
        };
        let wish = slug(if task.name.is_empty() { &action.name } else { &task.name });
        let template = self.template(task, &wish, &suggestion);
        let mut entry = vec![("job".to_owned(), template.into())];
        entry.push(("parameters".to_owned(), Yaml::Map(parameters.into_iter().collect())));
        if !files.is_empty() {
            entry.push(("files".to_owned(), Yaml::List(files.into_iter().map(Into::into).collect())));
        }
        if whole {
            entry.push(("event".to_owned(), EVENT_FILE.into()));
        }
        if let Some(seconds) = task.max_poll_seconds.filter(|seconds| *seconds > 0) {
            entry.push(("timeoutSeconds".to_owned(), Yaml::Scalar(seconds.into())));
        }
        Yaml::Map(entry)
    }

    /// Makes a parameter of a variable.
    fn variable(
        &mut self,
        task: &ActionTask,
        variable: &Variable,
        parameters: &mut BTreeMap<String, Yaml>,
        whole: &mut bool,
    ) {
        let what = format!("task `{}`, variable `{}`", task.name, variable.name);
        if variable.value_from == "secret" {
            return self.note(format!(
                "{what}: secrets are not given to jobs; let the program of the template read what the Kubernetes secret `{}` held from a file that only the host's user can read",
                variable.name
            ));
        }
        if !is_parameter_name(&variable.name) {
            return self.note(format!("{what}: a parameter is named by letters, digits, `-` and `_`"));
        }
        if variable.value_from != "event" {
            parameters.insert(variable.name.clone(), variable.value.as_str().into());
            return;
        }
        let structured = matches!(variable.format.as_deref(), Some("json" | "yaml"));
        match json_path(&variable.value) {
            Ok(Path::Pointer(pointer)) if !structured => {
                parameters.insert(variable.name.clone(), Yaml::map([("pointer", pointer.into())]));
            }
            Ok(_) => {
                *whole = true;
                self.note(format!(
                    "{what}: a parameter is one text, number or boolean; the data of the event is in the file `{EVENT_FILE}` (`{{file:{EVENT_FILE}}}` in the template)"
                ));
            }
            Err(reason) => self.note(format!("{what}: {reason}")),
        }
    }

    /// Returns the files of a job by the paths that they have now, which are the same within a project, a stage or a service.
    fn files(&mut self, task: &ActionTask) -> Vec<String> {
        let mut files: Vec<String> = Vec::new();
        if task.files.len() > FILES_COUNT_MAX {
            self.note(format!("task `{}`: a job is given at most {FILES_COUNT_MAX} files; name folders", task.name));
        }
        for wanted in task.files.iter().take(FILES_COUNT_MAX) {
            let path = wanted.trim_matches('/');
            if let Err(error) = FilePath::new(path) {
                self.note(format!("task `{}`, file `{wanted}`: {error}", task.name));
                continue;
            }
            let folder = format!("{path}/");
            let is_folder = self.known.range(folder.as_str()..).next().is_some_and(|file| file.starts_with(&folder));
            let found = match (self.known.contains(path), is_folder) {
                (true, _) => path.to_owned(),
                (false, true) => folder,
                (false, false) => {
                    self.note(format!(
                        "task `{}`, file `{wanted}`: the repository has no such file, and a job whose file is missing is not started",
                        task.name
                    ));
                    path.to_owned()
                }
            };
            if !files.contains(&found) {
                files.push(found);
            }
        }
        files
    }

    /// Names the template of a task, and suggests it if it is a new one.
    fn template(&mut self, task: &ActionTask, wish: &str, suggestion: &Suggestion<'_>) -> String {
        let meaning = format!("{}\n{}", task.image, suggestion.write("NAME"));
        let (name, new) = self.session.templates.claim(wish, &meaning);
        if !new {
            return name;
        }
        let mut message = format!(
            "task `{}` ran the image `{}`: the operator writes a job template for it, perhaps this one, and grants it to the plugin `job` with `jobs.{name} = \"{name}\"`; a job runs on the host's machine, so the program must be there (or call a container tool)",
            task.name, task.image
        );
        let mut left: Vec<String> = suggestion.left_over();
        if let Some(folder) = &task.working_dir {
            left.push(format!("`workingDir: {folder}`: a job runs in its own folder"));
        }
        if !task.ignored.is_empty() {
            left.push(format!("left out, for Kubernetes only: {}", task.ignored.join(", ")));
        }
        if !left.is_empty() {
            message.push_str(&format!("; to be looked at: {}", left.join("; ")));
        }
        message.push_str(&format!(":\n{}", suggestion.write(&name)));
        self.note(message);
        name
    }
}

/// Returns the value of a parameter that does not come from the event.
fn fixed(value: &Yaml) -> Option<String> {
    match value {
        Yaml::Scalar(serde_json::Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Tells whether a text can name a parameter of a job template.
fn is_parameter_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Returns the task whose trigger an event is, if its pattern is that one type.
fn triggered_task(event: &ActionEvent) -> Option<TaskName> {
    let name = event.name.strip_prefix('^').unwrap_or(&event.name);
    let name = name.strip_suffix('$').unwrap_or(name).replace("\\.", ".");
    match parse_task_event(&name) {
        Some((task, TaskEventKind::Triggered)) => Some(task),
        _ => None,
    }
}
