//! From text to a tree, within bounds. A file that would not fit in memory is refused, however small it is: aliases are
//! copied, and the copies count.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle};

use super::{Member, Node, Position, Problem, Scalar, Value};

/// Largest file, in bytes: a shipyard of 100 stages is under 200 KiB.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most nodes of a file, copies by alias included; stops "billion laughs" files.
pub const NODES_MAX: usize = 100_000;
/// Deepest nesting: a real file is under 12 deep.
pub const DEPTH_MAX: usize = 64;

/// Reads the one document of a file.
///
/// # Errors
/// Not UTF-8, not YAML, more than one document, a key twice, or beyond [`FILE_BYTES_MAX`], [`NODES_MAX`] or
/// [`DEPTH_MAX`].
pub fn parse(bytes: &[u8]) -> Result<Node, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, at most {FILE_BYTES_MAX} are read", bytes.len());
        return Err(Problem::error(Position::START, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let at = Position { line: bounded(line + 1), column: bounded(column + 1) };
        Problem::error(at, "the file is not UTF-8 from here on; save it as UTF-8")
    })?;
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            Problem::error(position(error.marker()), format!("this is not valid YAML: {}", error.info()))
        })?;
        builder.take(event, position(&span.start))?;
    }
    builder.root.ok_or_else(|| Problem::error(Position::START, "the file is empty"))
}

fn bounded(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn position(marker: &Marker) -> Position {
    Position { line: bounded(marker.line().max(1)), column: bounded(marker.col() + 1) }
}

/// A collection whose end has not come.
struct Open {
    at: Position,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { members: Vec<Member>, keys: HashSet<String>, key: Option<(String, Position)> },
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Problem::error(at, "a second document begins here; one file holds one document"))
            }
            Event::Scalar(text, style, anchor, _) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.add(Node { at, value: Value::Scalar(scalar) }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, Kind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.begin(at, anchor, Kind::Map { members: Vec::new(), keys: HashSet::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let value = match open.kind {
                    Kind::List(items) => Value::List(items),
                    Kind::Map { members, .. } => Value::Map(members),
                };
                self.add(Node { at: open.at, value }, open.anchor, 1)
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(Problem::error(at, "the alias names an anchor that is not complete yet"));
                };
                let copied = count(&node);
                self.add(Node { at, ..node }, 0, copied)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, kind: Kind) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Problem::error(at, format!("nested more than {DEPTH_MAX} deep")));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, nodes: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message = format!("the file has more than {NODES_MAX} values, copies by alias included");
            return Err(Problem::error(node.at, message));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { kind: Kind::List(items), .. }) => items.push(node),
            Some(Open { kind: Kind::Map { members, keys, key }, .. }) => match key.take() {
                Some((key, at)) => members.push(Member { key, at, node }),
                None => {
                    let Value::Scalar(scalar) = node.value else {
                        return Err(Problem::error(node.at, "a key must be a text"));
                    };
                    if !keys.insert(scalar.text.clone()) {
                        return Err(Problem::error(node.at, format!("`{}` stands twice in this mapping", scalar.text)));
                    }
                    *key = Some((scalar.text, node.at));
                }
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(members) => members.iter().map(|member| 1 + count(&member.node)).sum(),
    }
}
