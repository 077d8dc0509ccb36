//! wss: versions, ALPN, records of any size, and the local certificate.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    thread,
};

use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};

use crate::support::{
    client::{Door, End, client_config, tls_over},
    process::Serve,
    wire::{PEER, SERVER, show},
};

/// A client that speaks one version only.
fn only(version: &'static SupportedProtocolVersion, ca: &Path) -> ClientConfig {
    let roots = {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        roots
    };
    ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth()
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let server = Serve::start(&[]);
    for (version, expected) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let door = Door::wss_with(server.wss_addr(), only(version, &server.ca()).into());
        let mut client = door.open();
        assert_eq!(client.tls().protocol_version(), Some(expected));
        client.expect_echo("hello");
        let large = PEER.binary(&vec![7; 300_000]);
        client.send(&large);
        assert_eq!(client.frame().payload, vec![7; 300_000], "{expected:?}");
        client.send(&PEER.close(1000));
        let (octets, end) = client.rest();
        assert_eq!((show(&octets), end), (show(&SERVER.close(1000)), End::Clean), "close_notify with {expected:?}");
    }
}

#[test]
fn alpn_is_http_1_1_or_nothing() {
    let server = Serve::start(&[]);
    // What is offered, and what is agreed on; `None`: no connection.
    for (offered, expected) in [
        (&[][..], Some("none")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2", "http/1.1"], Some("http/1.1")),
        (&["h2"], None),
    ] {
        let mut config = client_config(&server.ca());
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let agreed = tls_over(server.wss().tcp(), config.into(), "localhost").ok().map(|stream| {
            let name = stream.conn.alpn_protocol().unwrap_or(b"none");
            String::from_utf8_lossy(name).into_owned()
        });
        assert_eq!(agreed.as_deref(), expected, "{offered:?}");
    }
}

#[test]
fn the_local_certificate_is_for_localhost_and_its_addresses_and_nobody_else() {
    let server = Serve::start(&[]);
    let config = Arc::new(client_config(&server.ca()));
    for (name, trusted) in
        [("localhost", true), ("127.0.0.1", true), ("::1", true), ("example.com", false), ("127.0.0.2", false)]
    {
        let tls = tls_over(server.wss().tcp(), config.clone(), name);
        assert_eq!(tls.is_ok(), trusted, "{name}: {:?}", tls.err());
    }
    // Who does not know the CA does not trust it.
    let other = Serve::start(&[]);
    assert!(tls_over(server.wss().tcp(), client_config(&other.ca()).into(), "localhost").is_err());
    server.wss().open().expect_echo("others are served");
}

/// What stands in a folder: names and contents.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn the_local_certificate_is_made_once_and_its_key_is_for_the_owner_alone() {
    let server = Serve::start(&[]);
    let (ca, folder) = (server.ca(), server.folder().clone());
    let place = folder.path().join("wslab").join("tls");
    assert!(ca.starts_with(&place), "{} under the XDG data folder", ca.display());
    let before = contents(&place);
    let keys = before.iter().filter(|(_, octets)| octets.windows(11).any(|window| window == b"PRIVATE KEY"));
    let keys: Vec<&String> = keys.map(|(name, _)| name).collect();
    assert!(!keys.is_empty() && !fs::read_to_string(&ca).unwrap().contains("PRIVATE"), "{keys:?}");
    for name in keys {
        let mode = fs::metadata(place.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop(server);

    let again =
        Serve::launch(&["--no-tls=false", "--listen", "off", "--listen-tls", "127.0.0.1:0"], &[], |_| {}, folder);
    assert_eq!(again.ca(), ca);
    again.wss().open().expect_echo("the same CA");
    assert_eq!(contents(&place), before, "nothing was made anew");
}

#[test]
fn servers_that_start_at_once_share_one_local_certificate() {
    let folder = Serve::folder_of_its_own();
    let starting: Vec<_> = (0..4)
        .map(|_| {
            let folder = folder.clone();
            thread::spawn(move || {
                Serve::launch(&["--listen", "off", "--listen-tls", "127.0.0.1:0"], &[], |_| {}, folder)
            })
        })
        .collect();
    let servers: Vec<Serve> = starting.into_iter().map(|thread| thread.join().unwrap()).collect();
    let ca = servers[0].ca();
    for server in &servers {
        assert_eq!(server.ca(), ca);
        Door::wss(server.wss_addr(), &ca).open().expect_echo("one CA for all");
    }
}

#[test]
fn certificates_of_the_operators_are_served_and_no_ca_is_named() {
    let maker = Serve::start(&[]);
    let place = maker.ca().parent().unwrap().to_owned();
    let (cert, key) = (place.join("leaf.pem"), place.join("leaf-key.pem"));
    let server = Serve::start(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    assert!(server.ready["ca"].is_null(), "{}", server.ready);
    assert_eq!(contents(server.folder().path()).len(), 0, "no local certificate is made");
    Door::wss(server.wss_addr(), &maker.ca()).open().expect_echo("hello");
}

#[test]
fn without_tls_no_certificate_is_made_and_none_is_named() {
    let server = Serve::start_plain(&[]);
    assert!(server.ready["ca"].is_null() && server.ready["wss"] == serde_json::json!([]), "{}", server.ready);
    assert_eq!(fs::read_dir(server.folder().path()).unwrap().count(), 0);
    server.ws().open().expect_echo("hello");
}

#[test]
fn records_of_any_size_carry_the_same_stream() {
    let server = Serve::start(&[]);
    let payload: Vec<u8> = (0..70_000u32).map(|at| (at % 251) as u8).collect();
    let message = PEER.binary(&payload);
    for record in [1, 5, 100, 1000, 16_384] {
        let mut client = server.wss().open();
        // The smallest ones for a part of it only: each is a system call.
        let (small, rest) = message.split_at(message.len().min(record * 500));
        client.send_in_pieces(small, record);
        client.send(rest);
        assert!(client.frame().payload == payload, "records of {record}");
    }
}

#[test]
fn the_records_of_tls_may_be_cut_anywhere() {
    // Ciphertext, octet by octet from the ClientHello on: the server sees every possible partial record.
    let server = Serve::start(&[]);
    let config = Arc::new(client_config(&server.ca()));
    let tcp = server.wss().tcp();
    let mut tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut socket = OneOctet(tcp);
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let octets = [crate::support::http::UPGRADE.as_bytes(), &PEER.text("cut"), &PEER.close(1000)].concat();
    stream.write_all(&octets).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", show(&answer));
    let expected = [SERVER.text("cut"), SERVER.close(1000)].concat();
    assert!(answer.ends_with(&expected), "{}", show(&answer));
}

/// A socket that takes and gives one octet at a time.
struct OneOctet(TcpStream);

impl io::Read for OneOctet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for OneOctet {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(&octets[..octets.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_key_is_never_printed() {
    let folder = Serve::folder_of_its_own();
    let server = Serve::launch(&["--listen", "off", "--listen-tls", "127.0.0.1:0"], &["-vv"], |_| {}, folder);
    server.wss().open().expect_echo("hello");
    let key = fs::read_to_string(server.ca().with_file_name("leaf-key.pem")).unwrap();
    let secret = key.lines().nth(1).expect("base64").to_owned();
    let ended = server.end_by(rustix::process::Signal::TERM);
    assert!(!ended.stdout.contains(&secret) && !ended.stderr.contains(&secret));
    assert!(ended.stderr.contains("\"hello\""), "the log of frames was on: {}", ended.stderr);
}
