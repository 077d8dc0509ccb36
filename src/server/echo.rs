//! The handler that sends every message back: the whole of `wslab serve`'s application.

use crate::{
    proto::{Message, Sender},
    session::{ConnId, Handler},
};

/// Echoes text as text and binary as binary. No greeting, no unsolicited frame.
///
/// ```no_run
/// use wslab::server::{Config, Echo, Server};
/// let config = Config { listen: vec!["127.0.0.1:8888".parse().unwrap()], ..Config::default() };
/// Server::bind(&config, Echo).unwrap().run().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Handler for Echo {
    // At its place in the pump's loop the message and the sender stay in registers.
    #[inline(always)]
    fn on_message(&mut self, _: ConnId, message: Message<'_>, mut sender: Sender<'_>) {
        // Closing meanwhile: then the echo is not wanted any more.
        let _ = sender.reply(message);
    }
}
