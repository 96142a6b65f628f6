//! The help is published and kept the same; errors say what to do.

use clap::CommandFactory as _;

use super::*;

/// Run with `PILOTHOUSE_UPDATE=1` to write the file anew.
#[test]
fn the_published_help_is_the_one_of_the_program() {
    let mut text = String::new();
    write_help(Cli::command().term_width(100), "pilothouse", &mut text);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.txt");
    crate::testing::same_as_file(&path, &text);
}

fn write_help(mut command: clap::Command, path: &str, text: &mut String) {
    let help = command.clone().disable_help_subcommand(true).bin_name(path).render_long_help().to_string();
    let trimmed: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("==== {path}\n{}\n\n", trimmed.join("\n")));
    command.build();
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|it| !it.is_hide_set() && it.get_name() != "help")
        .map(|it| it.get_name().to_owned())
        .collect();
    for name in names {
        if let Some(subcommand) = command.find_subcommand(&name) {
            write_help(subcommand.clone().term_width(100), &format!("{path} {name}"), text);
        }
    }
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn an_error_is_printed_with_its_causes_and_what_to_do() {
    let cause = std::io::Error::other("permission denied");
    let error = CliError::new(Exit::Failed, "cannot read `x`").caused_by(&cause).hint("look at its owner");
    assert_eq!(error.to_string(), "error: cannot read `x`\n  caused by: permission denied\n  hint: look at its owner");
}

#[tokio::test]
async fn a_host_that_does_not_run_is_reported_with_a_hint() {
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let cli = Cli::parse_from(["pilothouse", "--url", &url, "event", "list"]);
    let mut terminal = Terminal::new(std::io::sink(), std::io::sink(), std::io::empty(), false, Format::Table);
    let error = run(cli, &mut terminal).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains("is the host running?"), "{error}");
}

#[test]
fn control_characters_from_events_do_not_reach_the_terminal() {
    assert_eq!(terminal::printable("a\u{1b}[31mb\u{7}\nc"), "a\\u{1b}[31mb\\u{7}\nc");
}
