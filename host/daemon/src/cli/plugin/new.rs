//! `pilothouse plugin new`: the beginning of a plugin, which builds and passes its test as it is.
//!
//! The SDK and the WIT that it is made from are embedded in this program and written into the new project, under
//! `vendor/`, so that nothing has to be published for a plugin to be written.

mod files;
mod sdk;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pilothouse_core::name::PluginName;

use crate::cli::{CliError, Exit, Terminal};

/// Language of a new plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Language {
    /// Rust, with pilothouse-sdk.
    Rust,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewCommand {
    /// The plugin's name, and the folder's.
    name: String,
    /// The language.
    #[arg(long, value_enum, default_value = "rust", value_name = "LANGUAGE")]
    lang: Language,
    /// Folder to make [default: the name, in the working folder].
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
}

/// The files of a new plugin; `{{name}}` and `{{crate}}` are filled in.
const TEMPLATE: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("new/rust/Cargo.toml.in")),
    ("plugin.toml", include_str!("new/rust/plugin.toml.in")),
    ("src/lib.rs", include_str!("new/rust/lib.rs.in")),
    ("examples/arrived.json", include_str!("new/rust/arrived.json.in")),
    ("README.md", include_str!("new/rust/README.md.in")),
    (".cargo/config.toml", include_str!("new/rust/cargo-config.toml.in")),
    (".gitignore", "/target\n"),
];

impl NewCommand {
    pub(in crate::cli) fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let name = PluginName::new(&self.name).map_err(|error| CliError::of(Exit::Usage, &error))?;
        let Language::Rust = self.lang;
        let folder = self.path.unwrap_or_else(|| PathBuf::from(name.as_str()));
        if folder.exists() {
            return Err(CliError::new(Exit::Usage, format!("`{}` exists already", folder.display())));
        }
        create(&folder, &name)?;
        let shown = folder.display();
        terminal.note(&format!(
            "made `{shown}`; once there is the target (`rustup target add wasm32-wasip2`), go on with:"
        ));
        for step in ["cargo test", "cargo build --release --target wasm32-wasip2"] {
            terminal.line(&format!("  cd {shown} && {step}"))?;
        }
        let component = format!("target/wasm32-wasip2/release/{}.wasm", crate_name(&name));
        terminal.line(&format!("  pilothouse plugin run {shown}/{component} --event {shown}/examples/arrived.json"))
    }
}

fn crate_name(name: &PluginName) -> String {
    name.as_str().replace('-', "_")
}

/// Writes the project.
fn create(folder: &Path, name: &PluginName) -> Result<(), CliError> {
    for (path, text) in TEMPLATE {
        let text = text.replace("{{name}}", name.as_str()).replace("{{crate}}", &crate_name(name));
        write(&folder.join(path), &text)?;
    }
    for (path, text) in sdk::FILES.iter().chain(files::FILES) {
        write(&folder.join("vendor").join(path), text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot write `{}`", path.display())).caused_by(&error))
}
