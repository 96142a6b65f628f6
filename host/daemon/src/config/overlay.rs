//! Settings from the environment and from flags: the same list of settings, spelled two more ways.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::schema::Node;

/// Prefix of the environment variables.
const PREFIX: &str = "PILOTHOUSE_";

/// Variables with the prefix that are no settings of the host.
const OTHER_VARIABLES: [&str; 6] = [
    "PILOTHOUSE_URL",
    "PILOTHOUSE_TOKEN",
    "PILOTHOUSE_CONFIG",
    "PILOTHOUSE_LOG",
    "PILOTHOUSE_BUNDLE",
    "PILOTHOUSE_UPDATE",
];

/// Settings given as flags, each by its path in the configuration.
///
/// The flags are made from the schema, so that no setting lacks one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(pub Vec<(Vec<String>, String)>);

impl Args for Overrides {
    fn augment_args(command: Command) -> Command {
        Node::root().scalars().into_iter().fold(command, |command, (path, scalar)| {
            let name = path.join("-");
            let default = scalar.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
            let help = format!("{}{default} [env: {}]", scalar.description.trim_end_matches('.'), variable(&path));
            let argument =
                Arg::new(name.clone()).long(name.clone()).value_name("VALUE").help(help).help_heading("Settings");
            command.arg(argument)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |(path, _): (Vec<String>, _)| {
            let value = matches.get_one::<String>(&path.join("-"))?.clone();
            Some((path, value))
        };
        Ok(Self(Node::root().scalars().into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the environment variable that sets the value at `path`.
pub(super) fn variable(path: &[String]) -> String {
    format!("{PREFIX}{}", path.join("_").replace('-', "_").to_ascii_uppercase())
}

/// A setting found in the environment.
pub(super) struct FromEnvironment {
    /// The variable.
    pub(super) variable: String,
    /// The path that it sets.
    pub(super) path: Vec<String>,
    /// The value.
    pub(super) value: String,
}

/// Picks the settings out of an environment, and says which variables with our prefix are none.
///
/// An unknown one is only warned about: orchestrators add variables such as `PILOTHOUSE_SERVICE_HOST` by themselves.
pub(super) fn from_environment(root: &Node, environment: &[(String, String)]) -> (Vec<FromEnvironment>, Vec<String>) {
    let known: Vec<(String, Vec<String>)> =
        root.scalars().into_iter().map(|(path, _)| (variable(&path), path)).collect();
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if let Some((_, path)) = known.iter().find(|(variable, _)| variable == name) {
            found.push(FromEnvironment { variable: name.clone(), path: path.clone(), value: value.clone() });
        } else if !OTHER_VARIABLES.contains(&name.as_str()) {
            let nearest = pilothouse_core::suggest::nearest(name, known.iter().map(|(variable, _)| variable.as_str()));
            let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            warnings.push(format!("the environment variable `{name}` is no setting and is ignored{hint}"));
        }
    }
    (found, warnings)
}
