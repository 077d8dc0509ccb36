//! Servers that `wslab bench` starts for itself: a shell command each, waited for until its port accepts, ended by its number.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{error::Error, interrupt::Interrupt};

/// How long a server may take until it accepts.
const START: Duration = Duration::from_secs(15);
/// How long it may take to end when asked to.
const END: Duration = Duration::from_secs(5);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

/// A server that ends with this value.
#[derive(Debug)]
pub(super) struct Spawned {
    child: Child,
}

impl Spawned {
    /// Starts it. Its output goes to our stderr: stdout is the result's. Whoever accepts at one of the addresses already would
    /// be measured in its place.
    pub(super) fn start(command: &str, addrs: &[SocketAddr]) -> Result<Spawned, Error> {
        if let Some(addr) = addrs.iter().find(|addr| accepts(addr)) {
            return Err(Error::Unreached(format!(
                "wslab: somebody accepts at {addr} already, and not the server of --spawn: end it, or leave --spawn out"
            )));
        }
        let fail = |source| Error::System { doing: "start the server of --spawn", source };
        let stderr = rustix::io::dup(rustix::stdio::stderr()).map_err(|errno| fail(errno.into()))?;
        let child = Command::new("sh")
            .arg("-c")
            .arg(becoming(command))
            .stdin(Stdio::null())
            // Ctrl-C is for us: the server ends when its last connection has been measured.
            .process_group(0)
            .stdout(Stdio::from(stderr))
            .spawn()
            .map_err(fail)?;
        Ok(Spawned { child })
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until one of the addresses accepts.
    pub(super) fn wait_until_ready(&mut self, addrs: &[SocketAddr], interrupt: &Interrupt) -> Result<(), Error> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline && !interrupt.seen() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Error::Unreached(format!(
                    "wslab: the server of --spawn ended before it accepted: {status}"
                )));
            }
            if addrs.iter().any(accepts) {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        let addrs: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
        Err(Error::Unreached(format!(
            "wslab: the server of --spawn accepts nothing at {} within {} s: does it listen there?",
            addrs.join(", "),
            START.as_secs()
        )))
    }

    fn end(&mut self) -> io::Result<()> {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

fn accepts(addr: &SocketAddr) -> bool {
    TcpStream::connect_timeout(addr, Duration::from_secs(1)).is_ok()
}

/// The shell becomes the server, so that the number is the server's. Variables before it are for `env`.
fn becoming(command: &str) -> String {
    let first = command.split_whitespace().next().unwrap_or_default();
    let is_variable = first
        .split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()));
    if is_variable { format!("exec env {command}") } else { format!("exec {command}") }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.end();
        }
    }
}
