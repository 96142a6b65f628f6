//! Who may call an inbound route: signatures, tokens and passwords, compared in constant time.
//!
//! No refusal says the secret or what was presented.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::time::Timestamp;

/// How old a signed request may be unless the configuration says otherwise, in seconds; what Slack asks for.
pub const TOLERANCE_DEFAULT: u32 = 300;
/// Longest tolerance that can be asked for, in seconds. A longer one would let an old request be sent again for long.
pub const TOLERANCE_MAX: u32 = 3_600;

/// How the caller proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Verification {
    /// HMAC-SHA256 of the body, or of the timestamp and the body.
    Hmac {
        /// The header that holds the signature.
        header: String,
        /// What stands before it in the header, such as `sha256=`.
        #[serde(default)]
        prefix: String,
        /// How it is written.
        #[serde(default)]
        encoding: Encoding,
        /// The header that holds the time, in seconds since 1970. The signature is then over `<prefix of time><time><separator><body>`.
        #[serde(default)]
        timestamp_header: Option<String>,
        /// What stands between the time and the body.
        #[serde(default = "dot")]
        separator: String,
        /// How old a request may be, in seconds.
        #[serde(default = "tolerance")]
        tolerance: u32,
    },
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// GitLab: `X-Gitlab-Token`.
    Gitlab,
    /// Bitbucket: `X-Hub-Signature` with `sha256=`.
    Bitbucket,
    /// Slack: `X-Slack-Signature` over version, time and body; at most five minutes old.
    Slack,
    /// `Authorization: Bearer <secret>`.
    Bearer,
    /// `Authorization: Basic`, with the secret as the password.
    Basic {
        /// The user's name.
        user: String,
    },
    /// The last part of the path is the secret, for tools that can neither sign nor send headers. It may show up in proxies' logs.
    SecretPath,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Hexadecimal.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

fn dot() -> String {
    ".".to_owned()
}

fn tolerance() -> u32 {
    TOLERANCE_DEFAULT
}

/// A request to verify.
pub struct Request<'a> {
    /// Returns a header by its name; `None` if it is not there, not text, or there twice.
    pub header: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// The path below the route.
    pub path: &'a str,
    /// The body as it came.
    pub body: &'a [u8],
}

/// Why a caller was not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header with the proof is missing.
    #[error("the header `{0}` is missing; is the secret set on the sender's side?")]
    Missing(String),
    /// The proof is not written as it should be.
    #[error("the header `{0}` is not written as this scheme has it")]
    Malformed(String),
    /// The proof is wrong.
    #[error("the signature or secret is wrong; is the same secret set on both sides?")]
    Wrong,
    /// The request was signed too long ago, or in the future.
    #[error("the request was signed {seconds} s ago, at most {tolerance} s are allowed; are both clocks right?")]
    TooOld {
        /// Its age; negative for the future.
        seconds: i64,
        /// What is allowed.
        tolerance: u32,
    },
}

impl Refusal {
    /// Returns the word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "signature-missing",
            Self::Malformed(_) => "signature-malformed",
            Self::Wrong => "signature-wrong",
            Self::TooOld { .. } => "signature-too-old",
        }
    }
}

impl Verification {
    /// Checks a request against the secret.
    ///
    /// # Errors
    /// [`Refusal`], for the operator's log.
    pub fn verify(&self, request: &Request<'_>, secret: &str, now: Timestamp) -> Result<(), Refusal> {
        match self {
            Self::Github => signed(request, secret, "x-hub-signature-256", "sha256=", Encoding::Hex, &[request.body]),
            Self::Bitbucket => signed(request, secret, "x-hub-signature", "sha256=", Encoding::Hex, &[request.body]),
            Self::Gitlab => same(&needed(request, "x-gitlab-token")?, secret),
            Self::Slack => {
                let time = fresh(request, "x-slack-request-timestamp", TOLERANCE_DEFAULT, now)?;
                let parts: [&[u8]; 4] = [b"v0:", time.as_bytes(), b":", request.body];
                signed(request, secret, "x-slack-signature", "v0=", Encoding::Hex, &parts)
            }
            Self::Hmac { header, prefix, encoding, timestamp_header, separator, tolerance } => match timestamp_header {
                None => signed(request, secret, header, prefix, *encoding, &[request.body]),
                Some(name) => {
                    let time = fresh(request, name, (*tolerance).min(TOLERANCE_MAX), now)?;
                    let parts: [&[u8]; 3] = [time.as_bytes(), separator.as_bytes(), request.body];
                    signed(request, secret, header, prefix, *encoding, &parts)
                }
            },
            Self::Bearer => same(&authorization(request, "bearer")?, secret),
            Self::Basic { user } => {
                let pair =
                    STANDARD.decode(authorization(request, "basic")?).ok().and_then(|it| String::from_utf8(it).ok());
                let pair = pair.ok_or_else(|| Refusal::Malformed("authorization".to_owned()))?;
                // Both are compared, whatever the first says.
                same(&pair, &format!("{user}:{secret}"))
            }
            Self::SecretPath => same(request.path.rsplit('/').next().unwrap_or_default(), secret),
        }
    }

    /// Returns the headers that prove the caller, which nobody else needs to see: some are the secret itself.
    pub fn proofs(&self) -> Vec<&str> {
        let own = match self {
            Self::Hmac { header, .. } => Some(header.as_str()),
            _ => None,
        };
        let known = [
            "authorization",
            "x-gitlab-token",
            "x-hub-signature",
            "x-hub-signature-256",
            "x-slack-signature",
            "cookie",
        ];
        own.into_iter().chain(known).collect()
    }

    /// Returns a path below the route without what proves the caller.
    pub fn path_without_proof<'p>(&self, path: &'p str) -> &'p str {
        match self {
            Self::SecretPath => path.rsplit_once('/').map_or("", |(before, _)| before),
            _ => path,
        }
    }

    /// Returns what tells a request from every other one, where the scheme signs a time: the same again within the
    /// tolerance is a replay.
    pub fn replay_key(&self, request: &Request<'_>) -> Option<[u8; 32]> {
        let header = match self {
            Self::Slack => "x-slack-signature",
            Self::Hmac { header, timestamp_header: Some(_), .. } => header,
            _ => return None,
        };
        (request.header)(header).map(|signature| Sha256::digest(signature.as_bytes()).into())
    }
}

fn needed(request: &Request<'_>, header: &str) -> Result<String, Refusal> {
    (request.header)(header).ok_or_else(|| Refusal::Missing(header.to_owned()))
}

fn authorization(request: &Request<'_>, scheme: &str) -> Result<String, Refusal> {
    let value = needed(request, "authorization")?;
    match value.split_once(' ') {
        Some((given, rest)) if given.eq_ignore_ascii_case(scheme) => Ok(rest.trim().to_owned()),
        _ => Err(Refusal::Malformed("authorization".to_owned())),
    }
}

/// Compares through digests, so that not even the length shows.
fn same(given: &str, wanted: &str) -> Result<(), Refusal> {
    let equal = Sha256::digest(given.as_bytes()).ct_eq(&Sha256::digest(wanted.as_bytes()));
    if bool::from(equal) && !wanted.is_empty() { Ok(()) } else { Err(Refusal::Wrong) }
}

fn fresh(request: &Request<'_>, header: &str, tolerance: u32, now: Timestamp) -> Result<String, Refusal> {
    let text = needed(request, header)?;
    let time: i64 = text.parse().map_err(|_| Refusal::Malformed(header.to_owned()))?;
    let seconds = (now.as_millis() / 1_000).saturating_sub(time);
    if seconds.unsigned_abs() > u64::from(tolerance) {
        return Err(Refusal::TooOld { seconds, tolerance });
    }
    Ok(text)
}

fn signed(
    request: &Request<'_>,
    secret: &str,
    header: &str,
    prefix: &str,
    encoding: Encoding,
    parts: &[&[u8]],
) -> Result<(), Refusal> {
    let malformed = || Refusal::Malformed(header.to_owned());
    let value = needed(request, header)?;
    let text = value.strip_prefix(prefix).ok_or_else(malformed)?;
    let signature = match encoding {
        Encoding::Hex => unhex(text),
        Encoding::Base64 => STANDARD.decode(text).ok(),
    };
    let signature = signature.ok_or_else(malformed)?;
    if secret.is_empty() {
        return Err(Refusal::Wrong);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Refusal::Wrong)?;
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(&signature).map_err(|_| Refusal::Wrong)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_531_420_618_000);
    const SECRET: &str = "It's a Secret to Everybody";

    fn check(
        scheme: &Verification,
        headers: &[(&str, &str)],
        path: &str,
        body: &[u8],
        secret: &str,
    ) -> Result<(), Refusal> {
        let header = |name: &str| headers.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        scheme.verify(&Request { header: &header, path, body }, secret, NOW)
    }

    fn hmac(secret: &str, text: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_example_of_githubs_documentation_is_accepted_and_any_other_is_not() {
        // The values are from GitHub's page on validating webhook deliveries.
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |headers: &[(&str, &str)], body: &[u8]| check(&Verification::Github, headers, "", body, SECRET);
        assert_eq!(check(&[("x-hub-signature-256", signature)], b"Hello, World!"), Ok(()));
        assert_eq!(check(&[("x-hub-signature-256", signature)], b"Hello, World?"), Err(Refusal::Wrong));
        assert_eq!(check(&[], b"Hello, World!").unwrap_err().code(), "signature-missing");
        assert_eq!(check(&[("x-hub-signature-256", "sha256=zz")], b"x").unwrap_err().code(), "signature-malformed");
        assert_eq!(check(&[("x-hub-signature-256", "757107ea")], b"x").unwrap_err().code(), "signature-malformed");
    }

    #[test]
    fn slacks_signature_counts_for_five_minutes() {
        let sign = |time: &str| format!("v0={}", hmac(SECRET, format!("v0:{time}:a=b").as_bytes()));
        let check = |time: &str, signature: &str| {
            let headers = [("x-slack-request-timestamp", time), ("x-slack-signature", signature)];
            check(&Verification::Slack, &headers, "", b"a=b", SECRET)
        };
        assert_eq!(check("1531420618", &sign("1531420618")), Ok(()));
        assert_eq!(check("1531420318", &sign("1531420318")), Ok(()));
        assert_eq!(check("1531420317", &sign("1531420317")).unwrap_err().code(), "signature-too-old");
        assert_eq!(check("1531420919", &sign("1531420919")).unwrap_err().code(), "signature-too-old");
        assert_eq!(check("1531420617", &sign("1531420618")), Err(Refusal::Wrong));
        assert_eq!(check("soon", &sign("soon")).unwrap_err().code(), "signature-malformed");
    }

    #[test]
    fn tokens_passwords_and_paths_are_compared_whole() {
        let basic = format!("Basic {}", STANDARD.encode(format!("jenkins:{SECRET}")));
        let bearer = format!("bearer {SECRET}");
        let path = format!("hooks/{SECRET}");
        let user = Verification::Basic { user: "jenkins".into() };
        let good: [(Verification, &str, &str, &str); 4] = [
            (Verification::Gitlab, "x-gitlab-token", SECRET, ""),
            (Verification::Bearer, "authorization", &bearer, ""),
            (user, "authorization", &basic, ""),
            (Verification::SecretPath, "x", "", &path),
        ];
        for (scheme, name, value, path) in good {
            assert_eq!(check(&scheme, &[(name, value)], path, b"", SECRET), Ok(()), "{scheme:?}");
            for wrong in ["It's a Secret to Everybod", "", "It's a Secret to Everybody "] {
                assert!(check(&scheme, &[(name, value)], path, b"", wrong).is_err(), "{scheme:?} {wrong}");
            }
        }
    }

    #[test]
    fn no_refusal_says_the_secret_or_what_was_sent() {
        let refused =
            check(&Verification::Gitlab, &[("x-gitlab-token", "guess")], "", b"", SECRET).unwrap_err().to_string();
        assert!(!refused.contains("guess") && !refused.contains("Secret to"), "{refused}");
    }

    #[test]
    fn a_scheme_with_a_time_tells_replays_apart() {
        let header = |name: &str| (name == "x-slack-signature").then(|| "v0=1".to_owned());
        let request = Request { header: &header, path: "", body: b"" };
        assert!(Verification::Slack.replay_key(&request).is_some());
        assert!(Verification::Github.replay_key(&request).is_none());
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_refused(body in proptest::collection::vec(any::<u8>(), 1..60), bit in 0_usize..4_000) {
            let signature = format!("sha256={}", hmac(SECRET, &body));
            let mut changed = body.clone();
            let at = bit / 8 % changed.len();
            changed[at] ^= 1 << (bit % 8);
            let headers = [("x-hub-signature-256", signature.as_str())];
            prop_assert_eq!(check(&Verification::Github, &headers, "", &body, SECRET), Ok(()));
            prop_assert_eq!(check(&Verification::Github, &headers, "", &changed, SECRET), Err(Refusal::Wrong));
        }
    }
}
