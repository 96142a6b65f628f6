//! The JSON Schema of the configuration, and the list of settings that environment and flags can set, read from it.

use serde_json::Value;

use super::Config;

/// Returns the JSON Schema (draft 2020-12) of the configuration file.
pub fn json_schema() -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// What stands at a path of the schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A table with these keys.
    Section(Vec<(String, Node)>),
    /// A table whose keys the operator chooses.
    Map,
    /// A value.
    Scalar(Scalar),
}

/// A single value of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    /// What the value is, for people; the doc comment of its field.
    pub(super) description: String,
    /// `integer`, `boolean` or `string`.
    pub(super) ty: String,
    /// The default, as text.
    pub(super) default: Option<String>,
}

impl Node {
    /// Reads the whole schema.
    pub(super) fn root() -> Self {
        let schema = json_schema();
        Self::read(&schema, None)
    }

    fn read(schema: &Value, default: Option<&Value>) -> Self {
        let default = schema.get("default").or(default);
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let read = |(name, property): (&String, &Value)| {
                (name.clone(), Self::read(property, default.and_then(|table| table.get(name))))
            };
            return Self::Section(properties.iter().map(read).collect());
        }
        if schema.get("additionalProperties").is_some() {
            return Self::Map;
        }
        Self::Scalar(Scalar {
            description: schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            ty: schema.get("type").and_then(Value::as_str).unwrap_or("string").to_owned(),
            default: default.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        })
    }

    /// Returns what stands under `key`.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Section(children) => children.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            Self::Map | Self::Scalar(_) => None,
        }
    }

    /// Returns the names of the keys that the section has.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        let children = match self {
            Self::Section(children) => children.as_slice(),
            Self::Map | Self::Scalar(_) => &[],
        };
        children.iter().map(|(name, _)| name.as_str())
    }

    /// Returns every single value with its path.
    pub(super) fn scalars(&self) -> Vec<(Vec<String>, Scalar)> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Scalar)>) {
        match self {
            Self::Section(children) => {
                for (name, node) in children {
                    path.push(name.clone());
                    node.collect(path, found);
                    path.pop();
                }
            }
            Self::Map => {}
            Self::Scalar(scalar) => found.push((path.clone(), scalar.clone())),
        }
    }
}
