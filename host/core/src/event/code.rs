//! The stable words with which the codec says why it refuses an event; `docs/event-errors.md` explains each one.
//!
//! A word is never renamed or reused: clients branch on it. A test keeps the page and this list the same.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $word;)*

        /// Every code, in the order of the page.
        pub const ALL: &[&str] = &[$($word),*];
    };
}

codes! {
    /// A required attribute is absent, or `null` in JSON.
    ATTRIBUTE_MISSING = "attribute-missing";
    /// An attribute is present and empty.
    ATTRIBUTE_EMPTY = "attribute-empty";
    /// An attribute's name is not made of `a` to `z` and `0` to `9`, or is reserved.
    ATTRIBUTE_NAME = "attribute-name";
    /// An attribute, `data` or `data_base64` is given more than once.
    ATTRIBUTE_TWICE = "attribute-twice";
    /// An attribute's JSON value has a type that the attribute cannot have.
    ATTRIBUTE_TYPE = "attribute-type";
    /// An attribute's value breaks the rule for that attribute.
    ATTRIBUTE_VALUE = "attribute-value";
    /// `specversion` is not `1.0`.
    SPECVERSION = "specversion-unknown";
    /// More extension attributes than [`super::EXTENSION_COUNT_MAX`].
    EXTENSION_COUNT = "extension-count";
    /// Larger than [`super::EVENT_SIZE_BYTES_MAX`].
    EVENT_TOO_LARGE = "event-too-large";
    /// More events in a batch than the receiver takes.
    BATCH_TOO_LARGE = "batch-too-large";
    /// A batch that is not a JSON array.
    BATCH_NOT_ARRAY = "batch-not-array";
    /// An event that is not a JSON object.
    EVENT_NOT_OBJECT = "event-not-object";
    /// A body in structured or batched mode that is not valid JSON.
    JSON_INVALID = "json-invalid";
    /// A body in structured or batched mode that is not UTF-8.
    BODY_NOT_UTF8 = "body-not-utf8";
    /// Both `data` and `data_base64`.
    DATA_BOTH = "data-both";
    /// `data_base64` is not padded standard base64.
    DATA_BASE64 = "data-base64";
    /// `data` under a content type that is not JSON is not a string.
    DATA_NOT_STRING = "data-not-string";
    /// Data that is said to be JSON is not.
    DATA_NOT_JSON = "data-not-json";
    /// JSON data nested deeper than [`super::JSON_DEPTH_MAX`].
    DATA_TOO_DEEP = "data-too-deep";
    /// The kind of data does not fit the content type.
    DATA_MISMATCH = "data-mismatch";
    /// A header's value is not ASCII, or its percent-encoding is not UTF-8.
    HEADER_ENCODING = "header-encoding";
    /// The header `ce-datacontenttype`, which binary mode forbids.
    HEADER_FORBIDDEN = "header-forbidden";
    /// Neither a CloudEvents content type nor `ce-` headers.
    NOT_AN_EVENT = "not-an-event";
    /// An event format other than JSON.
    FORMAT_UNSUPPORTED = "format-unsupported";
    /// A charset other than UTF-8.
    CHARSET_UNSUPPORTED = "charset-unsupported";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn the_page_of_error_codes_lists_each_code_once_and_no_other() {
        let page = include_str!("../../../../docs/event-errors.md");
        let listed: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(code, _)| code).collect();
        assert_eq!(listed, ALL);
    }

    #[test]
    fn the_codec_uses_no_code_that_is_not_in_the_list() {
        for source in [include_str!("rule.rs"), include_str!("json.rs"), include_str!("http.rs")] {
            let (source, _tests) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
            for maker in ["EventError::invalid(", "EventError::unsupported(", "EventError::too_large("] {
                for call in source.split(maker).skip(1) {
                    assert!(call.trim_start().starts_with("code::"), "{}", &call[..40]);
                }
            }
        }
    }
}
