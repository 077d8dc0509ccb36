//! yawc behind hyper, with its SIMD feature, checks of UTF-8, and permessage-deflate for those who offer it.

use futures_util::StreamExt;
use http_body_util::Empty;
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, process::ExitCode};
use yawc::{CompressionLevel, Frame, OpCode, Options, WebSocket, WebSocketError};

fn main() -> ExitCode {
    peers::serve(|stream| async move {
        let service = service_fn(|request| async { open(request) });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    })
}

fn open(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    // Its bounds are exclusive.
    let options = Options::default()
        .with_utf8()
        .with_limits(peers::MESSAGE_BYTES_MAX + 1, 2 * peers::MESSAGE_BYTES_MAX)
        .with_compression_level(CompressionLevel::fast());
    let (response, socket) = WebSocket::upgrade_with_options(&mut request, options)?;
    tokio::spawn(tokio::task::unconstrained(async {
        if let Ok(socket) = socket.await {
            let is_data = |frame: &Frame| matches!(frame.opcode(), OpCode::Text | OpCode::Binary);
            peers::echo(socket.map(Ok::<_, Infallible>), is_data).await;
        }
    }));
    Ok(response)
}
