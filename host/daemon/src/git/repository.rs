//! One repository, on the calling thread.

use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{
    Commit, FileMode, ObjectType, Oid, RepositoryInitOptions, Signature, Sort, Time, Tree, TreeWalkMode, TreeWalkResult,
};
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::{FILE_BYTES_MAX, FilePath};
use pilothouse_core::time::Timestamp;

use super::{BRANCH, Change, CommitId, CommitInfo, FileEntry, GitError, PathChange, Signed, Written, broken};

/// Prefix of references that keep commits which no branch leads to any more, because events name them.
const KEPT: &str = "refs/pilothouse/kept/";
/// Where an upstream's branch is kept.
pub const UPSTREAM_REF: &str = "refs/pilothouse/upstream";
/// Domain of the made-up mail addresses in commits; reserved, so that no mail gets anywhere (RFC 2606).
const MAIL_DOMAIN: &str = "pilothouse.invalid";

/// An open repository.
pub struct Repository {
    git: git2::Repository,
    project: ProjectName,
}

impl Repository {
    /// Opens the repository of a project.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(path: &Path, project: &ProjectName) -> Result<Self, GitError> {
        match git2::Repository::open_bare(path) {
            Ok(git) => Ok(Self { git, project: project.clone() }),
            Err(_) if !path.exists() => Err(GitError::NoRepository(project.to_string())),
            Err(error) => Err(broken(project, &error.message())),
        }
    }

    /// Makes an empty repository whose writes reach the disk before they return.
    ///
    /// # Errors
    /// The disk failed.
    pub fn create(path: &Path, project: &ProjectName) -> Result<Self, GitError> {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).no_reinit(true).mkpath(true).external_template(false).initial_head(BRANCH);
        let git = git2::Repository::init_opts(path, &options).map_err(|error| broken(project, &error.message()))?;
        let made = Self { git, project: project.clone() };
        let mut config = made.git.config().map_err(|error| made.broken(&error))?;
        config.set_bool("core.fsyncObjectFiles", true).map_err(|error| made.broken(&error))?;
        drop(config);
        // Opened anew, so that the setting counts.
        Self::open(path, project)
    }

    pub(super) fn broken(&self, error: &git2::Error) -> GitError {
        broken(&self.project, &error.message())
    }

    pub(super) fn git(&self) -> &git2::Repository {
        &self.git
    }

    /// Returns the present commit; `None` in an empty repository.
    ///
    /// # Errors
    /// The repository is damaged.
    pub fn head(&self) -> Result<Option<CommitId>, GitError> {
        self.reference(&format!("refs/heads/{BRANCH}"))
    }

    /// Returns the commit that a reference names.
    ///
    /// # Errors
    /// The repository is damaged.
    pub fn reference(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        match self.git.refname_to_id(name) {
            Ok(id) => Ok(Some(CommitId(id.to_string()))),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Returns the present commit of a project, which always has one.
    ///
    /// # Errors
    /// The repository is damaged or empty.
    pub fn present(&self) -> Result<CommitId, GitError> {
        self.head()?.ok_or_else(|| broken(&self.project, &"it has no commit"))
    }

    pub(super) fn commit_of(&self, id: &CommitId) -> Result<Commit<'_>, GitError> {
        let oid = Oid::from_str(id.as_str()).map_err(|_| GitError::NoCommit(id.to_string()))?;
        self.git.find_commit(oid).map_err(|error| match error.code() {
            git2::ErrorCode::NotFound => GitError::NoCommit(id.to_string()),
            _ => self.broken(&error),
        })
    }

    pub(super) fn tree_of(&self, id: &CommitId) -> Result<Tree<'_>, GitError> {
        self.commit_of(id)?.tree().map_err(|error| self.broken(&error))
    }

    /// Reads a file; `None` if the commit has none of this path. Links and submodules are no files, and what is over
    /// [`FILE_BYTES_MAX`] is refused.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn file(&self, commit: &CommitId, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let tree = self.tree_of(commit)?;
        let entry = match tree.get_path(Path::new(path)) {
            Ok(entry) => entry,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(self.broken(&error)),
        };
        if entry.kind() != Some(ObjectType::Blob) || entry.filemode() == i32::from(FileMode::Link) {
            return Ok(None);
        }
        let blob = self.git.find_blob(entry.id()).map_err(|error| self.broken(&error))?;
        if blob.size() > FILE_BYTES_MAX {
            let reason = format!("it has {} bytes, at most {FILE_BYTES_MAX} are read", blob.size());
            return Err(GitError::Path { path: path.to_owned(), reason });
        }
        Ok(Some(blob.content().to_vec()))
    }

    /// Lists the files under a prefix, in order, at most `limit`.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn files(&self, commit: &CommitId, prefix: &str, limit: usize) -> Result<Vec<FileEntry>, GitError> {
        let tree = self.tree_of(commit)?;
        let odb = self.git.odb().map_err(|error| self.broken(&error))?;
        let mut files = Vec::new();
        let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
            let path = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
            if files.len() >= limit {
                return TreeWalkResult::Abort;
            }
            if entry.kind() == Some(ObjectType::Tree) {
                let inside = format!("{path}/");
                return if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                    TreeWalkResult::Ok
                } else {
                    TreeWalkResult::Skip
                };
            }
            if path.starts_with(prefix) && entry.filemode() != i32::from(FileMode::Link) {
                let size = odb.read_header(entry.id()).map_or(0, |(size, _)| size);
                files.push(FileEntry { path, size: u64::try_from(size).unwrap_or(u64::MAX) });
            }
            TreeWalkResult::Ok
        });
        match walked {
            Err(error) if files.len() < limit => Err(self.broken(&error)),
            _ => Ok(files),
        }
    }

    /// Makes the first commit.
    pub(super) fn first_commit(&self, files: &[Change], signed: &Signed) -> Result<CommitId, GitError> {
        let empty =
            self.git.treebuilder(None).and_then(|builder| builder.write()).map_err(|error| self.broken(&error))?;
        let empty = self.git.find_tree(empty).map_err(|error| self.broken(&error))?;
        let tree = self.tree_with(&empty, files)?;
        self.commit_tree(&tree, &[], signed)
    }

    /// Commits changes on top of the present commit. With `expected`, a file that changed since then is not overwritten.
    ///
    /// # Errors
    /// [`GitError::Conflict`] names the file; nothing is changed by any error.
    pub fn commit(
        &self,
        changes: &[Change],
        expected: Option<&CommitId>,
        signed: &Signed,
    ) -> Result<Written, GitError> {
        let before = self.present()?;
        let tree = self.tree_of(&before)?;
        if let Some(expected) = expected.filter(|expected| **expected != before) {
            let then = self.tree_of(expected)?;
            for change in changes {
                if entry_id(&then, &change.path) != entry_id(&tree, &change.path) {
                    let path = change.path.to_string();
                    return Err(GitError::Conflict {
                        path,
                        expected: expected.to_string(),
                        current: before.to_string(),
                    });
                }
            }
        }
        let changed = self.tree_with(&tree, changes)?;
        if changed.id() == tree.id() {
            return Ok(Written { commit: before.clone(), before });
        }
        let commit = self.commit_tree(&changed, &[&before], signed)?;
        Ok(Written { before, commit })
    }

    /// Makes the tree that follows from `base` by the changes.
    pub(super) fn tree_with(&self, base: &Tree<'_>, changes: &[Change]) -> Result<Tree<'_>, GitError> {
        let mut update = TreeUpdateBuilder::new();
        check_together(changes)?;
        for change in changes {
            self.check_path(base, change)?;
            match &change.content {
                Some(content) => {
                    let blob = self.git.blob(content).map_err(|error| self.broken(&error))?;
                    update.upsert(change.path.as_str(), blob, FileMode::Blob);
                }
                None => {
                    update.remove(change.path.as_str());
                }
            }
        }
        let id = update.create_updated(&self.git, base).map_err(|error| self.broken(&error))?;
        self.git.find_tree(id).map_err(|error| self.broken(&error))
    }

    /// Refuses to write a file over a folder, below a file, or to remove what is not there.
    fn check_path(&self, base: &Tree<'_>, change: &Change) -> Result<(), GitError> {
        let path = change.path.as_str();
        let refused = |reason: String| Err(GitError::Path { path: path.to_owned(), reason });
        let kind = |path: &str| base.get_path(Path::new(path)).ok().and_then(|entry| entry.kind());
        match (kind(path), &change.content) {
            (Some(ObjectType::Tree), _) => return refused("there is a folder of this name".to_owned()),
            (None, None) => return Err(GitError::NoFile(path.to_owned())),
            _ => {}
        }
        for (index, _) in path.match_indices('/') {
            let folder = path.get(..index).unwrap_or_default();
            if kind(folder).is_some_and(|kind| kind != ObjectType::Tree) {
                return refused(format!("`{folder}` is a file"));
            }
        }
        Ok(())
    }

    /// Commits a tree to the branch, which must be at the first parent.
    pub(super) fn commit_tree(
        &self,
        tree: &Tree<'_>,
        parents: &[&CommitId],
        signed: &Signed,
    ) -> Result<CommitId, GitError> {
        let author = signature(&signed.actor, signed.now).map_err(|error| self.broken(&error))?;
        let committer = signature("Pilothouse", signed.now).map_err(|error| self.broken(&error))?;
        let commits = parents.iter().map(|parent| self.commit_of(parent)).collect::<Result<Vec<_>, _>>()?;
        let commits: Vec<&Commit<'_>> = commits.iter().collect();
        let branch = format!("refs/heads/{BRANCH}");
        let id = self.git.commit(Some(&branch), &author, &committer, &signed.message, tree, &commits);
        id.map(|id| CommitId(id.to_string())).map_err(|error| self.broken(&error))
    }

    /// Puts the branch to a commit that it does not lead to by itself; the old one is kept.
    pub(super) fn set_head(&self, to: &CommitId) -> Result<(), GitError> {
        if let Some(before) = self.head()? {
            self.keep(&before)?;
        }
        self.set_reference(&format!("refs/heads/{BRANCH}"), to)
    }

    /// Keeps a commit reachable for ever.
    pub(super) fn keep(&self, commit: &CommitId) -> Result<(), GitError> {
        self.set_reference(&format!("{KEPT}{commit}"), commit)
    }

    pub(super) fn set_reference(&self, name: &str, to: &CommitId) -> Result<(), GitError> {
        let oid = self.commit_of(to)?.id();
        self.git.reference(name, oid, true, "pilothouse").map(drop).map_err(|error| self.broken(&error))
    }

    /// Tells how the files differ between two commits, at most `limit` of them; from nothing when `from` is `None`. The
    /// flag says whether there are more.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn changes(
        &self,
        from: Option<&CommitId>,
        to: &CommitId,
        limit: usize,
    ) -> Result<(Vec<PathChange>, bool), GitError> {
        let old = from.map(|from| self.tree_of(from)).transpose()?;
        let new = self.tree_of(to)?;
        let diff = self.git.diff_tree_to_tree(old.as_ref(), Some(&new), None).map_err(|error| self.broken(&error))?;
        let count = diff.deltas().len();
        let changes = diff.deltas().take(limit).map(|delta| {
            let path = delta.new_file().path_bytes().or(delta.old_file().path_bytes()).unwrap_or_default();
            let change = match delta.status() {
                git2::Delta::Added => "added",
                git2::Delta::Deleted => "removed",
                _ => "modified",
            };
            PathChange { path: String::from_utf8_lossy(path).into_owned(), change }
        });
        Ok((changes.collect(), count > limit))
    }

    /// Lists commits, newest first, from `from` on, at most `limit`; with `path` only those that changed it or something
    /// below it.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn log(&self, from: &CommitId, path: Option<&str>, limit: usize) -> Result<Vec<CommitInfo>, GitError> {
        let error = |error: git2::Error| self.broken(&error);
        let mut walk = self.git.revwalk().map_err(error)?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).map_err(error)?;
        walk.push(self.commit_of(from)?.id()).map_err(error)?;
        let mut found = Vec::new();
        for id in walk {
            let commit = self.git.find_commit(id.map_err(error)?).map_err(error)?;
            if path.is_none_or(|path| changes_path(&commit, path)) {
                found.push(info(&commit));
                if found.len() >= limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Returns one commit.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn commit_info(&self, id: &CommitId) -> Result<CommitInfo, GitError> {
        self.commit_of(id).map(|commit| info(&commit))
    }

    /// Tells whether `commit` is `ancestor` or follows from it.
    ///
    /// # Errors
    /// The repository is damaged.
    pub fn follows(&self, commit: &CommitId, ancestor: &CommitId) -> Result<bool, GitError> {
        if commit == ancestor {
            return Ok(true);
        }
        let (commit, ancestor) = (self.commit_of(commit)?.id(), self.commit_of(ancestor)?.id());
        self.git.graph_descendant_of(commit, ancestor).map_err(|error| self.broken(&error))
    }
}

/// Refuses changes that contradict each other: a file twice, or a file and one below it.
fn check_together(changes: &[Change]) -> Result<(), GitError> {
    let paths: std::collections::HashSet<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    if paths.len() != changes.len() {
        let twice = changes.iter().enumerate().find(|(index, change)| {
            changes.get(index + 1..).unwrap_or_default().iter().any(|later| later.path == change.path)
        });
        let path = twice.map(|(_, change)| change.path.to_string()).unwrap_or_default();
        return Err(GitError::Path { path, reason: "it stands there twice".to_owned() });
    }
    for change in changes.iter().filter(|change| change.content.is_some()) {
        let path = change.path.as_str();
        let above = path.match_indices('/').filter_map(|(index, _)| path.get(..index)).find(|it| paths.contains(it));
        if let Some(above) = above {
            return Err(GitError::Path { path: path.to_owned(), reason: format!("`{above}` is a file") });
        }
    }
    Ok(())
}

fn entry_id(tree: &Tree<'_>, path: &FilePath) -> Option<Oid> {
    tree.get_path(Path::new(path.as_str())).ok().map(|entry| entry.id())
}

fn changes_path(commit: &Commit<'_>, path: &str) -> bool {
    let at =
        |commit: &Commit<'_>| commit.tree().ok().and_then(|tree| tree.get_path(Path::new(path)).ok()).map(|it| it.id());
    let here = at(commit);
    if commit.parent_count() == 0 {
        return here.is_some();
    }
    // A merge that took the file from one side did not change it.
    commit.parents().all(|parent| at(&parent) != here)
}

fn info(commit: &Commit<'_>) -> CommitInfo {
    let author = commit.author();
    let time = Timestamp::from_millis(commit.time().seconds().saturating_mul(1_000));
    CommitInfo {
        commit: CommitId(commit.id().to_string()),
        author: String::from_utf8_lossy(author.name_bytes()).into_owned(),
        message: String::from_utf8_lossy(commit.message_bytes()).trim_end().to_owned(),
        time: time.to_string(),
    }
}

fn signature(actor: &str, now: Timestamp) -> Result<Signature<'static>, git2::Error> {
    let mailbox: String =
        actor.chars().map(|it| if it.is_ascii_alphanumeric() || "-_.".contains(it) { it } else { '-' }).collect();
    let name: String = actor.chars().filter(|it| !it.is_control() && !"<>".contains(*it)).collect();
    Signature::new(
        &name,
        &format!("{}@{MAIL_DOMAIN}", mailbox.to_ascii_lowercase()),
        &Time::new(now.as_millis() / 1_000, 0),
    )
}
