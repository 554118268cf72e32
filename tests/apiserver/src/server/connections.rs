//! Live connections, for what happens to all of them at once.

use std::{
    collections::HashMap,
    net::Shutdown,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

type Sockets = Arc<Mutex<HashMap<u64, Socket>>>;

/// The table of connections.
#[derive(Debug, Default)]
pub struct Connections(Sockets);

/// Removes a connection from the table when it is dropped.
pub struct Kept {
    sockets: Sockets,
    id: u64,
}

impl Connections {
    /// None when the connection's descriptor can't be duplicated.
    pub fn keep(&self, stream: &TcpStream) -> Option<Kept> {
        let socket = SockRef::from(stream).try_clone().ok()?;
        let id = fastrand::u64(..);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, socket);
        Some(Kept {
            sockets: Arc::clone(&self.0),
            id,
        })
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends all of them; those with unread data with a reset.
    pub fn reset(&self) {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.values() {
            let _ = socket.set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends the server's half of all of them.
    pub fn half_close(&self) {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.values() {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}
