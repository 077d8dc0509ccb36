//! The `wslab` binary as a child process: started, spoken to by signals, and ended.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;

use super::{
    PATIENCE,
    client::{Client, Door},
    wire::PEER,
};

/// A command line with an environment of its own: nothing of the machine's settings gets in, and the local CA is made in a
/// folder that goes with the test.
pub(crate) fn wslab(data_folder: &Path) -> Command {
    // Another build of it, for figures.
    let binary = std::env::var_os("WSLAB_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_wslab").into());
    let mut command = Command::new(binary);
    command.env_clear().env("XDG_DATA_HOME", data_folder).env("HOME", data_folder).stdin(Stdio::null());
    command
}

/// A `wslab` process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// It ended with this code and one line on stderr that says this.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, code: i32, said: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(said), "{said:?} in {self:?}");
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary under test starts");
        let stdout = Stream::follow(child.stdout.take().unwrap());
        let stderr = Stream::follow(child.stderr.take().unwrap());
        Process { child, stdout, stderr }
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(mut self) -> Ended {
        // The process is gone when both of its streams are: it closes neither before.
        let deadline = Instant::now() + PATIENCE;
        let (stdout, stderr) = (self.stdout.to_end(deadline), self.stderr.to_end(deadline));
        assert!(
            stdout.is_some() && stderr.is_some(),
            "no end within {PATIENCE:?}; stdout:\n{}\nstderr:\n{}",
            self.stdout.so_far(),
            self.stderr.so_far()
        );
        let status = self.child.wait().unwrap();
        Ended { code: status.code(), stdout: stdout.unwrap(), stderr: stderr.unwrap() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process still runs");
    }

    /// Asks a server for its end. Each of its clients is told, answers, and sees TCP end; then the process is gone.
    #[track_caller]
    pub(crate) fn expect_drain(self, clients: Vec<Client>) {
        self.signal(Signal::TERM);
        for mut client in clients {
            assert_eq!(client.frame().close_code(), Some(1001));
            client.send(&PEER.close(1001));
            client.expect_end();
        }
        assert_eq!(self.wait().code, Some(0));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has written to stderr so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Descriptors that it has open.
    pub(crate) fn open_files(&self) -> usize {
        self.descriptors().len()
    }

    fn descriptors(&self) -> Vec<u64> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process runs");
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// The limit that leaves it so many more: it bounds their numbers, which have gaps.
    pub(crate) fn open_files_limit_for(&self, more: u64) -> u64 {
        let open = self.descriptors();
        (0..).find(|limit| limit - open.iter().filter(|fd| *fd < limit).count() as u64 == more).unwrap()
    }

    /// Processor time that it has used, in user and in system mode.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process runs");
        // proc(5): the name in parentheses may hold anything; utime and stime are the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Memory that it has in use (resident set), in octets.
    pub(crate) fn resident_bytes(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("the process runs");
        let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }

    /// The most memory that it had in use at once, in octets.
    pub(crate) fn peak_resident_bytes(&self) -> usize {
        self.status("VmHWM") << 10
    }

    /// Places in the kernel's table of its descriptors.
    pub(crate) fn open_files_table(&self) -> usize {
        self.status("FDSize")
    }

    /// A number of proc_pid_status(5).
    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process runs");
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("such a line");
        value.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Lets it have so many descriptors, and returns how many it could have before.
    pub(crate) fn limit_open_files(&self, current: u64) -> u64 {
        let pid = Pid::from_child(&self.child);
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(current), maximum };
        prlimit(Some(pid), Resource::Nofile, limit).expect("a limit below the hard one").current.unwrap_or(u64::MAX)
    }

    /// The next line on stdout.
    pub(crate) fn stdout_line(&mut self) -> String {
        self.stdout_line_with("")
    }

    /// Waits for a line on stdout that holds `word`.
    pub(crate) fn stdout_line_with(&mut self, word: &str) -> String {
        let line = self.stdout.line_with(word);
        line.unwrap_or_else(|seen| {
            panic!("no line with {word:?} on stdout:\n{seen}\nstderr:\n{}", self.stderr.so_far())
        })
    }

    /// Waits for a line on stderr that holds `word`.
    pub(crate) fn stderr_line_with(&mut self, word: &str) -> String {
        self.stderr.line_with(word).unwrap_or_else(|seen| panic!("no line with {word:?} on stderr:\n{seen}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One output of a child, read by a thread so that the child never blocks on it.
struct Stream {
    lines: Receiver<String>,
    text: Arc<Mutex<String>>,
}

impl Stream {
    fn follow(source: impl Read + Send + 'static) -> Stream {
        let (sender, lines) = channel();
        let text = Arc::new(Mutex::new(String::new()));
        let copy = text.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
                let read = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                copy.lock().unwrap().push_str(&read);
                // Nobody listens any more: the child must not notice.
                let _ = sender.send(read);
            }
        });
        Stream { lines, text }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything, once the child has closed it.
    fn to_end(&self, deadline: Instant) -> Option<String> {
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(self.so_far()),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    /// The next line that holds `word`, or what came instead.
    fn line_with(&mut self, word: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(word) => return Ok(line),
                Ok(_) => {}
                Err(_) => return Err(self.so_far()),
            }
        }
    }
}

/// A running `wslab serve`, told apart by what its ready line says.
pub(crate) struct Serve {
    pub(crate) process: Process,
    pub(crate) ready: serde_json::Value,
    /// Holds the local CA. Goes last.
    folder: Arc<TempDir>,
}

impl Serve {
    /// With ws and wss on free ports.
    pub(crate) fn start(flags: &[&str]) -> Serve {
        Serve::start_with(flags, |_| {})
    }

    /// The same without wss, which saves making a certificate.
    pub(crate) fn start_plain(flags: &[&str]) -> Serve {
        Serve::launch(&["--listen", "127.0.0.1:0", "--no-tls"], flags, |_| {}, Serve::folder_of_its_own())
    }

    /// A data folder that goes with the server.
    pub(crate) fn folder_of_its_own() -> Arc<TempDir> {
        Arc::new(TempDir::new().expect("a temporary folder"))
    }

    /// With an environment made by `prepare`.
    pub(crate) fn start_with(flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Serve {
        let listeners = ["--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"];
        Serve::launch(&listeners, flags, prepare, Serve::folder_of_its_own())
    }

    /// With listeners, flags and data folder of the caller's.
    pub(crate) fn launch(
        listeners: &[&str],
        flags: &[&str],
        prepare: impl FnOnce(&mut Command),
        folder: Arc<TempDir>,
    ) -> Serve {
        let mut command = wslab(folder.path());
        command.arg("serve").args(listeners).args(["--format", "json"]).args(flags);
        // Many tests are about peers that say nothing. The kernel would keep each to itself for a second; a flag can ask for that.
        command.env("WSLAB_DEFER_ACCEPT", "off");
        prepare(&mut command);
        let mut process = Process::start(&mut command);
        let line = process.stdout_line();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Serve { process, ready, folder }
    }

    /// The one ws address.
    pub(crate) fn ws_addr(&self) -> SocketAddr {
        address_of(self.ready["ws"][0].as_str().expect("a ws URL"))
    }

    /// The one wss address. Its URL names localhost, which is bound to 127.0.0.1 here.
    pub(crate) fn wss_addr(&self) -> SocketAddr {
        address_of(self.ready["wss"][0].as_str().expect("a wss URL"))
    }

    /// Where the local CA is.
    pub(crate) fn ca(&self) -> PathBuf {
        PathBuf::from(self.ready["ca"].as_str().expect("the path of a CA"))
    }

    pub(crate) fn folder(&self) -> &Arc<TempDir> {
        &self.folder
    }

    pub(crate) fn ws(&self) -> Door {
        Door::ws(self.ws_addr())
    }

    pub(crate) fn wss(&self) -> Door {
        Door::wss(self.wss_addr(), &self.ca())
    }

    /// ws, then wss.
    pub(crate) fn doors(&self) -> [Door; 2] {
        [self.ws(), self.wss()]
    }

    /// Asks for the end by `signal` and waits for it.
    pub(crate) fn end_by(self, signal: Signal) -> Ended {
        self.process.signal(signal);
        self.process.wait()
    }
}

/// `ws://127.0.0.1:8888/ws` → `127.0.0.1:8888`.
pub(crate) fn address_of(url: &str) -> SocketAddr {
    let (_, rest) = url.split_once("://").unwrap_or_else(|| panic!("a URL: {url}"));
    let authority = rest.split('/').next().unwrap().replace("localhost", "127.0.0.1");
    authority.parse().unwrap_or_else(|error| panic!("{error}: {url}"))
}
