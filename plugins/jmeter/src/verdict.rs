//! Decides whether a test that ran was good enough, and says why.
//!
//! Never here: a test that did not run at all (`outcome`), which is an error and not a verdict.

use crate::jtl::Summary;
use crate::workload::Workload;

/// Most response codes named in a reason; the rest is in the output.
const CODES_NAMED_MAX: usize = 3;

/// A verdict and its reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the test passed.
    pub passed: bool,
    /// One sentence for people.
    pub message: String,
}

/// Judges a summary that has samples, by Keptn V1's rules.
///
/// A functional test may have no error at all. Otherwise more errors than the accepted share of the requests, rounded
/// down, fail it; and so does a mean response time over `avgrtvalidation`. All reasons are given, not the first alone.
pub fn judge(summary: &Summary, workload: &Workload) -> Verdict {
    let total = &summary.total;
    let count = total.elapsed.count();
    let mut reasons = Vec::new();
    let accepted_rate = if workload.strategy == "functional" { 0.0 } else { workload.accepted_error_rate };
    // The rate is 0 to 1 and the count far below 2^53, so the product is exact enough to round down.
    let accepted = (accepted_rate * count as f64).floor() as u64;
    if total.errors > accepted {
        reasons.push(format!("{} of {count} requests failed{}, {accepted} may", total.errors, codes(summary)));
    }
    let mean = total.elapsed.mean();
    if let Some(limit) = workload.mean_ms_max.filter(|limit| mean > *limit) {
        reasons.push(format!("the mean response time was {mean:.1} ms, {limit} ms may be"));
    }
    let figures = format!(
        "{count} requests, {} errors ({:.1} %), {:.1}/s, mean {mean:.1} ms, p95 {} ms",
        total.errors,
        total.error_rate() * 100.0,
        total.throughput(),
        total.elapsed.percentile(95),
    );
    let message = if reasons.is_empty() {
        format!("{} test passed: {figures}", workload.strategy)
    } else {
        format!("{} test failed: {} ({figures})", workload.strategy, reasons.join("; "))
    };
    Verdict { passed: reasons.is_empty(), message }
}

/// Names the most frequent response codes of failures, such as ` (500: 3, 404: 1)`.
fn codes(summary: &Summary) -> String {
    let mut codes: Vec<(&String, &u64)> = summary.failures.iter().collect();
    codes.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), (*code).clone()));
    let named: Vec<String> = codes
        .into_iter()
        .take(CODES_NAMED_MAX)
        .map(|(code, count)| format!("{}: {count}", if code.is_empty() { "no code" } else { code }))
        .collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jtl, workload};

    /// Makes a summary with `errors` failed and `good` successful samples of `elapsed` ms each.
    fn summary(good: u32, errors: u32, elapsed: u32) -> Summary {
        let mut rows = String::from("timeStamp,elapsed,label,responseCode,success\n");
        for index in 0..good + errors {
            let (code, success) = if index < good { ("200", "true") } else { ("500", "false") };
            rows.push_str(&format!("{},{elapsed},x,{code},{success}\n", 1_000 + index * 10));
        }
        jtl::summarize(rows.as_bytes()).unwrap()
    }

    fn verdict(strategy: &str, file: &str, good: u32, errors: u32, elapsed: u32) -> Verdict {
        let file = format!("workloads:\n- teststrategy: {strategy}\n  {file}\n");
        judge(&summary(good, errors, elapsed), &workload::select(Some(&file), strategy).unwrap())
    }

    #[test]
    fn the_accepted_error_rate_is_a_share_of_the_requests_rounded_down() {
        for (name, rate, good, errors, passed) in [
            ("no error, none accepted", "0", 10, 0, true),
            ("one error, none accepted", "0", 9, 1, false),
            ("exactly the accepted number", "0.1", 9, 1, true),
            ("one more", "0.1", 18, 3, false),
            ("19 requests accept one, not 1.9", "0.1", 17, 2, false),
            ("everything may fail", "1.0", 0, 5, true),
        ] {
            let got = verdict("performance", &format!("acceptederrorrate: {rate}"), good, errors, 10);
            assert_eq!(got.passed, passed, "{name}: {}", got.message);
        }
    }

    #[test]
    fn a_functional_test_may_have_no_error_whatever_the_file_says() {
        assert!(!verdict("functional", "acceptederrorrate: 1.0", 99, 1, 10).passed);
        assert!(verdict("functional", "acceptederrorrate: 1.0", 100, 0, 10).passed);
    }

    #[test]
    fn a_mean_over_the_limit_fails_and_an_equal_one_does_not() {
        assert!(!verdict("performance", "avgrtvalidation: 99", 10, 0, 100).passed);
        assert!(verdict("performance", "avgrtvalidation: 100", 10, 0, 100).passed);
        assert!(verdict("performance", "avgrtvalidation: 0", 10, 0, 100).passed);
    }

    #[test]
    fn the_reasons_are_all_in_the_message() {
        let got = verdict(
            "performance",
            "{acceptederrorrate: 0, avgrtvalidation: 50}".trim_matches(['{', '}']).replace(", ", "\n  ").as_str(),
            9,
            1,
            100,
        );
        assert_eq!(
            got.message,
            "performance test failed: 1 of 10 requests failed (500: 1), 0 may; the mean response time was 100.0 ms, 50 ms \
             may be (10 requests, 1 errors (10.0 %), 52.6/s, mean 100.0 ms, p95 100 ms)"
        );
    }
}
