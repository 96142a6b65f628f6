//! The tutorial, `docs/tutorial.md`: every block of it, in order, in one shell, as a reader types it.

use std::process::{Command, Stdio};

use pilothouse_tests::{PATIENCE, root};

use crate::program;

/// The shell blocks of the page.
fn blocks() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let parts = text.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap().to_owned());
    parts.collect()
}

#[test]
fn every_block_of_the_tutorial_works_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let bin = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(program::path(), bin.path().join("pilothouse")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A block of one line may have to wait for what the line before it began; a reader takes longer to read.
    let seconds = PATIENCE.as_secs();
    let mut script = "set -eu\ntrap 'kill %1' EXIT\n".to_owned();
    for block in blocks() {
        if block.trim().lines().count() == 1 && !block.contains("trigger") {
            let line = block.trim();
            script.push_str(&format!(
                "for try in $(seq {seconds}); do if {line} 2> err; then break; fi; sleep 1; done\n"
            ));
            script.push_str(&format!("[ $try != {seconds} ] || {{ cat err; exit 1; }}\n"));
        } else {
            script.push_str(&block);
        }
    }
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let file = bin.path().join("tutorial.sh");
    std::fs::write(&file, script).unwrap();
    let output = Command::new("bash")
        .arg(&file)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder.path())
        .env("PILOTHOUSE_LISTEN", port.to_string())
        .env("PILOTHOUSE_URL", format!("http://{port}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(folder.path().join("host.log")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{out}\n{err}\n{log}", output.status);
    let site = |file: &str| std::fs::read_to_string(folder.path().join("site").join(file)).unwrap();
    assert_eq!((site("production/version").trim(), site("staging/version").trim()), ("web:1.0", "web:1.0"));
    for part in ["How to deploy, check and go back", "looks good", "check fail", "staging.delivery", "exit code 1"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(out.contains("staging.rollback of web pass"), "{out}");
    assert!(err.contains("did you mean `failure`"), "{err}");
}
