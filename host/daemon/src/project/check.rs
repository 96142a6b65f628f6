//! What is wrong with a project's files: an error refuses a write, the rest is told.

use pilothouse_core::files::project::{Checked, FileProblem, ProjectFile, check_project};
use pilothouse_core::files::{FileKind, check};
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::{CHANGES_MAX, FILE_BYTES_MAX, FilePath};
use pilothouse_core::shipyard::{SHIPYARD_FILE, task_uses};
use pilothouse_core::yaml::Problem;

use super::{FILES_MAX, ProjectError, Projects};
use crate::git::{Change, CommitId, GitError, Repository};

/// Most bytes of files of known formats that are read for a look at a whole project.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most warnings that the answer to a write has.
const WARNINGS_MAX: usize = 100;

impl Projects {
    /// Says what is wrong with the present files of a project, and which of its tasks nothing does.
    ///
    /// # Errors
    /// There is no such project, its repository is broken, or the store could not be read.
    pub async fn problems(&self, name: &ProjectName) -> Result<(CommitId, Checked), ProjectError> {
        self.needed(name).await?;
        let (commit, files) = self.0.repositories.read(name, read_files).await?;
        let mut checked = check_project(&files);
        if let Some(shipyard) = files.iter().find(|file| file.path == SHIPYARD_FILE) {
            checked.problems.extend(self.without_executor(name, shipyard.bytes()));
            checked.problems.sort_by(|a, b| (&a.path, a.problem.at).cmp(&(&b.path, b.problem.at)));
        }
        Ok((commit, checked))
    }

    /// Returns what is worth a warning in files that were just written. It is not known of a project that cannot be read.
    pub(super) async fn warnings(&self, name: &ProjectName, written: &[FilePath]) -> Vec<String> {
        let found = match self.problems(name).await {
            Ok((_, checked)) => checked.problems,
            Err(error) => {
                tracing::warn!(project = %name, %error, "the files that were written could not be looked at");
                return Vec::new();
            }
        };
        let of_written = found.iter().filter(|found| written.iter().any(|path| path.as_str() == found.path));
        of_written.take(WARNINGS_MAX).map(ToString::to_string).collect()
    }

    /// Looks for tasks that no plugin and no outside executor does.
    fn without_executor(&self, name: &ProjectName, shipyard: &[u8]) -> Vec<FileProblem> {
        let alone = |found: &pilothouse_core::shipyard::TaskUse| {
            !self.engine().executes(&found.task, name.as_str(), &found.stage)
        };
        let told = |found: pilothouse_core::shipyard::TaskUse| {
            let message = format!(
                "nothing does the task `{}` in stage `{}`: install a plugin for it, or register an executor",
                found.task, found.stage
            );
            FileProblem { path: SHIPYARD_FILE.to_owned(), problem: Problem::warning(found.at, message) }
        };
        task_uses(shipyard).into_iter().filter(alone).map(told).collect()
    }
}

/// Checks files that are to be written.
pub(super) fn check_changes(changes: &[Change]) -> Result<(), ProjectError> {
    if changes.len() > CHANGES_MAX {
        let text = format!("{} files, at most {CHANGES_MAX} are changed by one commit", changes.len());
        return Err(ProjectError::Invalid(text));
    }
    let mut problems = Vec::new();
    for change in changes {
        let path = change.path.as_str();
        let Some(content) = &change.content else {
            if path == SHIPYARD_FILE {
                return Err(ProjectError::Invalid("a project cannot be without its shipyard".to_owned()));
            }
            continue;
        };
        let Some(kind) = FileKind::of_path(path) else { continue };
        let found = check(kind, content).into_iter();
        problems.extend(found.map(|problem| FileProblem { path: path.to_owned(), problem }));
    }
    if problems.iter().any(|found| found.problem.stops_a_write()) { Err(ProjectError::Files(problems)) } else { Ok(()) }
}

/// Reads the present files, the content of those of known formats.
fn read_files(git: &Repository) -> Result<(CommitId, Vec<ProjectFile>), GitError> {
    let commit = git.present()?;
    let (mut files, mut bytes) = (Vec::new(), 0_u64);
    for entry in git.files(&commit, "", FILES_MAX)? {
        let mut content = None;
        let readable = entry.size <= FILE_BYTES_MAX as u64 && bytes + entry.size <= BYTES_MAX;
        if FileKind::of_path(&entry.path).is_some() && readable {
            bytes += entry.size;
            content = git.file(&commit, &entry.path)?;
        }
        files.push(ProjectFile { path: entry.path, content });
    }
    Ok((commit, files))
}
