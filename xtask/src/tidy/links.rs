//! Links between Markdown files: each one to a local file leads somewhere, and each one to a heading finds it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, SourceFile};

/// Checks every Markdown file.
pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let texts: BTreeMap<&str, &str> = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for (number, target) in links(&file.text) {
            if let Some(message) = broken(&texts, &file.path, target) {
                problems.push(Problem::at(&file.path, number, message));
            }
        }
    }
    problems
}

/// Says what is wrong with the link from `path` to `target`, or `None`.
fn broken(texts: &BTreeMap<&str, &str>, path: &str, target: &str) -> Option<String> {
    // An address with a scheme is somebody else's page; checking it would need the network.
    if target.contains("://") || target.starts_with("mailto:") || target.is_empty() {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let resolved = if file.is_empty() { Some(path.to_owned()) } else { resolve(path, file) };
    let Some(resolved) = resolved else {
        return Some(format!("`{target}` leads out of the repository"));
    };
    let folder = format!("{}/", resolved.trim_end_matches('/'));
    let is_folder = texts.range(folder.as_str()..).next().is_some_and(|(path, _)| path.starts_with(&folder));
    let text = texts.get(resolved.as_str());
    if text.is_none() && !is_folder && !resolved.is_empty() {
        return Some(format!("`{target}` leads nowhere"));
    }
    let (heading, text) = (heading?, text?);
    (!anchors(text).contains(heading)).then(|| format!("`{target}`: no such heading"))
}

/// Returns `link` as seen from the folder of `path`, or `None` where it leaves the repository.
fn resolve(path: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Returns the targets of all `[text](target)` outside of code, each with its line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, next)) = after.split_once(')') else { break };
            // `[text](target "title")`
            found.push((number, target.split_whitespace().next().unwrap_or_default()));
            rest = next;
        }
    }
    found
}

/// Returns the lines outside of fenced code, each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the anchors that Markdown viewers make from the headings of `text`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|(_, line)| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let files =
            tree(&[("docs/a.md", text), ("README.md", "# Two words, one `code`\n"), ("docs/events/x.json", "{}")]);
        check(&files).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_link_to_a_file_a_folder_or_a_heading_is_followed() {
        assert!(messages("[a](../README.md) [b](events/) [c](../README.md#two-words-one-code) [d](a.md)").is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        assert_eq!(messages("[a](nowhere.md)"), ["`nowhere.md` leads nowhere"]);
        assert_eq!(messages("[a](../../x.md)"), ["`../../x.md` leads out of the repository"]);
        assert_eq!(messages("[a](../README.md#three)"), ["`../README.md#three`: no such heading"]);
    }

    #[test]
    fn other_peoples_pages_and_code_are_left_alone() {
        assert!(messages("[a](https://cloudevents.io)\n```\n[b](nowhere)\n```\n").is_empty());
    }
}
