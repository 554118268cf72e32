//! The server: a thread per bulk transfer, a few threads with epoll for everything else.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{REQUEST_LENGTH, RESPONSE_LENGTH, opening};

const BACKLOG: i32 = 4096;
/// More would not be busy.
const MOST_WORKERS: usize = 4;
const SINK: usize = 256 * 1024;
/// No connection's: those are known by their descriptors.
const LISTENER: u64 = u64::MAX;

/// Listens, and serves from threads of its own until the process ends.
///
/// # Errors
/// When the address can't be listened on.
pub(super) fn start(at: SocketAddr) -> Result<()> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into()).with_context(|| at.to_string())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = Arc::new(TcpListener::from(socket));
    for _ in 0..thread::available_parallelism()?.get().min(MOST_WORKERS) {
        let mut worker = Worker::new(Arc::clone(&listener))?;
        thread::spawn(move || {
            if let Err(error) = worker.run() {
                eprintln!("server: {error:#}");
            }
        });
    }
    Ok(())
}

struct Worker {
    listener: Arc<TcpListener>,
    epoll: OwnedFd,
    connections: HashMap<u64, Connection>,
}

/// A connection that talks.
struct Connection {
    stream: TcpStream,
    opened: bool,
    /// Of the current request.
    received: usize,
}

/// What becomes of a connection after what it said.
enum Next {
    Stays,
    Bulk,
    Over,
}

impl Worker {
    fn new(listener: Arc<TcpListener>) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Of the workers that wait, one is woken.
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), flags)?;
        Ok(Self {
            listener,
            epoll,
            connections: HashMap::new(),
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(128);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    connection => self.listen(connection)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let key = u64::try_from(stream.as_raw_fd())?;
                epoll::add(
                    &self.epoll,
                    &stream,
                    EventData::new_u64(key),
                    EventFlags::IN,
                )?;
                let connection = Connection {
                    stream,
                    opened: false,
                    received: 0,
                };
                self.connections.insert(key, connection);
                Ok(())
            }
            // Another worker was quicker, or the client has given up.
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error).context("accepting"),
        }
    }

    fn listen(&mut self, key: u64) -> Result<()> {
        let Some(connection) = self.connections.get_mut(&key) else {
            return Ok(());
        };
        match connection.listen() {
            Ok(Next::Stays) => {}
            Ok(Next::Bulk) => {
                if let Some(connection) = self.connections.remove(&key) {
                    epoll::delete(&self.epoll, &connection.stream)?;
                    thread::spawn(move || {
                        if let Err(error) = sink(connection.stream) {
                            eprintln!("bulk transfer: {error}");
                        }
                    });
                }
            }
            // Its client sees the end, and counts.
            Ok(Next::Over) | Err(_) => {
                self.connections.remove(&key);
            }
        }
        Ok(())
    }
}

impl Connection {
    fn listen(&mut self) -> io::Result<Next> {
        let mut buffer = [0; 1 + REQUEST_LENGTH];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(Next::Over),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Stays),
            Err(error) => return Err(error),
        };
        let mut request = &buffer[..length];
        if !self.opened {
            self.opened = true;
            let first = request[0];
            request = &request[1..];
            if first != opening::REQUEST {
                self.stream.write_all(&[opening::GREETING])?;
            }
            if first == opening::BULK {
                return Ok(Next::Bulk);
            }
        }
        self.received += request.len();
        if self.received >= REQUEST_LENGTH {
            self.received = 0;
            // A client asks once at a time: there is always room for an answer.
            self.stream.write_all(&[b'.'; RESPONSE_LENGTH])?;
        }
        Ok(Next::Stays)
    }
}

/// Reads to the end, then says how much it was.
fn sink(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut buffer = vec![0; SINK];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&count.to_be_bytes()),
            length => count += length as u64,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted
    )
}
