//! Why a host does not start, with what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder cannot be made.
    #[error("cannot use the data folder `{}`", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The store cannot be opened: in use, damaged, made by a newer version.
    #[error(transparent)]
    Store(#[from] pilothouse_store::StoreError),
    /// The sandbox cannot be set up.
    #[error(transparent)]
    Runtime(#[from] pilothouse_runtime::RuntimeError),
    /// The folder for jobs cannot be used.
    #[error("cannot use the folder for jobs")]
    Jobs(#[source] std::io::Error),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// The tokens could not be read or the first one not be made.
    #[error("cannot read the tokens")]
    Tokens(#[from] crate::auth::TokenError),
    /// The key of the secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] crate::secrets::SecretError),
    /// The HTTP client could not be made.
    #[error("cannot set up TLS")]
    Client(#[source] reqwest::Error),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] crate::otlp::TracesError),
    /// Where this program lies is unknown.
    #[error("cannot find the path of this program, which supervises jobs")]
    Program(#[source] std::io::Error),
    /// A thread ended early.
    #[error("starting was interrupted: {0}")]
    Interrupted(String),
    /// Something listens there already.
    #[error("something listens on {0} already; stop it, or choose another address with --listen")]
    AddressInUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

/// Opens the socket.
///
/// # Errors
/// The port is in use, reserved, or the address is not of this machine.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::AddressInUse(address),
        _ => ServeError::Bind { address, error },
    })
}
