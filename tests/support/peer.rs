//! A server of the library's within the test, for commands and load that connect somewhere.

use std::{net::SocketAddr, thread};

use wslab::{
    proto::{Message, Sender},
    server::{Config, Handle, Server},
    session::{ConnId, Handler},
};

/// A server with this application on a thread; it ends with the value.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    handle: Handle,
}

impl Peer {
    pub(crate) fn start(handler: impl Handler + Send + 'static) -> Peer {
        let config = Config { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..Config::default() };
        let server = Server::bind(&config, handler).unwrap();
        let peer = Peer { addr: server.local_addrs()[0], handle: server.handle() };
        thread::spawn(move || server.run());
        peer
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// Does this with every message.
pub(crate) struct With<F>(pub(crate) F);

impl<F: FnMut(Message<'_>, Sender<'_>)> Handler for With<F> {
    fn on_message(&mut self, _: ConnId, message: Message<'_>, sender: Sender<'_>) {
        (self.0)(message, sender);
    }
}

pub(crate) fn echo() -> impl Handler + Send {
    With(|message: Message<'_>, mut sender: Sender<'_>| {
        let _ = sender.reply(message);
    })
}
