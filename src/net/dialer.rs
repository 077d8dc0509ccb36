//! Connecting without blocking, in steps: a socket, the beginning, and the outcome when the poll says writable.

use std::{io, net::SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// A socket that can connect to this address, with `TCP_NODELAY`. It is made apart from [`begin`], so that what else a connection needs
/// is ready before its time counts.
///
/// # Errors
/// Whatever `socket` or `setsockopt` said.
pub fn socket(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
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
