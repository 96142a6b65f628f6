//! What a plugin's author types first: `plugin new`, and the commands that it says to go on with, outside of the repository.

use std::path::Path;
use std::process::{Command, Stdio};

use pilothouse_tests::{PATIENCE, root};
use serde_json::Value;

use crate::program::{self, Program, client, run};

/// Runs a line as a person would type it, with the program under its own name on `PATH`.
fn typed(folder: &Path, line: &str) -> String {
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        // What the project needs was downloaded for the workspace; asking the registry again proves nothing.
        .env("CARGO_NET_OFFLINE", "true")
        // Cargo sets these for this test, and they would change what the new project's build does.
        .env_remove("CARGO")
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{line}` failed:\n{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plugin_builds_passes_its_test_and_handles_an_event_with_the_commands_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    std::fs::create_dir(data.join("bin")).unwrap();
    std::os::unix::fs::symlink(program::path(), data.join("bin/pilothouse")).unwrap();
    let said = typed(data, "pilothouse plugin new greeter --lang rust");
    // What is built is kept with everything else that is built here, so that the next run is quick.
    let built = root().join("target/new-plugin");
    std::fs::create_dir_all(&built).unwrap();
    std::os::unix::fs::symlink(&built, data.join("greeter/target")).unwrap();

    let steps: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(steps.len(), 3, "{said}");
    let tested = typed(data, steps[0]);
    assert!(tested.contains("test tests::whoever_arrives_is_greeted_by_name ... ok"), "{tested}");
    typed(data, steps[1]);
    let ran = typed(data, steps[2]);
    assert!(ran.contains("com.example.greeted.v1") && ran.contains("Hello, "), "{ran}");

    let host = Program::start(data, &[]);
    let token = host.token.clone().unwrap();
    let environment = [("PILOTHOUSE_URL", host.url.as_str()), ("PILOTHOUSE_TOKEN", token.as_str())];
    let component = data.join("greeter/target/wasm32-wasip2/release/greeter.wasm");
    for arguments in [
        vec!["plugin", "install", component.to_str().unwrap(), "--yes"],
        vec!["event", "send", "greeter/examples/arrived.json"],
    ] {
        let (code, out, err) = run(data, &arguments, &environment);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    }
    let greeted = tokio::time::timeout(PATIENCE, async {
        loop {
            let url = format!("{}/v1/events?type=com.example.greeted.v1&data=true", host.url);
            let answer = client().get(url).bearer_auth(&token).send().await.unwrap();
            let page: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            if let Some(item) = page["items"].as_array().unwrap().first() {
                return item["event"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let greeted = greeted.await.unwrap();
    assert!(greeted["data"]["text"].as_str().unwrap().starts_with("Hello, "), "{greeted}");
    assert_eq!(greeted["source"], "/plugins/greeter");
}
