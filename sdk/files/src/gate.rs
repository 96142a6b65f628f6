//! The gate file: who measures a project's indicators, and what a service without an SLO file comes to.

use crate::member::{is_not, meant, read as read_file, shown, spec_version};
use crate::result::TaskResult;
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem};

/// Where the file lies, in any folder of a project.
pub const GATE_FILE: &str = "quality-gate.yaml";

/// What a project says about its evaluations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Who measures: the value of `sliProvider` in the task `get-sli`.
    pub sli_provider: Option<String>,
    /// The result for a service without an SLO file: `warning`, or `pass` as in Keptn.
    pub without_slo: Option<TaskResult>,
}

/// Reads a gate file. The first part is `None` if there is an error that stops a run.
pub fn read(bytes: &[u8]) -> (Option<Gate>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_run, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Gate> {
    let mut fields = Fields::of(node, "the gate file", problems)?;
    spec_version(&mut fields, node.at, "1.0");
    let sli_provider = fields.text("sliProvider").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let without = fields.get("withoutSlo");
    let word = fields.text("withoutSlo");
    let without_slo = match word.as_deref() {
        None => None,
        Some("warning") => Some(TaskResult::Warning),
        Some("pass") => Some(TaskResult::Pass),
        Some(other) => {
            let hint = meant(other, &["warning", "pass"]);
            let of = format!("the gate file: it cannot be `{}`; {hint}", shown(other));
            fields.problems().push(is_not("withoutSlo", &of, without?, "`warning` or `pass`"));
            None
        }
    };
    fields.finish();
    Some(Gate { sli_provider, without_slo })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_file_names_the_provider_and_what_a_missing_slo_means() {
        let (gate, problems) = read(b"spec_version: '1.0'\nsliProvider: dynatrace\nwithoutSlo: pass\n");
        let expected = Gate { sli_provider: Some("dynatrace".to_owned()), without_slo: Some(TaskResult::Pass) };
        assert_eq!((gate.unwrap(), problems), (expected, Vec::new()));
        assert_eq!(read(b"spec_version: '1.0'\n").0.unwrap(), Gate::default());
        let (gate, problems) = read(b"spec_version: '1.0'\nwithoutSlo: fail\nprovider: x\n");
        assert!(gate.is_none());
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|text| text.contains("withoutSlo")), "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("`provider`")), "{texts:?}");
    }
}
