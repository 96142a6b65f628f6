//! What the gate and the import of other formats read: values, earlier results, OpenSLO, Alertmanager's configuration.

use pilothouse_core::alertmanager::{Receiver, with_receiver, without_marks};
use pilothouse_core::files::{FileKind, check};
use pilothouse_core::openslo;
use pilothouse_files::evaluation::{Evaluation, input};
use serde_json::Value;

/// Any SLO file with any values and earlier results has a score from 0 to 100, and an evaluation that can be read back. The
/// first line of the input is the values, the second the earlier results, the rest the file.
pub fn evaluation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (values, rest) = text.split_once('\n').unwrap_or(("{}", text));
    let (previous, file) = rest.split_once('\n').unwrap_or(("[]", rest));
    let values: Value = serde_json::from_str(values).unwrap_or_default();
    let previous: Vec<Value> = serde_json::from_str(previous).unwrap_or_default();
    let Ok((evaluation, _)) = input::evaluate(file.as_bytes(), &values, &previous) else { return };
    assert!((0.0..=100.0).contains(&evaluation.score), "{}", evaluation.score);
    let written = serde_json::to_string(&evaluation).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&written).unwrap(), evaluation);
    let earlier = input::earlier(&serde_json::from_str(&written).unwrap()).unwrap();
    assert_eq!(earlier.result, evaluation.result);
}

/// What OpenSLO's documents become are files without mistakes.
pub fn openslo(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(imported) = openslo::import(text) else { return };
    for service in imported.services.values() {
        for (kind, text) in [(FileKind::Slo, &service.slo), (FileKind::Sli, &service.sli)] {
            let errors: Vec<_> = check(kind, text.as_bytes()).into_iter().filter(|it| it.stops_a_run()).collect();
            assert!(errors.is_empty(), "{errors:?}\n{text}");
        }
    }
}

/// Everything but the marked lines of a configuration stays byte for byte.
pub fn alertmanager(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let receiver = Receiver { url: "http://h/v1/inbound/a".to_owned(), secret_file: "/s".to_owned() };
    let Ok(written) = with_receiver(text, &receiver) else { return };
    assert_eq!(without_marks(&written), without_marks(text));
    assert_eq!(with_receiver(&written, &receiver).as_deref(), Ok(written.as_str()));
}
