//! What the files of a project mean together. All of it is worth a warning only: files are written one after another, so one
//! that names what is not there yet is no mistake.

use std::collections::BTreeSet;

use super::{FileKind, Named, check, jobs, sli, slo, webhooks, workload};
use crate::resource::Folder;
use crate::shipyard::{self, SHIPYARD_FILE, Shipyard};
use crate::suggest::nearest;
use crate::yaml::{Position, Problem};

/// Tasks that are triggered without a shipyard naming them.
const BUILT_IN_TASKS: [&str; 3] = ["evaluation", "get-sli", "configure-monitoring"];
/// Indicators that Keptn's Prometheus provider knows without a file.
const BUILT_IN_INDICATORS: [&str; 5] =
    ["throughput", "error_rate", "response_time_p50", "response_time_p90", "response_time_p95"];

/// A file of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its path in the project, the folders of stages and services included.
    pub path: String,
    /// Its content, which is needed for a file of a known format only ([`FileKind::of_path`]); `None` of one that is too large.
    pub content: Option<Vec<u8>>,
}

impl ProjectFile {
    /// Returns the content; nothing where it is not known.
    pub fn bytes(&self) -> &[u8] {
        self.content.as_deref().unwrap_or_default()
    }
}

/// A problem, and the file that has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileProblem {
    /// The file's path in the project.
    pub path: String,
    /// What is wrong, and where.
    #[serde(flatten)]
    pub problem: Problem,
}

impl std::fmt::Display for FileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.problem.stops_a_write() { "" } else { "warning: " };
        write!(f, "{}:{}: {word}{}", self.path, self.problem.at, self.problem.message)
    }
}

/// What a look at a whole project came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many files have a known format.
    pub files: usize,
    /// All problems, in the order of the paths and then of the file.
    pub problems: Vec<FileProblem>,
}

/// Checks every file of a project by itself, and then all of them together.
pub fn check_project(files: &[ProjectFile]) -> Checked {
    let mut project = Project { files, shipyard: None, tasks: BTreeSet::new(), found: Vec::new() };
    let mut checked = 0;
    for file in files {
        let Some(kind) = FileKind::of_path(&file.path) else { continue };
        checked += 1;
        match &file.content {
            Some(content) => check(kind, content).into_iter().for_each(|problem| project.tell(&file.path, problem)),
            None => {
                let message = "the file is too large, or with the others before it there is too much to look at";
                project.tell(&file.path, Problem::error(Position::START, message));
            }
        }
    }
    if let Some(file) = files.iter().find(|file| file.path == SHIPYARD_FILE) {
        project.shipyard = shipyard::read(file.bytes()).0;
        project.tasks = shipyard::task_uses(file.bytes()).into_iter().map(|found| found.task).collect();
    }
    project.stages();
    for file in files {
        match FileKind::of_path(&file.path) {
            Some(FileKind::Slo) => project.slo(file),
            Some(FileKind::Workload) => project.workloads(file),
            Some(FileKind::Jobs) => project.jobs(file),
            Some(FileKind::Webhooks) => project.webhooks(file),
            _ => {}
        }
    }
    let mut problems = project.found;
    problems.sort_by(|a, b| (&a.path, a.problem.at).cmp(&(&b.path, b.problem.at)));
    Checked { files: checked, problems }
}

struct Project<'a> {
    files: &'a [ProjectFile],
    /// `None` if there is none that can be used.
    shipyard: Option<Shipyard>,
    /// Names of all tasks of the shipyard.
    tasks: BTreeSet<String>,
    found: Vec<FileProblem>,
}

impl Project<'_> {
    fn tell(&mut self, path: &str, problem: Problem) {
        self.found.push(FileProblem { path: path.to_owned(), problem });
    }

    fn warn(&mut self, file: &ProjectFile, at: Position, message: String) {
        self.tell(&file.path, Problem::warning(at, message));
    }

    /// Looks for folders of stages that the shipyard does not have.
    fn stages(&mut self) {
        let Some(shipyard) = &self.shipyard else { return };
        let mut unknown = BTreeSet::new();
        for file in self.files {
            if let Some(stage) = Folder::of_path(&file.path).0.stage
                && shipyard.stage(stage.as_str()).is_none()
                && unknown.insert(stage.to_string())
            {
                let near = nearest(stage.as_str(), shipyard.stages.iter().map(|it| it.name.as_str()));
                let message = format!("the shipyard has no stage `{stage}`{}, so nothing reads this", meant(near));
                let problem = Problem::warning(Position::START, message);
                self.found.push(FileProblem { path: file.path.clone(), problem });
            }
        }
    }

    /// Looks for objectives that no SLI file measures.
    fn slo(&mut self, file: &ProjectFile) {
        let Some(slo) = slo::read(file.bytes()).0 else { return };
        let folder = Folder::of_path(&file.path).0;
        let of_kind = |it: &&ProjectFile| FileKind::of_path(&it.path) == Some(FileKind::Sli);
        let related = self.files.iter().filter(of_kind).filter(|it| meet(&folder, &Folder::of_path(&it.path).0));
        let mut providers = 0;
        let mut known: BTreeSet<String> = BTreeSet::new();
        for provider in related {
            providers += 1;
            known.extend(sli::read(provider.bytes()).0.unwrap_or_default().indicators.into_keys());
        }
        if providers == 0 {
            if let Some(first) = slo.objectives.first() {
                let message = "no provider measures these objectives: add a file such as `prometheus/sli.yaml`";
                self.warn(file, first.at, message.to_owned());
            }
            return;
        }
        for objective in &slo.objectives {
            if !known.contains(&objective.sli) && !BUILT_IN_INDICATORS.contains(&objective.sli.as_str()) {
                let near = nearest(&objective.sli, known.iter().map(String::as_str));
                let message = format!("no SLI file has the indicator `{}`{}", objective.sli, meant(near));
                self.warn(file, objective.at, message);
            }
        }
    }

    fn workloads(&mut self, file: &ProjectFile) {
        let Some(workloads) = workload::read(file.bytes()).0 else { return };
        for script in workloads.workloads.iter().filter_map(|it| it.script.as_ref()) {
            if let Some(message) = self.missing(file, script) {
                self.warn(file, Position::START, message);
            }
        }
    }

    fn jobs(&mut self, file: &ProjectFile) {
        let Some(jobs) = jobs::read(file.bytes()).0 else { return };
        for job in &jobs.tasks {
            self.task(file, &job.task);
            for wanted in &job.files {
                if let Some(message) = self.missing(file, &wanted.name) {
                    self.warn(file, wanted.at, message);
                }
            }
        }
    }

    fn webhooks(&mut self, file: &ProjectFile) {
        let Some(webhooks) = webhooks::read(file.bytes()).0 else { return };
        for webhook in &webhooks.tasks {
            self.task(file, &webhook.on);
        }
    }

    /// Looks whether any sequence has a task.
    fn task(&mut self, file: &ProjectFile, task: &Named) {
        let known = self.tasks.contains(&task.name) || BUILT_IN_TASKS.contains(&task.name.as_str());
        if self.shipyard.is_none() || known {
            return;
        }
        let near = nearest(&task.name, self.tasks.iter().map(String::as_str));
        let message = format!("no sequence of the shipyard has a task `{}`{}", task.name, meant(near));
        self.warn(file, task.at, message);
    }

    /// Says that a file, or a folder with a slash at its end, is nowhere where `of` could find it.
    fn missing(&self, of: &ProjectFile, wanted: &str) -> Option<String> {
        let folder = Folder::of_path(&of.path).0;
        let mut visible = self.files.iter().filter_map(|file| {
            let (other, path) = Folder::of_path(&file.path);
            meet(&folder, &other).then_some(path)
        });
        let is_wanted = |path: &str| if wanted.ends_with('/') { path.starts_with(wanted) } else { path == wanted };
        if visible.clone().any(is_wanted) {
            return None;
        }
        let near = nearest(wanted, &mut visible);
        Some(format!("there is no file `{wanted}` in the project{}", meant(near)))
    }
}

/// Tells whether a run can see files of both folders.
fn meet(one: &Folder, other: &Folder) -> bool {
    let stages = one.stage.is_none() || other.stage.is_none() || one.stage == other.stage;
    stages && (one.service.is_none() || other.service.is_none() || one.service == other.service)
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: shop}\nspec:\n  stages:\n  - \
        name: dev\n    sequences:\n    - name: delivery\n      tasks: [{name: deployment}, {name: test}]\n";
    const JOBS: &str = "apiVersion: pilothouse.dev/v1\nkind: Jobs\ntasks:\n";

    fn warned(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, content): &(&str, &str)| ProjectFile {
            path: (*path).to_owned(),
            content: Some(content.as_bytes().to_vec()),
        };
        let files: Vec<ProjectFile> = files.iter().map(file).collect();
        check_project(&files).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_folder_of_a_stage_that_the_shipyard_does_not_have_is_warned_of_once() {
        let found = warned(&[
            (SHIPYARD_FILE, SHIPYARD),
            ("stages/dec/a.txt", ""),
            ("stages/dec/services/carts/b.txt", ""),
            ("stages/dev/a.txt", ""),
        ]);
        let [only] = found.as_slice() else { panic!("{found:?}") };
        assert!(only.starts_with("stages/dec/a.txt:1:1: warning: ") && only.contains("did you mean `dev`"), "{only}");
    }

    #[test]
    fn objectives_that_nothing_measures_are_warned_of() {
        let slo = "spec_version: '1.0'\nobjectives:\n- sli: latency\n  pass: [{criteria: ['<1']}]\n- sli: error_rate\n\
            total_score: {pass: '90%'}\n";
        let sli = |name: &str| format!("spec_version: '1.0'\nindicators: {{{name}: up}}\n");
        let with = |provider: Option<(&str, &str)>| {
            let mut files = vec![(SHIPYARD_FILE, SHIPYARD), ("services/carts/slo.yaml", slo)];
            files.extend(provider);
            warned(&files)
        };
        assert!(with(None).concat().contains("slo.yaml:3:8: warning: no provider measures these objectives"));
        // Another service's file measures nothing here.
        assert_eq!(with(Some(("services/orders/prometheus/sli.yaml", &sli("latency")))).len(), 1);
        let found = with(Some(("prometheus/sli.yaml", &sli("latency_"))));
        assert!(found.len() == 1 && found.concat().contains("`latency`; did you mean `latency_`?"), "{found:?}");
        for path in ["prometheus/sli.yaml", "stages/dev/services/carts/datadog/sli.yaml"] {
            assert_eq!(with(Some((path, &sli("latency")))), Vec::<String>::new());
        }
    }

    #[test]
    fn tasks_and_files_that_are_not_there_are_warned_of_with_what_was_meant() {
        let jobs = format!("{JOBS}  deploymet: {{job: ansible, files: [site.yaml, roles/]}}\n  test: {{job: k6}}\n");
        let found = warned(&[(SHIPYARD_FILE, SHIPYARD), ("jobs.yaml", &jobs), ("services/carts/site.yml", "")]);
        let text = found.join("\n");
        assert!(text.contains("jobs.yaml:4:3: warning: no sequence of the shipyard has a task `deploymet`"), "{text}");
        assert!(text.contains("did you mean `deployment`?") && text.contains("did you mean `site.yml`?"), "{text}");
        assert!(text.contains("no file `roles/`") && found.len() == 3, "{text}");
        let good = jobs.replace("deploymet", "deployment");
        let files = [("site.yaml", ""), ("stages/dev/roles/web/tasks.yaml", "")];
        let found = warned(&[(SHIPYARD_FILE, SHIPYARD), ("jobs.yaml", &good), files[0], files[1]]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_with_one_file_is_told_with_its_path() {
        let found =
            warned(&[("stages/dev/services/carts/remediation.yaml", "kind: Remediaton\n"), ("notes.yaml", "[")]);
        assert!(
            !found.is_empty() && found.iter().all(|it| it.starts_with("stages/dev/services/carts/rem")),
            "{found:?}"
        );
    }
}
