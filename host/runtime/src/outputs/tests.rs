//! What an installation can and cannot do in a granted directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;

struct Granted {
    folder: tempfile::TempDir,
}

impl Granted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("granted")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        Self { folder }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn of(&self, owner: &str) -> OutputDirectory {
        let owner = InstallationName::new(owner).unwrap();
        OutputDirectory::new(&self.path("granted"), &self.path("state"), owner).unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, OutputError>) {
    assert!(matches!(result, Err(OutputError::Invalid(_))), "{result:?}");
}

#[test]
fn a_file_is_written_read_listed_and_removed() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    assert_eq!(outputs.write("rules/carts.yml", b"one"), Ok(Written::Changed));
    assert_eq!(outputs.write("rules/carts.yml", b"two"), Ok(Written::Changed));
    assert_eq!(outputs.write("targets.json", b"[]"), Ok(Written::Changed));
    assert_eq!(outputs.read("rules/carts.yml").unwrap(), b"two");
    assert_eq!(outputs.entries().unwrap(), ["rules/carts.yml", "targets.json"]);
    assert_eq!(outputs.remove("rules/carts.yml"), Ok(()));
    assert_eq!(outputs.remove("rules/carts.yml"), Err(OutputError::NotFound));
    assert_eq!(outputs.read("rules/carts.yml"), Err(OutputError::NotFound));
    assert_eq!(outputs.entries().unwrap(), ["targets.json"]);
    assert_eq!(names(&granted.path("granted")), ["targets.json"], "the folder made for the file goes with it");
}

#[test]
fn the_same_content_again_touches_nothing() {
    use std::os::unix::fs::MetadataExt;
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    outputs.write("a.yml", b"one").unwrap();
    let before = fs::metadata(granted.path("granted/a.yml")).unwrap();
    assert_eq!(outputs.write("a.yml", b"one"), Ok(Written::Unchanged));
    let after = fs::metadata(granted.path("granted/a.yml")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
}

#[test]
fn a_path_that_is_not_plain_is_refused_by_every_function() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    let absolute = granted.path("outside/secret");
    for path in
        ["", ".", "..", "../outside/secret", "a/../../outside/secret", absolute.to_str().unwrap(), ".hidden", "a\0b"]
    {
        refused(outputs.write(path, b"x"));
        refused(outputs.read(path));
        refused(outputs.remove(path));
    }
    assert_eq!(fs::read(absolute).unwrap(), b"secret");
    assert!(names(&granted.path("granted")).is_empty());
}

#[test]
fn a_symbolic_link_in_any_component_is_not_followed() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    symlink(granted.path("outside"), granted.path("granted/folder")).unwrap();
    symlink(granted.path("outside/secret"), granted.path("granted/file")).unwrap();
    symlink(granted.path("outside/new"), granted.path("granted/dangling")).unwrap();
    for path in ["folder/secret", "folder/new", "file", "dangling"] {
        refused(outputs.write(path, b"x"));
        refused(outputs.read(path));
        refused(outputs.remove(path));
    }
    assert_eq!(fs::read(granted.path("outside/secret")).unwrap(), b"secret");
    assert_eq!(names(&granted.path("outside")), ["secret"]);
}

/// The folder was ours; then someone puts a link in its place.
#[test]
fn a_folder_that_becomes_a_link_is_not_followed() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    outputs.write("rules/secret", b"secret").unwrap();
    fs::remove_dir_all(granted.path("granted/rules")).unwrap();
    symlink(granted.path("outside"), granted.path("granted/rules")).unwrap();
    refused(outputs.write("rules/secret", b"x"));
    refused(outputs.read("rules/secret"));
    refused(outputs.remove("rules/secret"));
    assert_eq!(outputs.entries().unwrap(), Vec::<String>::new());
    assert_eq!(fs::read(granted.path("outside/secret")).unwrap(), b"secret");
}

#[test]
fn only_a_regular_file_counts_as_a_file() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    fs::create_dir(granted.path("granted/folder")).unwrap();
    nix::unistd::mkfifo(&granted.path("granted/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(granted.path("granted/socket")).unwrap();
    fs::write(granted.path("granted/plain"), "foreign").unwrap();
    for path in ["folder", "pipe", "socket", "plain/below"] {
        refused(outputs.write(path, b"x"));
        refused(outputs.read(path));
        refused(outputs.remove(path));
    }
}

#[test]
fn a_foreign_file_is_neither_read_nor_replaced_nor_removed() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    fs::write(granted.path("granted/hand-made.yml"), "foreign").unwrap();
    refused(outputs.write("hand-made.yml", b"x"));
    refused(outputs.write("hand-made.yml", b"foreign"));
    refused(outputs.read("hand-made.yml"));
    refused(outputs.remove("hand-made.yml"));
    assert_eq!(fs::read(granted.path("granted/hand-made.yml")).unwrap(), b"foreign");
    assert_eq!(outputs.entries().unwrap(), Vec::<String>::new());
}

#[test]
fn an_own_file_that_someone_changed_is_left_alone() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    outputs.write("a.yml", b"ours").unwrap();
    fs::write(granted.path("granted/a.yml"), "edited").unwrap();
    assert!(matches!(outputs.write("a.yml", b"new"), Err(OutputError::Changed(_))));
    assert!(matches!(outputs.read("a.yml"), Err(OutputError::Changed(_))));
    assert!(matches!(outputs.remove("a.yml"), Err(OutputError::Changed(_) | OutputError::Invalid(_))));
    assert_eq!(fs::read(granted.path("granted/a.yml")).unwrap(), b"edited");
    fs::remove_file(granted.path("granted/a.yml")).unwrap();
    assert_eq!(outputs.write("a.yml", b"new"), Ok(Written::Changed), "moved away, it can be written again");
}

#[test]
fn an_own_file_that_someone_changed_can_be_taken_over_and_a_foreign_one_cannot() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    outputs.write("a.yml", b"ours").unwrap();
    fs::write(granted.path("granted/a.yml"), "edited").unwrap();
    refused(granted.of("slack").take_over("a.yml"));
    assert_eq!(outputs.take_over("a.yml").unwrap(), b"edited");
    assert_eq!(outputs.read("a.yml").unwrap(), b"edited");
    assert_eq!(outputs.write("a.yml", b"ours"), Ok(Written::Changed));
    fs::write(granted.path("granted/foreign.yml"), "foreign").unwrap();
    refused(outputs.take_over("foreign.yml"));
    assert_eq!(outputs.take_over("none.yml"), Err(OutputError::NotFound));
}

/// What the last step sees if the file appears or changes after every check.
#[test]
fn a_foreign_file_that_appears_in_the_last_moment_stays() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    let path = PlainPath::parse("a.yml").unwrap();
    let folder = open_root(&granted.path("granted")).unwrap();
    let content = |text: &[u8]| Some(Content { digest: digest(text), size: text.len() as u64 });
    let entry = LedgerFile { owner: outputs.owner.clone(), written: content(b"old"), pending: content(b"new") };
    fs::write(granted.path("granted/a.yml"), "foreign").unwrap();
    for replaces in [false, true] {
        refused(outputs.publish(&folder, &path, b"new", &entry, replaces));
        assert_eq!(fs::read(granted.path("granted/a.yml")).unwrap(), b"foreign");
        assert_eq!(names(&granted.path("granted")), ["a.yml"]);
    }
    refused(outputs.unlink(&folder, &path, &entry));
    assert_eq!(fs::read(granted.path("granted/a.yml")).unwrap(), b"foreign");
}

#[test]
fn another_installations_file_is_foreign() {
    let granted = Granted::new();
    let (blue, green) = (granted.of("blue"), granted.of("green"));
    blue.write("a.yml", b"blue").unwrap();
    refused(green.write("a.yml", b"green"));
    refused(green.read("a.yml"));
    refused(green.remove("a.yml"));
    assert_eq!(green.entries().unwrap(), Vec::<String>::new());
    assert_eq!(blue.read("a.yml").unwrap(), b"blue");
}

/// The host died between the intent and the end of the write: both contents count as ours.
#[test]
fn a_write_that_a_crash_cut_short_can_be_repeated() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    outputs.write("a.yml", b"old").unwrap();
    for on_disk in [b"old", b"new"] {
        let mut locked = outputs.lock().unwrap();
        let entry = locked.ledger.files.get_mut("a.yml").unwrap();
        entry.written = Some(Content { digest: digest(b"old"), size: 3 });
        entry.pending = Some(Content { digest: digest(b"new"), size: 3 });
        locked.save().unwrap();
        drop(locked);
        fs::write(granted.path("granted/a.yml"), on_disk).unwrap();
        fs::write(granted.path("granted").join(outputs.temporary(&PlainPath::parse("a.yml").unwrap())), "half")
            .unwrap();
        assert_eq!(outputs.write("a.yml", b"new"), Ok(Written::Changed));
        assert_eq!(outputs.read("a.yml").unwrap(), b"new");
        assert_eq!(names(&granted.path("granted")), ["a.yml"]);
    }
}

#[test]
fn a_file_over_a_limit_is_refused_and_the_old_one_stays() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    let largest = vec![b'x'; usize::try_from(FILE_SIZE_BYTES_MAX).unwrap()];
    outputs.write("a", b"old").unwrap();
    let too_large = outputs.write("a", &[largest.as_slice(), b"x"].concat());
    assert!(matches!(too_large, Err(OutputError::QuotaExceeded(_))), "{too_large:?}");
    assert_eq!(outputs.read("a").unwrap(), b"old");

    for index in 0..TOTAL_SIZE_BYTES_MAX / FILE_SIZE_BYTES_MAX - 1 {
        outputs.write(&format!("large-{index}"), &largest).unwrap();
    }
    let too_much = outputs.write("one-more", &largest);
    assert!(matches!(too_much, Err(OutputError::QuotaExceeded(_))), "{too_much:?}");
    assert_eq!(granted.of("other").write("one-more", &largest), Ok(Written::Changed), "limits are per installation");
}

#[test]
fn the_number_of_files_is_limited() {
    let granted = Granted::new();
    let outputs = granted.of("prometheus");
    outputs.write("a", b"").unwrap();
    let mut locked = outputs.lock().unwrap();
    let entry = locked.ledger.files.get("a").unwrap().clone();
    for index in 1..FILE_COUNT_MAX {
        locked.ledger.files.insert(format!("file-{index}"), entry.clone());
    }
    locked.save().unwrap();
    drop(locked);
    let refused = outputs.write("one-more", b"");
    assert!(matches!(refused, Err(OutputError::QuotaExceeded(_))), "{refused:?}");
    assert_eq!(outputs.write("a", b"replaced"), Ok(Written::Changed), "replacing needs no new place");
}

#[test]
fn concurrent_writers_leave_one_whole_content_and_a_sound_ledger() {
    let granted = Granted::new();
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let outputs = granted.of("prometheus");
            scope.spawn(move || {
                for round in 0..5_u8 {
                    outputs.write("shared", &[b'a' + writer; 10_000]).unwrap();
                    outputs.write(&format!("own-{writer}"), &[round]).unwrap();
                }
            });
        }
    });
    let outputs = granted.of("prometheus");
    let shared = outputs.read("shared").unwrap();
    assert!(shared.len() == 10_000 && shared.iter().all(|byte| *byte == shared[0]));
    assert_eq!(outputs.entries().unwrap(), ["own-0", "own-1", "own-2", "own-3", "shared"]);
}

#[test]
fn a_directory_that_does_not_exist_is_named_and_not_made() {
    let granted = Granted::new();
    let owner = InstallationName::new("prometheus").unwrap();
    let error = OutputDirectory::new(&granted.path("nowhere"), &granted.path("state"), owner).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(!granted.path("nowhere").exists());
}

#[test]
fn a_denial_names_the_line_to_add() {
    let error = OutputError::not_granted(&OutputName::new("rules").unwrap(), &InstallationName::new("prom").unwrap());
    assert_eq!(error.to_string(), "add outputs.rules = \"<operator's directory>\" to the grants of `prom`");
}
