//! The embedded SDK is whole, and the new project is what the README of it says.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "wit") {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_file_of_the_sdk_and_of_the_wit_is_embedded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut expected = BTreeSet::from(["sdk/rust/Cargo.toml".to_owned(), "sdk/files/Cargo.toml".to_owned()]);
    walk(&root.join("sdk/files/src"), &root, &mut expected);
    expected.retain(|path| !path.ends_with("/tests.rs"));
    walk(&root.join("sdk/rust/src"), &root, &mut expected);
    walk(&root.join("wit"), &root, &mut expected);
    let embedded: BTreeSet<String> = sdk::FILES
        .iter()
        .chain(files::FILES)
        .map(|(path, _)| (*path).to_owned())
        .filter(|path| !path.ends_with(".md"))
        .collect();
    assert_eq!(embedded, expected);
}

#[test]
fn a_new_plugin_has_its_name_everywhere_and_a_valid_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load-test");
    create(&path, &PluginName::new("load-test").unwrap()).unwrap();
    let manifest = std::fs::read_to_string(path.join("plugin.toml")).unwrap();
    let manifest = pilothouse_core::manifest::Manifest::parse(&manifest).unwrap();
    assert_eq!(manifest.name.as_str(), "load-test");
    for (file, _) in TEMPLATE {
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        assert!(!text.contains("{{"), "{file}");
    }
    assert!(std::fs::read_to_string(path.join("README.md")).unwrap().contains("release/load_test.wasm"));
    assert!(path.join("vendor/wit/worlds.wit").is_file());
}
