//! tokio-websockets, which sends a message as one frame of any size when told so.

use std::process::ExitCode;
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

fn main() -> ExitCode {
    peers::serve(|stream| async move {
        let server = ServerBuilder::new()
            .config(Config::default().frame_size(peers::MESSAGE_BYTES_MAX))
            .limits(Limits::default().max_payload_len(Some(peers::MESSAGE_BYTES_MAX)));
        if let Ok((_, socket)) = server.accept(stream).await {
            peers::echo(socket, |message: &Message| message.is_text() || message.is_binary()).await;
        }
    })
}
