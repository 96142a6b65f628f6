//! Places in Keptn's event: JSONPath of job settings and Go templates of webhooks, as JSON pointers into the event's data.

/// Opens the mark of a template; for private use in Unicode, so that no file has it.
pub(super) const MASK_OPEN: char = '\u{e000}';
/// Closes the mark.
pub(super) const MASK_CLOSE: char = '\u{e001}';

/// What a JSONPath of an event means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// A JSON pointer into the event's data.
    Pointer(String),
    /// The event, or all of its data.
    Whole,
}

/// Reads a JSONPath such as `$.data.deployment.deploymentURIsLocal[0]`.
///
/// # Errors
/// It is not about one place in the event's data.
pub(super) fn json_path(text: &str) -> Result<Path, String> {
    let steps = steps(text.trim()).ok_or_else(|| format!("`{text}` does not name one place in the event"))?;
    match steps.split_first() {
        None => Ok(Path::Whole),
        Some((first, rest)) if first == "data" => {
            if rest.is_empty() {
                Ok(Path::Whole)
            } else {
                Ok(Path::Pointer(pointer(rest)))
            }
        }
        Some(_) => Err(format!("`{text}` is no part of the event's data")),
    }
}

fn steps(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, left) = after.split_at_checked(end)?;
            let named = name.chars().all(|it| it.is_alphanumeric() || it == '_' || it == '-');
            steps.push(Some(name).filter(|name| named && !name.is_empty())?.to_owned());
            rest = left;
        } else {
            let inner = rest.strip_prefix('[')?;
            let quote = inner.chars().next()?;
            let (name, left) = match quote {
                '\'' | '"' => {
                    let (name, left) = inner.strip_prefix(quote)?.split_once(quote)?;
                    (name, left.strip_prefix(']')?)
                }
                _ => {
                    let (name, left) = inner.split_once(']')?;
                    (Some(name).filter(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))?, left)
                }
            };
            steps.push(name.to_owned());
            rest = left;
        }
    }
    Some(steps)
}

/// Writes a JSON pointer (RFC 6901).
fn pointer(steps: &[String]) -> String {
    steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

/// What stands in a Go template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A JSON pointer into the event's data.
    Data(String),
    /// A secret, by its name in `envFrom`.
    Secret(String),
}

/// The templates of texts in which marks stand for them, so that the texts can be split and parsed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Masked {
    /// What the marks stand for, by number.
    places: Vec<Place>,
}

/// A piece of a masked text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'m> {
    /// Text as it is.
    Text(&'m str),
    /// A place.
    Place(&'m Place),
}

impl Masked {
    /// Masks a text; its marks go on where those of earlier texts ended.
    ///
    /// # Errors
    /// A template is more than a place in the event's data or a secret.
    pub(super) fn mask(&mut self, text: &str) -> Result<String, String> {
        if text.contains([MASK_OPEN, MASK_CLOSE]) {
            return Err("it has characters for private use".to_owned());
        }
        let mut masked = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or("a `{{` is not closed")?;
            masked.push_str(before);
            masked.push_str(&format!("{MASK_OPEN}{}{MASK_CLOSE}", self.places.len()));
            self.places.push(place(action)?);
            rest = after;
        }
        masked.push_str(rest);
        Ok(masked)
    }

    /// Splits a masked text into its pieces.
    pub(super) fn pieces<'m>(&'m self, masked: &'m str) -> Vec<Piece<'m>> {
        let mut pieces = Vec::new();
        let mut rest = masked;
        while let Some((before, after)) = rest.split_once(MASK_OPEN) {
            let (number, after) = after.split_once(MASK_CLOSE).unwrap_or((after, ""));
            if !before.is_empty() {
                pieces.push(Piece::Text(before));
            }
            if let Some(place) = number.parse::<usize>().ok().and_then(|number| self.places.get(number)) {
                pieces.push(Piece::Place(place));
            }
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest));
        }
        pieces
    }

    /// Writes a masked text as the plugin `webhook` reads it: places in braces.
    ///
    /// # Errors
    /// It has a secret, or a brace that is only a brace.
    pub(super) fn fill(&self, masked: &str) -> Result<String, String> {
        let mut filled = String::new();
        for piece in self.pieces(masked) {
            match piece {
                Piece::Text(text) if text.contains('{') => {
                    return Err(format!("`{text}` has a brace, which begins a place of the event in `webhooks.yaml`"));
                }
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(Place::Data(pointer)) => filled.push_str(&format!("{{{pointer}}}")),
                Piece::Place(Place::Secret(name)) => {
                    return Err(format!(
                        "the secret `{name}` stands where a connection cannot put it: a secret is a connection's address, or one header"
                    ));
                }
            }
        }
        Ok(filled)
    }
}

/// Reads what stands between `{{` and `}}`: `.data.a.b`, `.env.name` or `index .data.list 0`.
fn place(action: &str) -> Result<Place, String> {
    let unknown = || format!("the template `{{{{{action}}}}}` is more than a value of the event's data or a secret");
    let words: Vec<&str> = action.split_whitespace().collect();
    let (path, indexes) = match words.as_slice() {
        [path] => (*path, Vec::new()),
        ["index", path, indexes @ ..] if !indexes.is_empty() => (*path, indexes.to_vec()),
        _ => return Err(unknown()),
    };
    let mut steps = Vec::new();
    for name in path.strip_prefix('.').ok_or_else(unknown)?.split('.') {
        let named = !name.is_empty() && name.chars().all(|it| it.is_alphanumeric() || it == '_');
        steps.push(Some(name).filter(|_| named).ok_or_else(unknown)?.to_owned());
    }
    for index in indexes {
        let key = index.trim_matches('"');
        let valid = !key.is_empty() && key.chars().all(|it| it.is_alphanumeric() || it == '_' || it == '-');
        steps.push(Some(key).filter(|_| valid).ok_or_else(unknown)?.to_owned());
    }
    match steps.split_first() {
        Some((first, rest)) if first == "data" && !rest.is_empty() => Ok(Place::Data(pointer(rest))),
        Some((first, [name])) if first == "env" => Ok(Place::Secret(name.clone())),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_path_to_one_place_is_a_pointer_into_the_data() {
        for (path, pointer) in [
            ("$.data.service", "/service"),
            ("$.data.deployment.deploymentURIsLocal[0]", "/deployment/deploymentURIsLocal/0"),
            ("$['data'][\"a/b~c\"].x-y", "/a~1b~0c/x-y"),
        ] {
            assert_eq!(json_path(path), Ok(Path::Pointer(pointer.to_owned())), "{path}");
        }
        assert_eq!((json_path("$"), json_path("$.data")), (Ok(Path::Whole), Ok(Path::Whole)));
        for bad in ["", "data", "$.id", "$..a", "$.data[*]", "$.data.a[?(@.x)]", "$.data[-1]", "$.data.", "$.data['x"] {
            assert!(json_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_template_is_a_place_or_is_refused() {
        let mut masked = Masked::default();
        let text = masked.mask("a {{.data.project}}/{{ index .data.list.x 0 }}{{.env.key}} b").unwrap();
        let data = |pointer: &str| Place::Data(pointer.to_owned());
        assert_eq!(masked.places, [data("/project"), data("/list/x/0"), Place::Secret("key".to_owned())]);
        assert_eq!(masked.pieces(&text).len(), 6);
        for bad in [
            "{{.id}}",
            "{{if .data.x}}",
            "{{.data}}",
            "{{- .data.x -}}",
            "{{.data.x",
            "{{.data.x | js}}",
            "{{}}",
            "\u{e000}",
        ] {
            assert!(Masked::default().mask(bad).is_err(), "{bad}");
        }
    }
}
