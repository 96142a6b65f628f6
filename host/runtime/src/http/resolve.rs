//! Resolves names for direct requests and drops addresses that are closed.
//!
//! The HTTP client connects to what [`Checked`] returns and to nothing else, so an answer that changes between check
//! and use changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pilothouse_core::grant::Network;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address;

/// Looks up the addresses of a name.
#[async_trait::async_trait]
pub(crate) trait Lookup: Send + Sync {
    /// Returns the addresses, best first.
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub(crate) struct SystemLookup;

#[async_trait::async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Every address of a name is closed to the plugin.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the address {address} is {word}")]
pub(super) struct AddressClosed {
    pub(super) address: IpAddr,
    pub(super) word: &'static str,
}

/// No address was found.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub(super) struct NameUnknown;

/// Resolves names to open addresses only.
pub(super) struct Checked {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) networks: Vec<Network>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = Arc::clone(&self.lookup);
        let networks = self.networks.clone();
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await.map_err(|_| NameUnknown)?;
            let first_closed = found.iter().find_map(|ip| Some((*ip, address::closed(*ip, &networks)?)));
            let open: Vec<SocketAddr> = found
                .into_iter()
                .filter(|ip| address::closed(*ip, &networks).is_none())
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            match (open.is_empty(), first_closed) {
                (false, _) => Ok(Box::new(open.into_iter()) as Addrs),
                (true, Some((address, word))) => Err(AddressClosed { address, word }.into()),
                (true, None) => Err(NameUnknown.into()),
            }
        })
    }
}
