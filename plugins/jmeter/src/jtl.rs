//! Reads JMeter's result file (JTL, as CSV) as a stream and sums it up, in constant memory.
//!
//! Never here: what is good enough (`verdict`), how JMeter is started (`request`).

use std::collections::BTreeMap;
use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use crate::histogram::Histogram;

/// Most labels told apart; the rest is summed up under [`OTHER`]. A plan has tens of labels; one with a label per
/// request would otherwise fill the sandbox's memory (each label may take 14 KiB).
pub const LABELS_MAX: usize = 200;
/// The label of all samples beyond [`LABELS_MAX`] labels.
pub const OTHER: &str = "(other)";
/// Most kinds of failures told apart, by response code. The rest is counted under [`OTHER`].
pub const FAILURE_CODES_MAX: usize = 16;
/// Longest label or response code kept, in characters.
const TEXT_CHARS_MAX: usize = 120;

/// The columns that JMeter writes first when it writes no header; later ones differ between its versions.
const COLUMNS_WITHOUT_HEADER: [&str; 8] =
    ["timeStamp", "elapsed", "label", "responseCode", "responseMessage", "threadName", "dataType", "success"];

/// Says why a result file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JtlError {
    /// The artifact could not be read to its end.
    #[error("the result file could not be read: {0}")]
    Read(String),
    /// The operator's template lets JMeter write XML.
    #[error("the result file is XML; the job template must pass -Jjmeter.save.saveservice.output_format=csv")]
    Xml,
    /// A column that is needed is missing.
    #[error("the result file has no column `{0}`; the job template must let JMeter save it (README, \"Job template\")")]
    ColumnMissing(&'static str),
    /// No line could be read as a sample, though there are lines.
    #[error(
        "none of the result file's {0} lines is a sample; the job template must pass -Jjmeter.save.saveservice.timestamp_format=ms"
    )]
    NoSample(u64),
}

/// What is counted, for one label or in total.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Response times in milliseconds.
    pub elapsed: Histogram,
    /// Samples that were not successful.
    pub errors: u64,
    /// Start of the first sample and end of the last, in milliseconds since 1970.
    pub window: Option<(i64, i64)>,
}

impl Statistics {
    fn add(&mut self, sample: &Sample) {
        self.elapsed.add(sample.elapsed);
        self.errors += u64::from(!sample.success);
        let end = sample.start.saturating_add_unsigned(sample.elapsed);
        self.window = Some(match self.window {
            None => (sample.start, end),
            Some((first, last)) => (first.min(sample.start), last.max(end)),
        });
    }

    /// Returns the share of samples that failed, from 0 to 1; 0 without samples.
    pub fn error_rate(&self) -> f64 {
        let count = self.elapsed.count();
        if count == 0 { 0.0 } else { self.errors as f64 / count as f64 }
    }

    /// Returns samples per second between the first sample's start and the last one's end.
    ///
    /// A window under a millisecond counts as one, so that the rate of a single instant sample is finite.
    pub fn throughput(&self) -> f64 {
        let Some((first, last)) = self.window else { return 0.0 };
        self.elapsed.count() as f64 * 1_000.0 / last.saturating_sub(first).max(1) as f64
    }
}

/// What a whole result file says.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All samples.
    pub total: Statistics,
    /// The samples of each label.
    pub labels: BTreeMap<String, Statistics>,
    /// Failed samples by response code.
    pub failures: BTreeMap<String, u64>,
    /// Lines that are not samples; a test that was cut off leaves one.
    pub malformed: u64,
}

struct Sample {
    start: i64,
    elapsed: u64,
    success: bool,
}

/// Where the columns are.
struct Columns {
    start: usize,
    elapsed: usize,
    label: usize,
    code: Option<usize>,
    success: usize,
}

impl Columns {
    fn find<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<Self, JtlError> {
        let names: Vec<&[u8]> = names.collect();
        let find = |name: &'static str| {
            names.iter().position(|it| it.eq_ignore_ascii_case(name.as_bytes())).ok_or(JtlError::ColumnMissing(name))
        };
        Ok(Self {
            start: find("timeStamp")?,
            elapsed: find("elapsed")?,
            label: find("label")?,
            code: find("responseCode").ok(),
            success: find("success")?,
        })
    }

    fn sample(&self, record: &ByteRecord) -> Option<Sample> {
        let number = |index: usize| std::str::from_utf8(record.get(index)?).ok()?.trim().parse::<i64>().ok();
        let success = record.get(self.success)?;
        let success = if success.eq_ignore_ascii_case(b"true") {
            true
        } else if success.eq_ignore_ascii_case(b"false") {
            false
        } else {
            return None;
        };
        let start = number(self.start)?;
        Some(Sample { start, elapsed: u64::try_from(number(self.elapsed)?).ok()?, success })
    }
}

/// Reads a result file to its end.
///
/// A file with no line at all is a summary without samples: the caller knows why JMeter was expected to write some.
///
/// # Errors
/// The file cannot be read, is XML, lacks a column, or holds lines of which none is a sample.
pub fn summarize(file: impl Read) -> Result<Summary, JtlError> {
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(file);
    let mut record = ByteRecord::new();
    let mut summary = Summary::default();
    let read = |reader: &mut csv::Reader<_>, record: &mut ByteRecord| {
        reader.read_byte_record(record).map_err(|error| JtlError::Read(error.to_string()))
    };

    if !read(&mut reader, &mut record)? {
        return Ok(summary);
    }
    let first = record.get(0).unwrap_or_default();
    if first.trim_ascii_start().starts_with(b"<") {
        return Err(JtlError::Xml);
    }
    let headless = first.first().is_some_and(u8::is_ascii_digit);
    let columns = if headless {
        Columns::find(COLUMNS_WITHOUT_HEADER.iter().map(|name| name.as_bytes()))?
    } else {
        // Windows tools put a byte order mark before the first name.
        Columns::find(record.iter().map(|name| name.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(name)))?
    };
    if headless {
        summary.add(&columns, &record);
    }
    while read(&mut reader, &mut record)? {
        summary.add(&columns, &record);
    }
    if summary.total.elapsed.count() == 0 && summary.malformed > 0 {
        return Err(JtlError::NoSample(summary.malformed));
    }
    Ok(summary)
}

impl Summary {
    fn add(&mut self, columns: &Columns, record: &ByteRecord) {
        let Some(sample) = columns.sample(record) else {
            self.malformed += 1;
            return;
        };
        self.total.add(&sample);
        let label = text(record.get(columns.label).unwrap_or_default());
        bounded(&mut self.labels, label, LABELS_MAX).add(&sample);
        if !sample.success {
            let code = text(columns.code.and_then(|index| record.get(index)).unwrap_or_default());
            *bounded(&mut self.failures, code, FAILURE_CODES_MAX) += 1;
        }
    }
}

/// Returns the entry of `key`, or the entry [`OTHER`] when there are already `max` others.
fn bounded<V: Default>(map: &mut BTreeMap<String, V>, key: String, max: usize) -> &mut V {
    let key = if map.len() < max || map.contains_key(&key) { key } else { OTHER.to_owned() };
    map.entry(key).or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,bytes,Latency\n";

    fn read(body: &str) -> Summary {
        summarize(format!("{HEADER}{body}").as_bytes()).unwrap()
    }

    #[test]
    fn samples_are_counted_in_total_and_per_label() {
        let summary = read(
            "1000,10,home,200,OK,t 1-1,text,true,100,5\n\
             1500,30,cart,500,Internal Server Error,t 1-1,text,false,100,5\n\
             1900,100,home,200,OK,t 1-1,text,true,100,5\n",
        );
        assert_eq!((summary.total.elapsed.count(), summary.total.errors), (3, 1));
        assert_eq!(summary.total.window, Some((1000, 2000)));
        assert_eq!(summary.total.throughput(), 3.0);
        assert_eq!(summary.labels["home"].elapsed.count(), 2);
        assert_eq!(summary.labels["cart"].error_rate(), 1.0);
        assert_eq!(summary.failures, BTreeMap::from([("500".to_owned(), 1)]));
        assert_eq!(summary.malformed, 0);
    }

    #[test]
    fn the_last_sample_to_end_need_not_be_the_last_line() {
        let summary = read("1000,5000,slow,200,OK,t,text,true,1,1\n2000,10,fast,200,OK,t,text,true,1,1\n");
        assert_eq!(summary.total.window, Some((1000, 6000)));
    }

    #[test]
    fn quotes_commas_and_line_breaks_in_a_message_are_one_field() {
        let summary = read("1000,1,\"a, \"\"b\"\"\",200,\"two\nlines\",t,text,true,1,1\n");
        assert_eq!(summary.labels.keys().collect::<Vec<_>>(), ["a, \"b\""]);
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let summary = summarize("success,label,elapsed,timeStamp\nfalse,x,7,1000\n".as_bytes()).unwrap();
        assert_eq!((summary.total.errors, summary.total.elapsed.max()), (1, 7));
        assert_eq!(summary.failures, BTreeMap::from([(String::new(), 1)]));
    }

    #[test]
    fn a_file_without_header_has_jmeters_first_columns() {
        let summary = summarize("1000,12,home,200,OK,t 1-1,text,true,100,5\n".as_bytes()).unwrap();
        assert_eq!((summary.total.elapsed.count(), summary.total.elapsed.max()), (1, 12));
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_counted_and_left_out() {
        let summary = read("1000,10,home,200,OK,t,text,true,1,1\n1010,1");
        assert_eq!((summary.total.elapsed.count(), summary.malformed), (1, 1));
    }

    #[test]
    fn an_empty_file_and_one_with_only_a_header_have_no_samples() {
        assert_eq!(summarize(&b""[..]).unwrap().total.elapsed.count(), 0);
        assert_eq!(read("").total.elapsed.count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_used_says_what_the_template_must_change() {
        let cases = [
            ("xml", "<?xml version=\"1.0\"?>\n<testResults/>\n", "output_format=csv"),
            ("column missing", "timeStamp,elapsed,label\n1,2,x\n", "no column `success`"),
            ("dates", "timeStamp,elapsed,label,success\n2024/01/01 10:00:00,2,x,true\n", "timestamp_format=ms"),
        ];
        for (name, file, expected) in cases {
            let error = summarize(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn labels_and_failure_codes_beyond_the_limit_are_summed_up() {
        let rows: String = (0..1_000).map(|i| format!("1000,1,label {i},{i},x,t,text,false,1,1\n")).collect();
        let summary = read(&rows);
        assert_eq!(summary.labels.len(), LABELS_MAX + 1);
        assert_eq!(summary.labels[OTHER].elapsed.count(), 1_000 - LABELS_MAX as u64);
        assert_eq!(summary.failures[OTHER], 1_000 - FAILURE_CODES_MAX as u64);
        assert_eq!(summary.total.elapsed.count(), 1_000);
    }
}
