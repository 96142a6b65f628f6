//! The one way in which this crate makes an HTTP client.

/// Makes a client that follows no redirects and reads no proxies from the environment: both would send credentials to
/// places that nobody named.
///
/// # Errors
/// TLS could not be set up.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // Fails only when a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()
}
