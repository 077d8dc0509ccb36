//! tokio-tungstenite: the usual choice. Its read buffer is its default of 128 KiB.

use std::process::ExitCode;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

fn main() -> ExitCode {
    peers::serve(|stream| async move {
        let config = WebSocketConfig::default()
            .max_message_size(Some(peers::MESSAGE_BYTES_MAX))
            .max_frame_size(Some(peers::MESSAGE_BYTES_MAX));
        if let Ok(socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await {
            peers::echo(socket, |message: &Message| message.is_text() || message.is_binary()).await;
        }
    })
}
