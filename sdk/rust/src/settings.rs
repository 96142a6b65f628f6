//! The installation's settings, typed.
//!
//! Never here: secrets. A connection holds those, outside of the sandbox.

use serde::de::DeserializeOwned;

use crate::failure::describe_json_error;
use crate::shim::bindings::wasi::config::store;
use crate::{Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

/// The key of `wasi:config/store` under which the host gives the whole settings document as JSON.
const SETTINGS_KEY: &str = "settings";

/// Returns the installation's settings as JSON text; `{}` when it has none.
///
/// # Errors
/// A retry when the host cannot read them.
pub fn settings_text() -> Result<String, Failure> {
    if !INSIDE_COMPONENT {
        return Err(reject(OUTSIDE));
    }
    match store::get(SETTINGS_KEY) {
        Ok(document) => Ok(document.unwrap_or_else(|| "{}".to_owned())),
        Err(store::Error::Upstream(reason) | store::Error::Io(reason)) => {
            Err(retry(format!("the settings could not be read: {reason}")))
        }
    }
}

/// Returns the installation's settings.
///
/// # Errors
/// A reject when they are not what `T` expects; a schema in the manifest would have told the operator at install.
pub fn settings<T: DeserializeOwned>() -> Result<T, Failure> {
    parse(&settings_text()?)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| reject(format!("the settings are not as expected: {}", describe_json_error(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natively_the_settings_answer_with_an_error_and_do_not_panic() {
        assert_eq!(settings::<serde_json::Value>().unwrap_err().reason(), OUTSIDE);
    }

    #[test]
    fn settings_that_do_not_fit_are_rejected() {
        assert!(matches!(parse::<Vec<u8>>("{}"), Err(Failure::Reject(_))));
    }
}
