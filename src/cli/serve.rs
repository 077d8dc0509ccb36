//! `wslab serve`: from settings to running loops, and from signals to their end.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::mpsc::channel,
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
    descriptors::{self, Room},
    error::{Error, reason},
    inherited::{self, Passed},
    logging::Logging,
    options::{Format, Options},
    ready::Ready,
    settings::{Origin, Settings},
    supervisor::{self, State},
    units::show_duration,
};
use crate::server::{BindError, Config, Echo, Handle, Inherited, Workers};

/// Serves until a signal ends it.
pub(super) fn serve(settings: &Settings, no_color: bool, out: &mut dyn Write) -> Result<(), Error> {
    // Before there are threads.
    let passed = inherited::take()?;
    let room = descriptors::make_room(&settings.options)?;
    let logging = Logging::start(&settings.options, no_color);
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let result = run(settings, passed, &room, &logging, out);
    logging.finish();
    result
}

fn run(settings: &Settings, passed: Passed, room: &Room, logging: &Logging, out: &mut dyn Write) -> Result<(), Error> {
    let options = &with_addresses_of(settings, &passed)?;
    let are_passed = [!passed.doors.is_empty(), passed.admin.is_some()];
    // Before anything is announced: whoever reads the ready line may send a signal at once.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|source| Error::System { doing: "watch for signals", source })?;

    if let Some(warning) = &room.warning {
        warn!("{warning}");
    }
    let folder = certificates::local_folder();
    let mut config = Config {
        connections_max: room.connections_max,
        turned_away_max: room.turned_away_max,
        ..options.server.clone()
    };
    let mut ca = None;
    if !config.listen_tls.is_empty() {
        let identity = certificates::load(options, folder.as_deref())?;
        config.tls = Some(identity.tls);
        ca = identity.ca;
    }
    config.time_turns = options.admin.is_some();
    config.log_frames = tracing::enabled!(target: "wslab::frame", Level::TRACE);
    let mut workers = bind(&config, options.workers, passed.doors).map_err(|error| match error {
        BindError::Config(error) => Error::Setting(format!("wslab: {error}")),
        BindError::Listen { addr, tls, source } => Error::Bind { addr, tls, source },
        BindError::Congestion { source, .. } => settings.refuse("congestion", &lack_of_congestion_control(&source)),
    })?;
    let (ws, wss) = (workers.local_addrs(), workers.local_addrs_tls());
    let admin = options.admin.map(|addr| {
        let admin = passed.admin.map_or_else(|| Admin::bind(addr), Admin::on);
        admin.map_err(|source| Error::BindAdmin { addr, source })
    });
    let admin = admin.transpose()?;
    let admin_addr = admin.as_ref().map(Admin::addr);
    let ready = Ready::new(&ws, &wss, admin_addr, ca, config.settings.policy.paths.as_deref(), std::process::id());
    workers.name_urls(&[&ready.ws[..], &ready.wss].concat());
    announce(&ready, options, logging, out);
    let [doors, desk] = are_passed.map(|passed| move |flag| if passed { "ListenStream=" } else { flag });
    warn_of_exposure(doors("--listen "), "connect", &ws);
    warn_of_exposure(doors("--listen-tls "), "connect", &wss);
    warn_of_exposure(desk("--admin "), "read what this server counts", admin_addr.as_slice());

    let handle = workers.handle();
    // It answers until the loops have ended.
    let _admin = admin
        .map(|admin| admin.start(Site::new(handle.clone(), logging.dropped_lines())))
        .transpose()
        .map_err(|source| Error::System { doing: "start the thread of the admin address", source })?;
    let wake = signals.handle();
    thread::scope(|scope| {
        scope.spawn(|| obey(&mut signals, &handle, options, folder.as_deref()));
        // Dropped with the scope's end, which ends the watch.
        let (_end, ended) = channel();
        if let Some(interval) = supervisor::watchdog_interval() {
            let handle = &handle;
            scope.spawn(move || supervisor::watch(handle, interval, &ended));
        }
        let result = workers.run();
        wake.close();
        result
    })
    .map_err(|source| Error::System { doing: "keep the event loops running", source })
}

/// Sockets that were passed take the place of addresses; what was chosen beside them is not listened on.
fn with_addresses_of(settings: &Settings, passed: &Passed) -> Result<Options, Error> {
    let mut options = settings.options.clone();
    let warn_of_choice = |name, flag| {
        let origin = settings.origin(name);
        if *origin != Origin::Default {
            warn!("LISTEN_FDS: the sockets passed replace {flag} ({origin})");
        }
    };
    if let Some(admin) = &passed.admin {
        warn_of_choice("admin", "--admin");
        options.admin =
            Some(admin.local_addr().map_err(|source| Error::System { doing: "use the admin socket passed", source })?);
    }
    let sockets = &passed.doors;
    if sockets.is_empty() {
        return Ok(options);
    }
    if options.no_tls && sockets.iter().any(|socket| socket.tls) {
        return Err(Error::Inherited(format!(
            "LISTEN_FDS: a socket for wss was passed, and no_tls ({}) is set: remove one of them",
            settings.origin("no_tls")
        )));
    }
    warn_of_choice("listen", "--listen");
    warn_of_choice("listen_tls", "--listen-tls");
    if options.workers > 1 {
        info!("LISTEN_FDS: {} workers accept from the same sockets, whoever comes first", options.workers);
    }
    let addrs = |tls| {
        sockets.iter().filter(move |socket| socket.tls == tls).filter_map(|socket| socket.listener.local_addr().ok())
    };
    (options.server.listen, options.server.listen_tls) = (addrs(false).collect(), addrs(true).collect());
    Ok(options)
}

fn bind(config: &Config, workers: usize, sockets: Vec<Inherited>) -> Result<Workers<Echo>, BindError> {
    if !sockets.is_empty() {
        return Workers::on(config, workers, sockets, Echo::default);
    }
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

/// Loudly: whoever meant a test server must not overlook it. `setting`: what stands before the address that would not do it.
fn warn_of_exposure(setting: &str, what: &str, addrs: &[SocketAddr]) {
    for addr in addrs.iter().filter(|addr| !addr.ip().is_loopback()) {
        let port = addr.port();
        warn!(
            "LISTENING ON {addr}, NOT ONLY ON THIS MACHINE: whoever reaches it can {what}; {setting}127.0.0.1:{port} keeps it local"
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
    supervisor::tell(State::Ready);
}

/// Does what signals ask for, until the iterator is closed.
fn obey(signals: &mut Signals, handle: &Handle, options: &Options, folder: Option<&Path>) {
    let mut draining = false;
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                supervisor::tell(State::Reloading);
                reload(handle, options, folder);
                supervisor::tell(State::Ready);
            }
            _ if draining => {
                info!("stopping now");
                handle.stop();
            }
            _ => {
                info!("draining: closing connections with 1001, for {} at most", show_duration(options.server.grace));
                draining = true;
                supervisor::tell(State::Stopping);
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

/// Why a congestion control can not be had.
fn lack_of_congestion_control(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => {
            "the kernel has none by that name: see net.ipv4.tcp_available_congestion_control".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "it takes CAP_NET_ADMIN, or a place in net.ipv4.tcp_allowed_congestion_control".to_owned()
        }
        _ => format!("the kernel refuses it: {}", reason(source)),
    }
}
