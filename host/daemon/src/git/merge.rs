//! Bringing two lines of commits together: what merges by itself, what does not, and what a person chose.

use std::collections::BTreeMap;

use git2::{IndexConflict, IndexEntry, MergeOptions};
use serde::{Deserialize, Serialize};

use super::repository::Repository;
use super::{CommitId, GitError, Signed};

/// Longest difference of one file that is shown, in bytes.
const DIFFERENCE_BYTES_MAX: usize = 64 * 1024;

/// Which side of a conflict counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What the host has.
    Ours,
    /// What the upstream has.
    Theirs,
}

/// A file that both sides changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConflictFile {
    /// Its path in the repository.
    pub path: String,
    /// `modified`, or `removed` here or there.
    pub ours: String,
    /// The same of the upstream's side.
    pub theirs: String,
    /// The difference from ours to theirs, as a unified diff; cut at 64 KiB, absent for binary files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

/// What a merge came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The two sides are one now.
    Commit(CommitId),
    /// These files need a decision.
    Conflicts(Vec<String>),
}

impl Repository {
    /// Merges `theirs` into the branch. Files that both sides changed take the side that `choices` names for them; without
    /// a choice for each of them, nothing is changed.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn merge(
        &self,
        theirs: &CommitId,
        choices: &BTreeMap<String, Side>,
        signed: &Signed,
    ) -> Result<Merged, GitError> {
        let ours = self.present()?;
        let mut index = self.merged_index(&ours, theirs)?;
        let conflicts = conflicts(&index).map_err(|error| self.broken(&error))?;
        let open: Vec<String> =
            conflicts.iter().map(|(path, _)| path.clone()).filter(|path| !choices.contains_key(path)).collect();
        if !open.is_empty() {
            return Ok(Merged::Conflicts(open));
        }
        for (path, conflict) in conflicts {
            let chosen = match choices.get(&path) {
                Some(Side::Theirs) => conflict.their,
                _ => conflict.our,
            };
            let settled = index.conflict_remove(std::path::Path::new(&path)).and_then(|()| match chosen {
                // Stage 0: settled.
                Some(entry) => index.add(&IndexEntry { flags: entry.flags & !0x3000, ..entry }),
                None => Ok(()),
            });
            settled.map_err(|error| self.broken(&error))?;
        }
        let tree = index.write_tree_to(self.git()).map_err(|error| self.broken(&error))?;
        let tree = self.git().find_tree(tree).map_err(|error| self.broken(&error))?;
        self.commit_tree(&tree, &[&ours, theirs], signed).map(Merged::Commit)
    }

    /// Makes one line of two that have nothing to do with each other any more, because the upstream's history was
    /// rewritten. Taking theirs keeps our commits by a reference; taking ours makes our files the newest.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn settle_rewritten(&self, theirs: &CommitId, side: Side, signed: &Signed) -> Result<CommitId, GitError> {
        match side {
            Side::Theirs => {
                self.set_head(theirs)?;
                Ok(theirs.clone())
            }
            Side::Ours => {
                let ours = self.present()?;
                let tree = self.tree_of(&ours)?;
                self.commit_tree(&tree, &[&ours, theirs], signed)
            }
        }
    }

    /// Puts the branch forward to `theirs`, which follows from it.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn fast_forward(&self, theirs: &CommitId) -> Result<(), GitError> {
        self.set_reference(&format!("refs/heads/{}", super::BRANCH), theirs)
    }

    /// Lists the files that a merge with `theirs` cannot decide, with their differences.
    ///
    /// # Errors
    /// There is no such commit, or the repository is damaged.
    pub fn conflict_files(&self, theirs: &CommitId) -> Result<Vec<ConflictFile>, GitError> {
        let ours = self.present()?;
        let index = self.merged_index(&ours, theirs)?;
        let conflicts = conflicts(&index).map_err(|error| self.broken(&error))?;
        let state = |entry: &Option<IndexEntry>| if entry.is_some() { "modified" } else { "removed" }.to_owned();
        let files = conflicts.iter().map(|(path, conflict)| ConflictFile {
            path: path.clone(),
            ours: state(&conflict.our),
            theirs: state(&conflict.their),
            difference: self.difference(path, conflict),
        });
        Ok(files.collect())
    }

    fn merged_index(&self, ours: &CommitId, theirs: &CommitId) -> Result<git2::Index, GitError> {
        let (ours, theirs) = (self.commit_of(ours)?, self.commit_of(theirs)?);
        let mut options = MergeOptions::new();
        options.find_renames(false);
        self.git().merge_commits(&ours, &theirs, Some(&options)).map_err(|error| self.broken(&error))
    }

    fn difference(&self, path: &str, conflict: &IndexConflict) -> Option<String> {
        let content = |entry: &Option<IndexEntry>| match entry {
            None => Some(Vec::new()),
            Some(entry) => self.git().find_blob(entry.id).ok().map(|blob| blob.content().to_vec()),
        };
        let (ours, theirs) = (content(&conflict.our)?, content(&conflict.their)?);
        if ours.contains(&0) || theirs.contains(&0) {
            return None;
        }
        let name = Some(std::path::Path::new(path));
        let mut patch = git2::Patch::from_buffers(&ours, name, &theirs, name, None).ok()?;
        let text = String::from_utf8_lossy(&patch.to_buf().ok()?).into_owned();
        let end =
            text.char_indices().map(|(at, _)| at).take_while(|at| *at <= DIFFERENCE_BYTES_MAX).last().unwrap_or(0);
        Some(if text.len() > DIFFERENCE_BYTES_MAX { text.get(..end).unwrap_or_default().to_owned() } else { text })
    }
}

/// Returns the conflicts of a merged index, each with its path, in the order of the paths.
fn conflicts(index: &git2::Index) -> Result<Vec<(String, IndexConflict)>, git2::Error> {
    if !index.has_conflicts() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for conflict in index.conflicts()? {
        let conflict = conflict?;
        let entry = conflict.our.as_ref().or(conflict.their.as_ref()).or(conflict.ancestor.as_ref());
        let path = entry.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).unwrap_or_default();
        found.push((path, conflict));
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}
