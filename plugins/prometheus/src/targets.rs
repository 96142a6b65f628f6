//! Makes the file with a stage's scrape targets, in the format of Prometheus' `file_sd_configs`.
//!
//! Never here: whether Prometheus reads it (`configure`).

use std::collections::BTreeMap;

use serde_json::json;

use pilothouse_sdk::files::place::Place;

/// Tells whether `target` is `host:port`. Prometheus drops a whole file for one bad target and says so only in its log.
pub fn is_target(target: &str) -> bool {
    let Some((host, port)) = target.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_plain = match bracketed {
        Some(address) => !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.'),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    host_is_plain && port.parse::<u16>().is_ok_and(|port| port > 0) && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The label that names the commit a file was generated from. Prometheus drops labels that begin so before it stores samples.
pub const COMMIT_LABEL: &str = "__meta_pilothouse_commit";

/// Writes the file of one stage, with more labels than its own. Its job is the label that the default queries select.
pub fn file(place: &Place, targets: &[String], more_labels: &BTreeMap<String, String>, commit: Option<&str>) -> String {
    let own = [
        ("job", place.job()),
        ("project", place.project.clone()),
        ("stage", place.stage.clone()),
        ("service", place.service.clone()),
    ];
    let mut labels = more_labels.clone();
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    labels.extend(commit.map(|commit| (COMMIT_LABEL.to_owned(), commit.to_owned())));
    format!("{:#}\n", json!([{ "targets": targets, "labels": labels }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_host_and_port() {
        for good in ["cart.shop-dev:80", "127.0.0.1:8080", "[::1]:9", "a_b:65535"] {
            assert!(is_target(good), "{good}");
        }
        for bad in [
            "cart",
            "cart:",
            ":80",
            "http://cart:80",
            "cart:80/metrics",
            "cart:0",
            "cart:70000",
            "a b:80",
            "cart:+8",
            "[]:80",
            "::1:80",
            "",
        ] {
            assert!(!is_target(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_labels_its_targets_with_job_and_place() {
        let place = Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() };
        let file: serde_json::Value =
            serde_json::from_str(&file(&place, &["a:1".to_owned(), "b:2".to_owned()], &BTreeMap::new(), None)).unwrap();
        assert_eq!(
            file,
            json!([{
                "targets": ["a:1", "b:2"],
                "labels": { "job": "cart-shop-dev", "project": "shop", "stage": "dev", "service": "cart" },
            }])
        );
    }
}
