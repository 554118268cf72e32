//! Kernel TLS (Documentation/networking/tls.rst): what this kernel can, keys to the kernel, control records,
//! and the pipes through which bytes pass from socket to socket.
//!
//! Imports nothing of ours, so that everybody may use it. Does not know what a record means, nor decides which
//! connection is offloaded. [`sys`] is the agent's only unsafe module.

mod driver;
mod key;
mod limit;
mod pipe;
mod probe;
mod receive;
pub mod sys;
mod transmit;

pub use key::Key;
pub use limit::KeyLimit;
pub use pipe::{Pipe, limit_pipes};
pub use probe::{Capabilities, CipherSpeed, Missing, probe};
pub use receive::Receive;
pub use transmit::Transmit;

use std::{io, os::fd::AsFd};

/// Makes a socket ready for keys. To be done before the handshake: once the peer has ended its direction it is
/// too late. Until a key is set the socket is a plain one.
///
/// # Errors
/// `ENOENT` when the kernel has no module `tls`, `ENOTCONN` when the socket is not established.
pub fn prepare(socket: impl AsFd) -> io::Result<()> {
    sys::enable_tls(socket)
}

/// Why a key is not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("the kernel's TLS does not know {0:?}")]
    Suite(rustls::CipherSuite),
    #[error("{half} key: {source}")]
    Kernel {
        half: &'static str,
        source: io::Error,
    },
}
