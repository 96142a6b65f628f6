//! `pilothouse secret …`: texts that connections and upstreams sign in with; written and never read back.

use std::path::PathBuf;

use clap::Subcommand;

use super::api::{Api, encode};
use super::project::{confirm, read_text};
use super::{CliError, Exit, Global, Terminal};
use crate::http::secrets::SecretBody;

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Store a secret, or replace it. Its text is read from standard input or a file, never from an argument.
    Set {
        /// The secret's name.
        name: String,
        /// Read the text from this file instead of standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the secrets, without their texts.
    List,
    /// Remove a secret. What uses it fails from now on.
    Delete {
        /// The secret's name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl SecretCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::Set { name, file } => {
                let text = match file {
                    Some(file) => read_text(&file)?,
                    None => {
                        if terminal.interactive {
                            terminal.note("type the secret, then press Ctrl-D on a line of its own:");
                        }
                        let bytes = terminal.read_input()?;
                        String::from_utf8(bytes)
                            .map_err(|_| CliError::new(Exit::Usage, "standard input is not UTF-8 text"))?
                    }
                };
                // What a shell's `echo` appends is no part of a token; a private key needs its last line's end.
                let text = if text.trim_end().contains('\n') { text } else { text.trim_end().to_owned() };
                api.put(&path(&name), &SecretBody { text }).await?;
                terminal.note(&format!("stored `{name}`"));
                Ok(())
            }
            Self::List => {
                let answer = api.get("/v1/secrets", &[]).await?;
                terminal.rows(&answer, &[("NAME", "/name"), ("UPDATED", "/updated"), ("ACTOR", "/actor")])
            }
            Self::Delete { name, yes } => {
                confirm(terminal, yes, &format!("Delete the secret `{name}`?"))?;
                api.delete(&path(&name), &[]).await?;
                terminal.note(&format!("`{name}` is gone"));
                Ok(())
            }
        }
    }
}

fn path(name: &str) -> String {
    format!("/v1/secrets/{}", encode(name))
}
