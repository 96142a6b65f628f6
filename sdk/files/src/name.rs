//! Names that come from outside, checked once.

/// Says why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct NameError {
    /// What the name is for, such as "installation name".
    pub what: &'static str,
    /// The text as given, cut to 80 characters.
    pub text: String,
    /// The rule, for people.
    pub rule: &'static str,
}

/// Longest name of any kind, so that names fit in logs, file names and SQL indexes.
pub const NAME_LENGTH_MAX: usize = 63;

fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    let mut bytes = text.bytes();
    let valid = text.len() <= NAME_LENGTH_MAX
        && bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.ends_with('-');
    if valid {
        return Ok(());
    }
    Err(NameError {
        what,
        text: text.chars().take(80).collect(),
        rule: "use a to z, 0 to 9 and `-`, start with a letter, do not end with `-`, at most 63 characters",
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// Checks `text` and makes the name.
            ///
            /// # Errors
            /// The text breaks the rule that the error states.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($what, text)?;
                Ok(Self(text.into()))
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The name under which a plugin is installed; `/plugins/<name>` is the source of what it sends.
    InstallationName,
    "installation name"
);
name!(
    /// The name of a plugin, from its manifest.
    PluginName,
    "plugin name"
);
name!(
    /// The name of a connection: by the plugin's manifest, or by the operator's configuration.
    ConnectionName,
    "connection name"
);
name!(
    /// The name of a job template.
    TemplateName,
    "job template name"
);
name!(
    /// The name of a granted output directory.
    OutputName,
    "output directory name"
);
name!(
    /// The name of a task, as in `sh.keptn.event.<name>.triggered`.
    TaskName,
    "task name"
);
name!(
    /// The name of a project.
    ProjectName,
    "project name"
);
name!(
    /// The name of a stage of a project.
    StageName,
    "stage name"
);
name!(
    /// The name of a service of a project.
    ServiceName,
    "service name"
);
name!(
    /// The name of a sequence, as in `sh.keptn.event.<stage>.<name>.triggered`.
    SequenceName,
    "sequence name"
);
name!(
    /// The name of a stored secret.
    SecretName,
    "secret name"
);

/// The name of the built-in consumer that decides about sequences.
pub const SEQUENCER: &str = "sequencer";

impl InstallationName {
    /// The name of the built-in consumer that decides about sequences; no plugin is installed under it.
    pub fn sequencer() -> Self {
        Self(SEQUENCER.into())
    }

    /// Tells whether the host itself has this name.
    pub fn is_built_in(&self) -> bool {
        self.as_str() == SEQUENCER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_letters_digits_and_inner_dashes() {
        for good in ["a", "jmeter", "get-sli", "k6-runner-2"] {
            assert!(InstallationName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "2fast", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "é", long.as_str()] {
            assert!(InstallationName::new(bad).is_err(), "{bad}");
        }
    }
}
