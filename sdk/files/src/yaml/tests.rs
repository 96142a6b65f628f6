//! What the YAML layer accepts, refuses, and where it says a problem is.

use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn scalars_follow_the_core_schema_and_quotes_make_texts() {
    let node = parse(b"a: 1\nb: 1.5\nc: true\nd: ~\ne: 'true'\nf: yes\ng: -0x1\nh: \"1\"\ni: +3\nj: .inf\n").unwrap();
    let expected = serde_json::json!({
        "a": 1, "b": 1.5, "c": true, "d": null, "e": "true", "f": "yes", "g": "-0x1", "h": "1", "i": 3, "j": ".inf"
    });
    assert_eq!(node.to_json(), expected);
}

#[test]
fn a_problem_names_line_and_column() {
    assert!(
        refused("a: 1\nb: [1, 2\n").starts_with("2:4: this is not valid YAML: unclosed"),
        "{}",
        refused("a: 1\nb: [1, 2\n")
    );
    assert_eq!(refused("a: 1\na: 2\n"), "2:1: `a` stands twice in this mapping");
    assert_eq!(refused("a: 1\n---\nb: 2\n"), "2:1: a second document begins here; one file holds one document");
    assert_eq!(refused("? [a]\n: 1\n"), "1:3: a key must be a text");
    assert_eq!(refused("# nothing\n"), "1:1: the file is empty");
    assert_eq!(parse(b"a: 1\nb: \xff\n").unwrap_err().at, Position { line: 2, column: 4 });
}

#[test]
fn bombs_are_refused_before_they_explode() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(refused(&laughs).contains("more than 100000 values, copies by alias included"), "{}", refused(&laughs));
    assert!(refused(&"- ".repeat(80)).contains("nested more than 64 deep"), "{}", refused(&"- ".repeat(80)));
    assert!(refused(&" ".repeat(FILE_BYTES_MAX + 1)).contains("at most 1048576 are read"));
    assert!(refused("a: &a [*a]\n").contains("not complete yet"));
}

#[test]
fn an_alias_is_a_copy() {
    let node = parse(b"a: &x {b: 1}\nc: *x\n").unwrap();
    assert_eq!(node.to_json(), serde_json::json!({ "a": { "b": 1 }, "c": { "b": 1 } }));
}

#[test]
fn unknown_fields_are_found_with_what_was_meant() {
    let node = parse(b"name: x\ntriggerdOn: 1\nzzz: 2\n").unwrap();
    let mut problems = Vec::new();
    let mut fields = fields::Fields::of(&node, "the sequence", &mut problems).unwrap();
    fields.required_text("name");
    fields.get("triggeredOn");
    fields.required("tasks");
    fields.finish();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "1:1: the sequence needs `tasks`",
            "2:1: the sequence has no field `triggerdOn`; did you mean `triggeredOn`?",
            "3:1: the sequence has no field `zzz`; it may have `name`, `triggeredOn`, `tasks`",
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_text_of_yaml_characters_is_read_or_refused(text in "[a-c0-9:\\-\\[\\]{},&*!|>'\"#\n ~?%@.]{0,200}") {
        if let Ok(node) = parse(text.as_bytes()) {
            let _ = node.to_json();
        }
    }
}
