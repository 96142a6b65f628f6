//! Reads a curl command line of Keptn's webhook-service: which request it makes. Never runs it.

/// Options without a value that change nothing of the request, or nothing that could be translated.
const FLAGS: [&str; 13] = [
    "--silent",
    "--show-error",
    "--fail",
    "--fail-with-body",
    "--include",
    "--verbose",
    "--location",
    "--compressed",
    "--insecure",
    "--http1.1",
    "--http2",
    "--globoff",
    "--no-progress-meter",
];
/// The same, in one letter.
const FLAG_LETTERS: &str = "sSfivLkg";
/// Options with a value that change nothing of the request, or nothing that could be translated.
const SETTINGS: [&str; 7] =
    ["--max-time", "-m", "--connect-timeout", "--retry", "--retry-delay", "--retry-max-time", "--max-redirs"];

/// A request as curl would make it. Its texts are as they were given, marks included.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: Option<String>,
    pub(super) url: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) data: Option<String>,
    /// Options that were left out.
    pub(super) dropped: Vec<String>,
}

/// Reads a command line.
///
/// # Errors
/// It is not one of curl, or has an option that is not known here.
pub(super) fn command(text: &str) -> Result<Call, String> {
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    let mut call = Call::default();
    match words.split_first() {
        Some((program, words)) if program == "curl" => options(words, &mut call)?,
        _ => return Err("it does not begin with `curl`".to_owned()),
    }
    Ok(call)
}

/// Reads options in one text.
///
/// # Errors
/// As for [`command`].
pub(super) fn more_options(text: &str, call: &mut Call) -> Result<(), String> {
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    options(&words, call)
}

fn options(words: &[String], call: &mut Call) -> Result<(), String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = |option: &str| words.next().cloned().ok_or_else(|| format!("`{option}` has no value"));
        if let Some((option, attached)) = attached(word) {
            take(call, option, attached.to_owned())?;
        } else if is_valued(word) {
            let value = value(word)?;
            take(call, word, value)?;
        } else if SETTINGS.contains(&word.as_str()) {
            call.dropped.push(format!("{word} {}", value(word)?));
        } else if is_flag(word) {
            call.dropped.push(word.clone());
        } else if word.starts_with('-') {
            return Err(format!("curl's option `{word}` has no counterpart"));
        } else {
            url(call, word.clone())?;
        }
    }
    Ok(())
}

/// Splits a one-letter option from the value that stands right behind it, such as `-XPOST`.
fn attached(word: &str) -> Option<(&str, &str)> {
    ["-X", "-H", "-d"]
        .into_iter()
        .find_map(|option| Some((option, word.strip_prefix(option)?)))
        .filter(|it| !it.1.is_empty())
}

fn is_valued(word: &str) -> bool {
    let options =
        ["-X", "--request", "-H", "--header", "-d", "--data", "--data-raw", "--data-ascii", "--data-binary", "--url"];
    options.contains(&word)
}

fn is_flag(word: &str) -> bool {
    let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty());
    FLAGS.contains(&word) || letters.is_some_and(|letters| letters.chars().all(|letter| FLAG_LETTERS.contains(letter)))
}

fn take(call: &mut Call, option: &str, value: String) -> Result<(), String> {
    match option {
        "-X" | "--request" => call.method = Some(value),
        "-H" | "--header" => {
            let (name, value) = value.split_once(':').ok_or_else(|| format!("`{value}` is no header"))?;
            call.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        "--url" => return url(call, value),
        _ if option != "--data-raw" && value.starts_with('@') => {
            return Err("a file cannot be sent".to_owned());
        }
        _ => {
            // curl joins several as fields of a form.
            call.data = Some(call.data.take().map_or_else(|| value.clone(), |before| format!("{before}&{value}")));
        }
    }
    Ok(())
}

fn url(call: &mut Call, url: String) -> Result<(), String> {
    if call.url.is_some() {
        return Err("it has several addresses".to_owned());
    }
    call.url = Some(url);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_curl_reads_it() {
        let call = command("curl -sS -XPUT --header 'X-A: b c' -H \"Accept:*/*\" --data '{\"a\": 1}' --max-time 10 https://example.com/x").unwrap();
        assert_eq!(call.method.as_deref(), Some("PUT"));
        assert_eq!(call.url.as_deref(), Some("https://example.com/x"));
        assert_eq!(call.headers, [("X-A".into(), "b c".into()), ("Accept".into(), "*/*".into())]);
        assert_eq!(call.data.as_deref(), Some("{\"a\": 1}"));
        assert_eq!(call.dropped, ["-sS", "--max-time 10"]);
    }

    #[test]
    fn what_is_no_request_or_has_an_unknown_option_is_refused() {
        for bad in [
            "",
            "wget https://example.com",
            "curl 'https://example.com",
            "curl -u a:b https://example.com",
            "curl -F a=b https://example.com",
            "curl -d @file https://example.com",
            "curl -X",
            "curl -H broken https://example.com",
            "curl https://a.example https://b.example",
            "curl --proxy http://p https://example.com",
        ] {
            assert!(command(bad).is_err(), "{bad}");
        }
    }
}
