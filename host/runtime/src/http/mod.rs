//! Outbound HTTP (`wasi:http/outgoing-handler`): denied unless granted, by name and then by address.
//!
//! A request goes one of two ways. To `https://<name>.connection.internal/…` it goes to the operator's connection of
//! that name, with the operator's address and credentials ([`connection`]). To anything else it needs a granted host
//! rule, and the address that its name resolves to is checked and is the one connected to ([`resolve`]). Redirects are
//! never followed: the guest sees them, and the next request is checked like the first.

mod address;
mod body;
mod connection;
mod policy;
mod resolve;
mod send;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::InstallationName;
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpHooks};

pub(crate) use send::{Client, Clients};

use crate::log::CallLog;
use crate::services::Services;

/// What sending a request comes to.
type Sent = wasmtime_wasi_http::Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>)>;
use wasmtime_wasi_http::Error;

/// What the requests of one call share.
pub(crate) struct Egress {
    pub(crate) installation: InstallationName,
    pub(crate) grants: Arc<EffectiveGrants>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) log: CallLog,
    pub(crate) client: Client,
    /// When the call ends, and every request with it.
    pub(crate) deadline: Instant,
}

/// The hooks of one call.
pub(crate) struct Hooks(pub(crate) Arc<Egress>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let egress = Arc::clone(&self.0);
        Box::new(async move {
            let response = send::send(&egress, request, options.unwrap_or_default()).await?;
            let nothing: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, nothing))
        })
    }
}
