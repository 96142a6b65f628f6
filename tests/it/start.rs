//! Starting and stopping the program: what is in the way is named, with an exit code of its own, and nothing is lost.

use crate::program::{Program, command, run};

#[test]
fn a_port_in_use_is_named_and_nothing_else_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(folder.path(), &["serve"], &[("PILOTHOUSE_LISTEN", &address)]);
    assert_eq!(code, 8, "{err}");
    assert!(err.contains(&address), "{err}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_data_folder_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Program::start(folder.path(), &[]);
    let (code, _, err) = run(folder.path(), &["serve"], &[]);
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("data"), "{err}");
    assert!(host.stop().success());
}

#[test]
fn a_truncated_database_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Program::start(folder.path(), &[]);
    assert!(host.stop().success());
    let database = folder.path().join("data/pilothouse.db");
    let bytes = std::fs::read(&database).unwrap();
    let cut = &bytes[..bytes.len() / 2 + 100];
    std::fs::write(&database, cut).unwrap();
    let (code, _, err) = run(folder.path(), &["serve"], &[]);
    assert_eq!(code, 7, "{err}");
    assert_eq!(std::fs::read(&database).unwrap().len(), cut.len(), "the file was not changed");
}

#[test]
fn unknown_configuration_keys_are_all_named_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pilothouse.toml");
    std::fs::write(&file, "listn = \"127.0.0.1:0\"\ndrain-timeot = \"5s\"\n").unwrap();
    let (code, out, err) = run(folder.path(), &["serve", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(code, 3, "{out}{err}");
    for meant in ["listen", "drain-timeout"] {
        assert!(err.contains(meant), "{err}");
    }
}

/// systemd names its journal by the device and the inode that a service's output goes to.
#[test]
fn the_first_admin_token_is_not_written_to_a_journal_but_to_a_file_for_its_owner() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    let journal = std::fs::File::create(folder.path().join("journal")).unwrap();
    let known = journal.metadata().unwrap();
    let mut host = command(folder.path(), &["serve"])
        .env("JOURNAL_STREAM", format!("{}:{}", known.dev(), known.ino()))
        .stdout(journal.try_clone().unwrap())
        .stderr(journal)
        .spawn()
        .unwrap();
    let (begun, file) = (std::time::Instant::now(), folder.path().join("data/admin-token"));
    let said = loop {
        let said = std::fs::read_to_string(folder.path().join("journal")).unwrap();
        if said.contains("admin token") || begun.elapsed() > pilothouse_tests::PATIENCE {
            break said;
        }
        std::thread::yield_now();
    };
    host.kill().unwrap();
    host.wait().unwrap();
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(said.contains("data/admin-token") && !said.contains(token.trim()), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
