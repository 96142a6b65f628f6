//! What the bundled plugins read: JMeter's results and workloads, SLIs and SLOs.

use plugin_jmeter::{jtl, workload as jmeter};
use plugin_prometheus::slo as prometheus;

/// Whatever a results file holds, the figures of it are figures.
pub fn jtl(bytes: &[u8]) {
    let Ok(summary) = jtl::summarize(bytes) else { return };
    let rate = summary.total.error_rate();
    assert!((0.0..=1.0).contains(&rate), "{rate}");
    assert!(summary.total.throughput() >= 0.0);
}

/// A workload that is accepted makes a properties file that no value can break out of: one line per property.
pub fn workload(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for strategy in ["performance", "functional", "healthcheck"] {
        if let Ok(workload) = jmeter::select(Some(text), strategy) {
            let file = jmeter::properties_file(&workload.properties);
            let lines = file.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(lines, workload.properties.len(), "{file:?}");
        }
    }
}

/// SLIs are read or refused.
pub fn sli(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(queries) = prometheus::read_sli(text) {
        assert!(queries.len() <= text.len());
    }
}

/// SLOs are read or refused.
pub fn slo(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(slo) = prometheus::read_slo(text) {
        assert!(slo.objectives.len() <= text.len());
    }
}
