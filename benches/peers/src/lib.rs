//! What the peers share: a loop on one thread that accepts with TCP_NODELAY, and the echo of whatever is a stream and a sink of messages.
//!
//! Each peer is `peer-NAME PORT`; port 0 takes a free one. The only line on stdout is its URL, once it accepts.

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use std::{future::Future, io, io::Write, net::SocketAddr, process::ExitCode};
use tokio::net::{TcpSocket, TcpStream};

/// What a peer takes, whole or in one frame; as much as `wslab serve` by default.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Connections that wait to be accepted; as many as with `wslab serve`.
pub const BACKLOG: u32 = 4096;

/// Serves until killed, each connection in a task of its own on this thread.
pub fn serve<F, Fut>(handle: F) -> ExitCode
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    finish(tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(address()?)?;
            let listener = socket.listen(BACKLOG)?;
            announce(listener.local_addr()?)?;
            loop {
                let (stream, _) = listener.accept().await?;
                // Not this server's fault: who is gone already is noticed at the first read.
                let _ = stream.set_nodelay(true);
                // As in the crates' own examples: tokio's budget would only cut a busy connection's turn short.
                tokio::spawn(tokio::task::unconstrained(handle(stream)));
            }
        })
    }))
}

/// Echoes the messages that `is_data`, until the other side is gone. All that has arrived is answered with one flush.
/// Pings and closes are answered by the crates.
pub async fn echo<S, M, E>(mut socket: S, is_data: impl Fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    while let Some(Ok(first)) = socket.next().await {
        let mut message = first;
        loop {
            if is_data(&message) && socket.feed(message).await.is_err() {
                return;
            }
            match socket.next().now_or_never() {
                Some(Some(Ok(next))) => message = next,
                Some(_) => {
                    let _ = socket.flush().await;
                    return;
                }
                None => break,
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Where to listen: the first argument is the port.
///
/// # Errors
/// There is none, or it is no port.
pub fn address() -> io::Result<SocketAddr> {
    let port = std::env::args().nth(1).and_then(|argument| argument.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("expected a port as the only argument"))?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Says on stdout that connections are accepted.
///
/// # Errors
/// Nobody reads it.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ws://{address}/")?;
    stdout.flush()
}

/// The exit code of a server, and a line on stderr where it could not serve.
pub fn finish(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot serve: {error}");
            ExitCode::from(3)
        }
    }
}
