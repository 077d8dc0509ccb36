//! sockudo-ws: its own request parser, and permessage-deflate for those who offer it. Timers of its own are off, as elsewhere.

use bytes::{Bytes, BytesMut};
use sockudo_ws::{
    CompressedWebSocketStream, Config, Message, WebSocketStream,
    deflate::{DeflateConfig, DeflateNegotiation, negotiate_server_deflate},
    handshake::{build_response, generate_accept_key, parse_request},
};
use std::process::ExitCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEAD_BYTES_MAX: usize = 16 << 10;

fn main() -> ExitCode {
    peers::serve(|mut stream| async move {
        let Some((deflate, rest)) = accept(&mut stream).await else { return };
        let config =
            Config::builder().max_payload_length(peers::MESSAGE_BYTES_MAX).idle_timeout(0).auto_ping(false).build();
        let is_data = |message: &Message| matches!(message, Message::Text(_) | Message::Binary(_));
        match deflate {
            Some(deflate) => {
                let socket =
                    CompressedWebSocketStream::server_with_leftover(stream, config, deflate.config, Some(rest));
                peers::echo(socket, is_data).await;
            }
            None => peers::echo(WebSocketStream::server(stream, config), is_data).await,
        }
    })
}

/// The opening handshake: what was agreed to, and octets that came behind the request.
async fn accept(stream: &mut TcpStream) -> Option<(Option<DeflateNegotiation>, Bytes)> {
    let mut head = BytesMut::with_capacity(4096);
    while head.len() < HEAD_BYTES_MAX && stream.read_buf(&mut head).await.ok()? > 0 {
        let Some((request, head_len)) = parse_request(&head).ok()? else { continue };
        let policy = DeflateConfig { compression_level: 1, ..DeflateConfig::default() };
        let deflate = request.extensions.and_then(|offers| negotiate_server_deflate(offers, &policy));
        let extensions = deflate.as_ref().map(DeflateNegotiation::to_response_header);
        let response = build_response(&generate_accept_key(request.key), None, extensions.as_deref());
        stream.write_all(&response).await.ok()?;
        return Some((deflate, head.split_off(head_len).freeze()));
    }
    None
}
