//! What only the whole shipyard shows: triggers that name nothing, selectors that never match, sequences that fire each
//! other for ever.

use std::collections::{HashMap, HashSet};

use super::read::Places;
use super::{DEPTH_MAX, Sequence, Shipyard, TriggeredOn};
use crate::result::TaskResult;
use crate::suggest::nearest;
use crate::yaml::Problem;

pub(super) fn check(shipyard: &Shipyard, places: &Places, problems: &mut Vec<Problem>) {
    for (stage, sequence, index, at) in &places.triggers {
        let on = find(shipyard, stage, sequence).and_then(|sequence| sequence.triggered_on.get(*index));
        if let Some(problem) = on.and_then(|on| never_fires(shipyard, on)) {
            problems.push(Problem::warning(*at, problem));
        }
    }
    endless(shipyard, places, problems);
}

fn find<'a>(shipyard: &'a Shipyard, stage: &str, sequence: &str) -> Option<&'a Sequence> {
    shipyard.stage(stage)?.sequences.iter().find(|it| it.name.as_str() == sequence)
}

/// Says why a trigger can never fire.
fn never_fires(shipyard: &Shipyard, on: &TriggeredOn) -> Option<String> {
    let Some(stage) = shipyard.stage(&on.stage) else {
        let near = nearest(&on.stage, shipyard.stages.iter().map(|stage| stage.name.as_str()));
        return Some(format!("never fires: there is no stage `{}`{}", on.stage, meant(near)));
    };
    let Some(sequence) = stage.sequence(&on.sequence) else {
        let near = nearest(&on.sequence, stage.sequences.iter().map(|sequence| sequence.name.as_str()));
        return Some(format!("never fires: stage `{}` has no sequence `{}`{}", on.stage, on.sequence, meant(near)));
    };
    let tasks: Vec<&str> = sequence.steps.iter().flatten().map(|task| task.name.as_str()).collect();
    for condition in &on.selector {
        let Some(task) = &condition.task else { continue };
        if !tasks.contains(&task.as_str()) {
            let near = nearest(task, tasks.iter().copied());
            return Some(format!("never fires: sequence `{}` has no task `{task}`{}", on.sequence, meant(near)));
        }
    }
    let results: HashSet<(Option<&str>, TaskResult)> =
        on.selector.iter().map(|condition| (condition.task.as_deref(), condition.result)).collect();
    let subjects: HashSet<Option<&str>> = results.iter().map(|(task, _)| *task).collect();
    (subjects.len() < results.len()).then(|| "never fires: one result cannot have two values".to_owned())
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// Finds sequences that fire each other for ever. A circle that goes on when all is well is a mistake; one that goes on
/// after failures only is a retry, which the depth limit ends.
fn endless(shipyard: &Shipyard, places: &Places, problems: &mut Vec<Problem>) {
    let passes = |on: &TriggeredOn| on.selector.iter().all(|condition| condition.result != TaskResult::Fail);
    for only_passing in [true, false] {
        let mut edges: HashMap<(&str, &str), Vec<(&str, &str)>> = HashMap::new();
        for stage in &shipyard.stages {
            for sequence in &stage.sequences {
                for on in sequence.triggered_on.iter().filter(|on| !only_passing || passes(on)) {
                    let from = (on.stage.as_str(), on.sequence.as_str());
                    edges.entry(from).or_default().push((stage.name.as_str(), sequence.name.as_str()));
                }
            }
        }
        let Some(circle) = circle(&edges) else { continue };
        let names: Vec<String> = circle.iter().map(|(stage, sequence)| format!("{stage}.{sequence}")).collect();
        let at = places
            .sequences
            .iter()
            .find(|(stage, sequence, _)| circle.first() == Some(&(stage.as_str(), sequence.as_str())))
            .map_or(crate::yaml::Position::START, |(_, _, at)| *at);
        let path = names.join(" → ");
        problems.push(if only_passing {
            Problem::write_error(at, format!("these sequences trigger each other for ever: {path}"))
        } else {
            Problem::warning(
                at,
                format!("these sequences trigger each other until one passes, at most {DEPTH_MAX} times: {path}"),
            )
        });
        return;
    }
}

/// Returns one circle, its first node repeated at the end; the first in the order of names.
fn circle<'a>(edges: &HashMap<(&'a str, &'a str), Vec<(&'a str, &'a str)>>) -> Option<Vec<(&'a str, &'a str)>> {
    let mut done: HashSet<(&str, &str)> = HashSet::new();
    let mut starts: Vec<_> = edges.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        // Depth first, without recursion: a path, and for each node on it how many of its edges were looked at.
        let mut path: Vec<((&str, &str), usize)> = vec![(start, 0)];
        while let Some((node, looked)) = path.last_mut() {
            let node = *node;
            let next = edges.get(&node).and_then(|targets| targets.get(*looked)).copied();
            *looked += 1;
            match next {
                None => {
                    done.insert(node);
                    path.pop();
                }
                Some(target) => {
                    if let Some(index) = path.iter().position(|(on_path, _)| *on_path == target) {
                        let around = path.iter().skip(index).map(|(node, _)| *node);
                        return Some(around.chain([target]).collect());
                    }
                    if !done.contains(&target) {
                        path.push((target, 0));
                    }
                }
            }
        }
    }
    None
}
