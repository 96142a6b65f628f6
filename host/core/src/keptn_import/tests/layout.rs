//! Which file belongs where.

use proptest::prelude::*;

use super::*;

#[test]
fn a_branch_per_stage_becomes_a_folder_per_stage() {
    let imported = imported(&[
        ("main", "metadata.yaml", "projectName: shop"),
        ("main", "limits.yaml", "project"),
        ("dev", "metadata.yaml", "stageName: dev"),
        ("dev", "limits.yaml", "project"),
        ("dev", "prometheus/rules.yaml", "of dev"),
        ("dev", "carts/metadata.yaml", "serviceName: carts"),
        ("dev", "carts/helm/carts/templates/metadata.yaml", "kept"),
        ("prod", "limits.yaml", "of prod"),
        ("prod", "carts/metadata.yaml", "serviceName: carts"),
        ("prod", "carts/limits.yaml", "of carts"),
    ]);
    assert_eq!(
        paths(&imported),
        [
            "limits.yaml",
            "services/carts/service.yaml",
            "shipyard.yaml",
            "stages/dev/prometheus/rules.yaml",
            "stages/dev/services/carts/helm/carts/templates/metadata.yaml",
            "stages/prod/limits.yaml",
            "stages/prod/services/carts/limits.yaml",
        ]
    );
    assert_eq!((imported.layout, imported.stages.clone()), (Layout::BranchPerStage, vec!["dev".into(), "prod".into()]));
    assert_eq!(imported.services, BTreeSet::from(["carts".to_owned()]));
    let dropped = note(&imported, "Keptn keeps for itself (4)");
    assert_eq!((dropped.path.as_str(), dropped.severity), ("main:metadata.yaml", NoteSeverity::Left));
    assert_eq!(note(&imported, "the same as the project's (3)").path, "dev:limits.yaml");
    assert_eq!(to_do(&imported), [""; 0]);
}

#[test]
fn stages_below_a_folder_become_folders_too() {
    let imported = import(&repository(&[
        ("main", "shipyard.yaml", SHIPYARD),
        ("main", "metadata.yaml", "isUsingDirectoryStructure: true"),
        ("main", "jmeter/load.jmx", "project"),
        ("main", ".keptn-stages/dev/metadata.yaml", ""),
        ("main", ".keptn-stages/dev/jmeter/load.jmx", "project"),
        ("main", ".keptn-stages/dev/carts/metadata.yaml", ""),
        ("main", ".keptn-stages/dev/carts/jmeter/load.jmx", "project"),
        ("main", ".keptn-stages/old/carts/metadata.yaml", ""),
        ("dev", "carts/limits.yaml", "from before the migration"),
        ("feature", "x", ""),
    ]))
    .unwrap();
    assert_eq!(imported.layout, Layout::StagesFolder);
    assert_eq!(
        paths(&imported),
        [
            "jmeter/load.jmx",
            "services/carts/service.yaml",
            "shipyard.yaml",
            "stages/dev/services/carts/jmeter/load.jmx"
        ]
    );
    assert_eq!(note(&imported, "the stages of this repository are in").path, "dev:");
    assert_eq!(note(&imported, "no stage of this name").path, "feature:");
    assert_eq!(note(&imported, "has no stage `old`").path, "main:.keptn-stages/old");
    assert_eq!(note(&imported, "the stage `prod` has no files").path, "main:.keptn-stages/prod/");
    let empty = [("main", "shipyard.yaml", SHIPYARD), ("main", "metadata.yaml", "isUsingDirectoryStructure: true")];
    assert_eq!(import(&repository(&empty)).unwrap().layout, Layout::StagesFolder);
}

#[test]
fn without_metadata_a_folder_of_a_stage_is_a_service_unless_an_integration_or_the_project_has_it() {
    let imported = imported(&[
        ("main", "docs/a.md", "a"),
        ("dev", "docs/b.md", "b"),
        ("dev", "jmeter/load.jmx", "j"),
        ("dev", "carts/limits.yaml", "s"),
        ("prod", "carts/limits.yaml", "s"),
    ]);
    assert_eq!(imported.services, BTreeSet::from(["carts".to_owned()]));
    assert!(imported.files.contains_key("stages/dev/docs/b.md"));
    assert!(imported.files.contains_key("stages/dev/jmeter/load.jmx"));
    assert!(imported.files.contains_key("stages/prod/services/carts/limits.yaml"));
    assert_eq!(note(&imported, "taken for a service").path, "dev:carts");
}

#[test]
fn a_project_without_services_has_its_files_and_those_of_its_stages() {
    let imported = imported(&[("dev", "limits.yaml", "s")]);
    assert_eq!(paths(&imported), ["shipyard.yaml", "stages/dev/limits.yaml"]);
    assert!(imported.services.is_empty());
}

#[test]
fn a_stage_whose_branch_is_missing_is_told_of() {
    let files = [("main", "shipyard.yaml", SHIPYARD), ("dev", "limits.yaml", "s")];
    let imported = import(&repository(&files)).unwrap();
    assert_eq!(imported.stages, ["dev", "prod"]);
    let note = note(&imported, "there is no such branch");
    assert_eq!((note.path.as_str(), note.severity), ("prod:", NoteSeverity::NotTranslated));
}

#[test]
fn a_stage_called_like_the_default_branch_is_told_of() {
    let mut repository = repository(&[("dev", "shipyard.yaml", SHIPYARD), ("prod", "a", "")]);
    repository.default_branch = "dev".to_owned();
    assert_eq!(note(&import(&repository).unwrap(), "called like the default branch").path, "dev:");
}

#[test]
fn odd_names_are_left_out_or_moved_and_told_of() {
    let long = "x".repeat(600);
    let imported = imported(&[
        ("main", "services/a/x.yaml", "s"),
        ("main", "stages/readme.md", "kept: no stage's file"),
        ("main", "a:b", "colon"),
        ("main", &long, "long"),
        ("dev", "Carts/metadata.yaml", ""),
        ("dev", "Carts/limits.yaml", "s"),
        ("dev", "shipyard.yaml", "another"),
        ("dev", "services/metadata.yaml", ""),
        ("dev", "services/b/limits.yaml", "of a service that is called so"),
    ]);
    assert_eq!(
        paths(&imported),
        [
            "services/services/service.yaml",
            "shipyard.yaml",
            "stages/dev/Carts/limits.yaml",
            "stages/dev/services/services/b/limits.yaml",
            "stages/readme.md",
        ]
    );
    assert_eq!(note(&imported, "put the file into another folder").path, "main:services/a/x.yaml");
    assert_eq!(note(&imported, "colons").path, "main:a:b");
    assert_eq!(note(&imported, "over 512 bytes").severity, NoteSeverity::NotTranslated);
    assert_eq!(note(&imported, "`Carts` is not a valid service name").path, "dev:Carts");
    assert_eq!(note(&imported, "differs from the project's shipyard").path, "dev:shipyard.yaml");
}

#[test]
fn bytes_that_are_no_text_are_copied() {
    let mut repository = repository(&[("main", "shipyard.yaml", SHIPYARD), ("dev", "a", ""), ("prod", "a", "")]);
    let chart = vec![0x1f, 0x8b, 0xff, 0x00];
    repository.branches.get_mut("dev").unwrap().insert("carts/helm/carts.tgz".to_owned(), chart.clone());
    assert_eq!(import(&repository).unwrap().files["stages/dev/services/carts/helm/carts.tgz"], chart);
}

#[test]
fn a_repository_without_a_usable_shipyard_is_refused_with_the_reason() {
    let refused = |shipyard: &str| import(&repository(&[("main", "shipyard.yaml", shipyard)])).unwrap_err();
    assert_eq!(import(&repository(&[("main", "a", "")])), Err(ImportError::NoShipyard { branch: "main".to_owned() }));
    assert_eq!(import(&repository(&[("dev", "a", "")])), Err(ImportError::NoBranch { branch: "main".to_owned() }));
    for (old, says) in [
        ("apiVersion: spec.keptn.sh/0.1.7\nkind: Shipyard\n", "`0.1.7`"),
        ("stages:\n- name: dev\n  deployment_strategy: direct\n", "has no `apiVersion`"),
    ] {
        let error = refused(old);
        assert!(matches!(&error, ImportError::ShipyardTooOld { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = refused(&SHIPYARD.replace("name: delivery", "name: Delivery"));
    assert!(error.to_string().starts_with("`main:shipyard.yaml` cannot be used: 9:"), "{error}");
    // What Keptn overlooked is refused too, because a project would refuse the file.
    assert!(refused(&SHIPYARD.replace("tasks:", "tusks:")).to_string().contains("has no field `tusks`"));
    assert!(refused("{").to_string().contains("not valid YAML"));
}

#[test]
fn a_shipyard_whose_sequences_fire_each_other_for_ever_is_refused() {
    let circle = SHIPYARD.replacen(
        "    - name: delivery\n",
        "    - name: delivery\n      triggeredOn: [{event: prod.delivery.finished}]\n",
        1,
    );
    let error = import(&repository(&[("main", "shipyard.yaml", &circle)])).unwrap_err();
    assert!(error.to_string().contains("for ever"), "{error}");
}

#[test]
fn a_repository_that_is_too_large_is_refused() {
    let repository = repository(&[("main", "shipyard.yaml", SHIPYARD), ("dev", "a", "12345")]);
    let too_large = |files, bytes| matches!(bounded(&repository, files, bytes), Err(ImportError::TooLarge { .. }));
    assert!(too_large(1, usize::MAX));
    assert!(too_large(2, SHIPYARD.len()));
    assert!(!too_large(2, SHIPYARD.len() + 5));
}

#[test]
fn names_are_made_of_any_text() {
    for (text, name) in
        [("Run k6 (tests)!", "run-k6-tests"), ("7zip", "n7zip"), ("--", "unnamed"), ("é", "unnamed"), ("a", "a")]
    {
        assert_eq!(slug(text), name);
    }
    let mut names = Names::default();
    let given: Vec<(String, bool)> =
        ["x", "y", "x", "z"].into_iter().map(|meaning| names.claim("a", meaning)).collect();
    let expected = [("a", true), ("a-2", true), ("a", false), ("a-3", true)];
    assert_eq!(given, expected.map(|(name, new)| (name.to_owned(), new)));
}

proptest! {
    #[test]
    fn whatever_is_in_a_repository_no_file_lies_outside_and_none_is_lost_in_silence(
        files in prop::collection::btree_map(
            ("main|dev|prod|other", "(\\.keptn-stages/(dev|x)/)?((services|stages|job|webhook|a|B)/){0,3}(config.yaml|webhook.yaml|metadata.yaml|x|\\.\\.|a:b)"),
            "[ -~\n]{0,40}",
            0..20,
        ),
        name in "[\\PC]{0,80}",
    ) {
        let mut repository = repository(&[("main", "shipyard.yaml", SHIPYARD)]);
        for ((branch, path), content) in &files {
            repository.branches.entry(branch.clone()).or_default().insert(path.clone(), content.clone().into_bytes());
        }
        let imported = import(&repository).unwrap();
        for path in imported.files.keys() {
            prop_assert!(FilePath::new(path).is_ok(), "{path}");
            prop_assert_eq!(Folder::of_path(path).0.stage.is_some(), path.starts_with("stages/") && path.matches('/').count() > 1 && Folder::of_path(path).1 != path);
        }
        let unexplained = files.len() > imported.files.len() + 1 && imported.notes.is_empty();
        prop_assert!(!unexplained);
        prop_assert!(crate::name::ServiceName::new(&slug(&name)).is_ok(), "{}", slug(&name));
    }
}

#[test]
fn a_file_that_a_project_would_refuse_is_left_out_with_what_is_wrong_with_it() {
    let slo =
        "spec_version: '1.0'\nobjectives: [{sli: latency, pass: [{criteria: ['600']}]}]\ntotal_score: {pass: '90%'}\n";
    let imported =
        imported(&[("dev", "carts/slo.yaml", slo), ("dev", "carts/prometheus/sli.yaml", "indicators: {a: b}\n")]);
    let told = note(&imported, "`600` is not a criterion");
    assert_eq!(told.path, "stages/dev/services/carts/slo.yaml");
    assert!(told.message.contains("2:") && told.severity == NoteSeverity::NotTranslated, "{told:?}");
    note(&imported, "needs `spec_version`");
    assert!(!paths(&imported).iter().any(|path| path.ends_with("slo.yaml") || path.ends_with("sli.yaml")));
}
