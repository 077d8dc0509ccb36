//! Commands to running loops from other threads: a channel and a waker each.

use std::sync::{Arc, mpsc::Sender};

use mio::{Token, Waker};

/// What a loop can be told.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Drain,
    Stop,
    ReloadTls(Arc<rustls::ServerConfig>),
}

/// Speaks to one or several running loops. Cheap to clone; a loop that has ended hears nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    loops: Vec<(Sender<Command>, Arc<Waker>)>,
}

impl Handle {
    /// A handle to one loop, which gets what is sent, and is woken by that token.
    pub(super) fn new(sender: Sender<Command>, registry: &mio::Registry, token: usize) -> std::io::Result<Self> {
        let waker = Arc::new(Waker::new(registry, Token(token))?);
        Ok(Handle { loops: vec![(sender, waker)] })
    }

    pub(super) fn join(handles: impl IntoIterator<Item = Handle>) -> Self {
        Handle { loops: handles.into_iter().flat_map(|handle| handle.loops).collect() }
    }

    /// Ends in order: no new connections, Close 1001 to all, at most `Config::grace` until the last is gone.
    pub fn drain(&self) {
        self.send(&Command::Drain);
    }

    /// Ends now: sockets are closed as they are.
    pub fn stop(&self) {
        self.send(&Command::Stop);
    }

    /// New connections get this certificate; those there are keep theirs.
    pub fn reload_tls(&self, config: Arc<rustls::ServerConfig>) {
        self.send(&Command::ReloadTls(config));
    }

    fn send(&self, command: &Command) {
        for (sender, waker) in &self.loops {
            // Either fails only when the loop has ended.
            if sender.send(command.clone()).is_ok() {
                let _ = waker.wake();
            }
        }
    }
}
