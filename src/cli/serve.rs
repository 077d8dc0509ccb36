//! `wslab serve`: from settings to running loops, and from signals to their end.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::{Level, error, info, warn};

use super::{
    admin::{Admin, Site},
    certificates::{self, Identity},
    descriptors,
    error::{Error, reason},
    logging::Logging,
    options::{Format, Options},
    ready::Ready,
    settings::Settings,
    units::show_duration,
};
use crate::server::{BindError, Config, Echo, Handle, Workers};

/// Serves until a signal ends it.
pub(super) fn serve(settings: &Settings, no_color: bool, out: &mut dyn Write) -> Result<(), Error> {
    let logging = Logging::start(&settings.options, no_color);
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let result = run(&settings.options, &logging, out);
    logging.finish();
    result
}

fn run(options: &Options, logging: &Logging, out: &mut dyn Write) -> Result<(), Error> {
    // Before anything is announced: whoever reads the ready line may send a signal at once.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|source| Error::System { doing: "watch for signals", source })?;

    let room = descriptors::make_room(options);
    if let Some(warning) = &room.warning {
        warn!("{warning}");
    }
    let folder = certificates::local_folder();
    let mut config = Config { connections_max: room.connections_max, ..options.server.clone() };
    let mut ca = None;
    if !config.listen_tls.is_empty() {
        let identity = certificates::load(options, folder.as_deref())?;
        config.tls = Some(identity.tls);
        ca = identity.ca;
    }
    config.time_turns = options.admin.is_some();
    config.log_frames = tracing::enabled!(target: "wslab::frame", Level::TRACE);
    let mut workers = bind(&config, options.workers).map_err(|error| match error {
        BindError::Config(error) => Error::Setting(format!("wslab: {error}")),
        BindError::Listen { addr, tls, source } => Error::Bind { addr, tls, source },
    })?;
    let (ws, wss) = (workers.local_addrs(), workers.local_addrs_tls());
    let admin =
        options.admin.map(|addr| Admin::bind(addr).map_err(|source| Error::BindAdmin { addr, source })).transpose()?;
    let admin_addr = admin.as_ref().map(Admin::addr);
    let ready = Ready::new(&ws, &wss, admin_addr, ca, config.settings.policy.paths.as_deref(), std::process::id());
    workers.name_urls(&[&ready.ws[..], &ready.wss].concat());
    announce(&ready, options, logging, out);
    warn_of_exposure("--listen", "connect", &ws);
    warn_of_exposure("--listen-tls", "connect", &wss);
    warn_of_exposure("--admin", "read what this server counts", admin_addr.as_slice());

    let handle = workers.handle();
    // It answers until the loops have ended.
    let _admin = admin
        .map(|admin| admin.start(Site::new(handle.clone(), logging.dropped_lines())))
        .transpose()
        .map_err(|source| Error::System { doing: "start the thread of the admin address", source })?;
    let wake = signals.handle();
    thread::scope(|scope| {
        scope.spawn(|| obey(&mut signals, &handle, options, folder.as_deref()));
        let result = workers.run();
        wake.close();
        result
    })
    .map_err(|source| Error::System { doing: "keep the event loops running", source })
}

fn bind(config: &Config, workers: usize) -> Result<Workers<Echo>, BindError> {
    if workers > 1 && !config.reuse_port {
        // Workers share their ports, and the system would let another server's workers share them too. It refuses this
        // one listener if anybody is there.
        let plain = config.listen.iter().map(|&addr| (addr, false));
        for (addr, tls) in plain.chain(config.listen_tls.iter().map(|&addr| (addr, true))) {
            TcpListener::bind(addr).map_err(|source| BindError::Listen { addr, tls, source })?;
        }
    }
    Workers::bind(config, workers, Echo::default)
}

/// Loudly: whoever meant a test server must not overlook it.
fn warn_of_exposure(flag: &str, what: &str, addrs: &[SocketAddr]) {
    for addr in addrs.iter().filter(|addr| !addr.ip().is_loopback()) {
        let port = addr.port();
        warn!(
            "LISTENING ON {addr}, NOT ONLY ON THIS MACHINE: whoever reaches it can {what}; {flag} 127.0.0.1:{port} keeps it local"
        );
    }
}

/// The ready line, and for people how to try it. A stdout that is closed is no reason to stop.
fn announce(ready: &Ready, options: &Options, logging: &Logging, out: &mut dyn Write) {
    let written = out.write_all(ready.line(options.format).as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written {
        warn!("cannot write the ready line to stdout: {}", reason(&error));
    }
    // JSON on stderr stays JSON.
    if options.log_format == Format::Text {
        logging.say(&ready.banner());
    }
    if let Err(error) = notify_supervisor() {
        warn!("cannot tell the supervisor at NOTIFY_SOCKET: {}", reason(&error));
    }
}

/// `READY=1` to a supervisor that asked for it (sd_notify(3), `Type=notify`).
#[cfg(target_os = "linux")]
fn notify_supervisor() -> io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    };
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let addr = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &addr).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn notify_supervisor() -> io::Result<()> {
    Ok(())
}

/// Does what signals ask for, until the iterator is closed.
fn obey(signals: &mut Signals, handle: &Handle, options: &Options, folder: Option<&Path>) {
    let mut draining = false;
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(handle, options, folder),
            _ if draining => {
                info!("stopping now");
                handle.stop();
            }
            _ => {
                info!("draining: closing connections with 1001, for {} at most", show_duration(options.server.grace));
                draining = true;
                handle.drain();
            }
        }
    }
}

/// A new certificate for connections to come; a broken one changes nothing.
fn reload(handle: &Handle, options: &Options, folder: Option<&Path>) {
    if options.server.listen_tls.is_empty() {
        info!("nothing to reload: no listener for wss");
        return;
    }
    match certificates::load(options, folder) {
        Ok(Identity { tls, .. }) => {
            handle.reload_tls(tls);
            info!("certificate reloaded");
        }
        Err(error) => {
            let line = error.to_string();
            error!("certificate not reloaded, the old one stays: {}", line.trim_start_matches("wslab: "));
        }
    }
}
