//! Connecting without blocking, in steps: a socket, the beginning, and the outcome when the poll says writable.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What a socket is made with beside its destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The address to connect from; the system chooses the port, and without this the address too.
    pub source: Option<IpAddr>,
    /// Octets of the kernel's receive buffer: less than the system's own choice, for a peer that reads slowly.
    pub receive_buffer: Option<usize>,
}

/// A socket that can connect to this address, with `TCP_NODELAY`. It is made apart from [`begin`], so that what else a connection needs
/// is ready before its time counts.
///
/// # Errors
/// Whatever `socket`, `setsockopt` or `bind` said.
pub fn socket(addr: SocketAddr, origin: Origin) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(octets) = origin.receive_buffer {
        // Before connecting: it decides about the window that is announced.
        socket.set_recv_buffer_size(octets)?;
    }
    if let Some(source) = origin.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Begins to connect. Register the socket, and ask [`outcome`] at each event until there is one.
///
/// # Errors
/// Whatever `connect` said at once: no route, no free port.
pub fn begin(socket: &TcpStream, addr: SocketAddr) -> io::Result<()> {
    const EINPROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 115 } else { 36 };
    match SockRef::from(socket).connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// Whether the socket is connected by now; `false`: still under way.
///
/// # Errors
/// Why it never will be.
pub fn outcome(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
