//! The files in `config/` for what stands in front: HAProxy and nginx, run for real with only their ports changed, and
//! systemd's units, checked by systemd. Where a program is not installed its test says so and passes: see config/README.md.

#![allow(clippy::print_stderr)]

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    client::Door,
    process::{Process, Serve},
    wire::PEER,
};

/// Where the clients of these tests are.
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 5));

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// Whether the program can be run; if not, says that the test was skipped.
fn is_installed(program: &str, package: &str) -> bool {
    let probe = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_err() {
        eprintln!("SKIPPED: {program} is not installed: apt-get install {package}");
    }
    probe.is_ok()
}

/// The ports of a proxy's file, and the free ones that a test uses for them.
struct Ports {
    http: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
}

impl Ports {
    fn free() -> Ports {
        // Held together, so that they differ.
        let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addr = |at: usize| held[at].local_addr().unwrap();
        Ports { http: addr(0), tcp: addr(1), tls: addr(2) }
    }

    /// The file as it is checked in, on these ports.
    fn substitute(&self, name: &str, server: &Serve) -> String {
        let mut text = fs::read_to_string(config(name)).unwrap();
        for (port, addr) in [
            ("127.0.0.1:8080", self.http),
            ("127.0.0.1:8081", self.tcp),
            ("127.0.0.1:8443", self.tls),
            ("127.0.0.1:8888", server.ws_addr()),
            ("127.0.0.1:8889", server.wss_addr()),
        ] {
            assert!(text.contains(port), "{port} in {name}");
            text = text.replace(port, &addr.to_string());
        }
        text
    }

    /// Until the proxy accepts on all of them.
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        for addr in [self.http, self.tcp, self.tls] {
            while TcpStream::connect(addr).is_err() {
                assert!(Instant::now() < deadline, "nobody accepts on {addr}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn doors(&self, server: &Serve) -> [(&'static str, Door); 3] {
        let tls = Door::wss(self.tls, &server.ca());
        [("http", Door::ws(self.http)), ("tcp", Door::ws(self.tcp)), ("tls", tls)]
    }
}

/// A message of every kind of size goes through and comes back, and the closing handshake does. Returns the client's address.
fn converse(door: &Door) -> SocketAddr {
    let mut client = door.over(door.tcp_from(CLIENT));
    client.upgrade();
    for len in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        client.expect_echo(&"x".repeat(len));
    }
    client.send(&PEER.ping(b"through"));
    assert_eq!(client.frame().payload, b"through");
    client.send(&PEER.close(1000));
    assert_eq!(client.frame().close_code(), Some(1000));
    client.tcp().local_addr().unwrap()
}

#[test]
fn haproxy_passes_messages_and_addresses_on() {
    if !is_installed("haproxy", "haproxy") {
        return;
    }
    let mut server = Serve::start(&["--proxy-protocol", "require", "--proxy-from", "127.0.0.1", "-v"]);
    let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let file = folder.path().join("haproxy.cfg");
    // A test machine may not allow as many open files.
    let text = ports.substitute("haproxy.cfg", &server).replacen("maxconn 10000", "maxconn 100", 1);
    let text = text.replacen("check inter 2s", "check inter 20ms", 1);
    fs::write(&file, text).unwrap();
    let _haproxy = Process::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file));
    ports.wait();
    for (name, door) in ports.doors(&server) {
        let client = converse(&door);
        let line = server.process.stderr_line_with(&format!("peer={client} via=127.0.0.1:"));
        assert!(line.contains(&format!("tls={}", name == "tls")), "{name}: {line}");
    }
    // HAProxy has looked whether the server lives, and found that it does.
    server.process.stderr_line_with("closed: answered with 200");
    let [(_, http), ..] = ports.doors(&server);
    converse(&http);
}

#[test]
fn nginx_passes_messages_and_by_streams_addresses_on() {
    if !is_installed("nginx", "nginx libnginx-mod-stream") {
        return;
    }
    if !Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists() {
        return eprintln!("SKIPPED: nginx has no stream module: apt-get install libnginx-mod-stream");
    }
    let mut server = Serve::start(&["--proxy-protocol", "on", "--proxy-from", "127.0.0.1", "-v"]);
    let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let path = |name: &str| folder.path().join(name).display().to_string();
    // Nobody's files but the test's.
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {};\n", path(name)))
        .concat();
    let text = ports.substitute("nginx.conf", &server).replacen("http {\n", &format!("http {{\n{temporary}"), 1);
    fs::write(path("nginx.conf"), text).unwrap();
    let mut command = Command::new("nginx");
    let globals = format!("daemon off; master_process off; pid {}; error_log stderr;", path("nginx.pid"));
    command.args(["-p", &path(""), "-c", &path("nginx.conf"), "-e", "stderr", "-g", &globals]);
    let _nginx = Process::start(&mut command);
    ports.wait();
    for (name, door) in ports.doors(&server) {
        let client = converse(&door);
        if name == "http" {
            // nginx's own address: what a request says of its client is not believed.
            server.process.stderr_line_with("peer=127.0.0.1:");
        } else {
            server.process.stderr_line_with(&format!("peer={client} via=127.0.0.1:"));
        }
    }
}

#[test]
fn systemd_takes_the_units() {
    let probe = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status();
    if probe.is_err() {
        return eprintln!("SKIPPED: systemd-analyze is not installed: apt-get install systemd");
    }
    let folder = tempfile::tempdir().unwrap();
    // As they are checked in, but for the place of the program, which must exist.
    let service = fs::read_to_string(config("wslab.service")).unwrap();
    assert!(service.contains("/usr/local/bin/wslab"));
    fs::write(
        folder.path().join("wslab.service"),
        service.replace("/usr/local/bin/wslab", env!("CARGO_BIN_EXE_wslab")),
    )
    .unwrap();
    fs::copy(config("wslab.socket"), folder.path().join("wslab.socket")).unwrap();
    let verify = |folder: &Path| {
        let units = ["wslab.service", "wslab.socket"].map(|name| folder.join(name));
        let mut command = Command::new("systemd-analyze");
        // Other units of the machine are not ours to judge.
        Process::start(command.args(["verify", "--man=no", "--recursive-errors=no"]).args(units)).wait()
    };
    let verified = verify(folder.path());
    let ours: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("wslab")).collect();
    assert_eq!((verified.code, ours), (Some(0), Vec::new()), "{verified:?}");
    // A mistake would be seen.
    let broken =
        fs::read_to_string(folder.path().join("wslab.service")).unwrap().replace("ProtectHome=yes", "ProtectHomes=yes");
    fs::write(folder.path().join("wslab.service"), broken).unwrap();
    assert!(verify(folder.path()).stderr.contains("ProtectHomes"), "an unknown key is told");

    fs::write(folder.path().join("wslab.service"), &service).unwrap();
    let mut command = Command::new("systemd-analyze");
    let security = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    let judged = Process::start(command.args(security).arg(folder.path().join("wslab.service"))).wait();
    assert_eq!(judged.code, Some(0), "exposure above 2.0 of 10:\n{}{}", judged.stdout, judged.stderr);
}
