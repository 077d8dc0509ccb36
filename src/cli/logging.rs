//! Logs on stderr, written by a thread of their own: a stderr that nobody reads must not stall an event loop.
//! Lines that do not fit are dropped and counted; the count is told when lines pass again, and at the end.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::options::{Format, Options};

/// Lines that may wait for stderr. Beyond it they are dropped.
const WAITING_LINES_MAX: usize = 16_384;
/// How long the end waits for room in a queue that is full.
const ROOM_WAIT: Duration = Duration::from_millis(20);
const ROOM_WAITS_MAX: usize = 15;

/// The running log; [`Logging::finish`] writes what is left.
pub(super) struct Logging {
    lines: Lines,
    guard: WorkerGuard,
}

impl Logging {
    /// Installs the process's log. `no_color` is whether `NO_COLOR` is set.
    pub(super) fn start(options: &Options, no_color: bool) -> Logging {
        let ansi = options.log_format == Format::Text && !no_color && io::stderr().is_terminal();
        let (logging, lines) = Logging::to(io::stderr(), options.log_format, ansi);
        let builder = tracing_subscriber::fmt().with_env_filter(filter(options)).with_ansi(ansi).with_writer(lines);
        // Only a test could have installed another one before; then that one stays.
        let _ = match options.log_format {
            Format::Text => tracing::subscriber::set_global_default(builder.finish()),
            Format::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
        };
        logging
    }

    fn to(output: impl Write + Send + 'static, format: Format, ansi: bool) -> (Logging, Lines) {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_LINES_MAX)
            .thread_name("wslab-log")
            .finish(output);
        let lines =
            Lines { dropped: writer.error_counter(), writer, format, ansi, seen: Arc::default(), told: Arc::default() };
        (Logging { lines: lines.clone(), guard }, lines)
    }

    /// How many lines were dropped so far, whenever it is asked.
    pub(super) fn dropped_lines(&self) -> DroppedLines {
        DroppedLines(self.lines.dropped.clone())
    }

    /// Says something to the person at the terminal, in order with the log.
    pub(super) fn say(&self, text: &str) {
        let _ = self.lines.writer.clone().write_all(text.as_bytes());
    }

    /// Writes what still waits, for about a second and a half at most.
    pub(super) fn finish(self) {
        let mut writer = self.lines.writer.clone();
        for _ in 0..ROOM_WAITS_MAX {
            let before = self.lines.dropped.dropped_lines();
            let untold = before > self.lines.told.load(Ordering::Relaxed);
            let last = if untold { self.lines.notice(before) } else { String::new() };
            let _ = writer.write_all(last.as_bytes());
            if self.lines.dropped.dropped_lines() == before {
                // It fits, so the writing thread will see the guard's farewell behind it.
                drop(self.guard);
                return;
            }
            // The refused notice was counted as a line of its own.
            self.lines.told.fetch_add(usize::from(!untold), Ordering::Relaxed);
            thread::sleep(ROOM_WAIT);
        }
        // Nobody reads stderr, and the guard would complain of that on stdout.
        std::mem::forget(self.guard);
    }
}

/// Counts the lines that stderr was too slow for.
#[derive(Clone, Debug)]
pub(super) struct DroppedLines(ErrorCounter);

impl DroppedLines {
    pub(super) fn count(&self) -> u64 {
        self.0.dropped_lines() as u64
    }
}

/// `--log`, and what -v and -vv add to it.
fn filter(options: &Options) -> EnvFilter {
    let mut directives = options.log.clone();
    if options.verbose >= 1 {
        directives.push_str(",wslab::conn=debug");
    }
    if options.verbose >= 2 {
        directives.push_str(",wslab::frame=trace");
    }
    // The option was parsed when it was read.
    EnvFilter::try_new(&directives).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Makes a writer for each line, and tells of dropped ones.
#[derive(Clone)]
struct Lines {
    writer: NonBlocking,
    dropped: ErrorCounter,
    format: Format,
    ansi: bool,
    /// Dropped lines when the line before this one was begun.
    seen: Arc<AtomicUsize>,
    /// Dropped lines that were told of.
    told: Arc<AtomicUsize>,
}

impl Lines {
    fn notice(&self, dropped: usize) -> String {
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        match self.format {
            Format::Text => {
                format!("{now}  WARN wslab::log: stderr was too slow, log lines were dropped dropped={dropped}\n")
            }
            Format::Json => format!(
                "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"stderr was too slow, log lines were dropped\",\
                 \"dropped\":{dropped},\"target\":\"wslab::log\"}}\n"
            ),
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        let dropped = self.dropped.dropped_lines();
        // The line before was taken, so there is room again.
        let room = self.seen.swap(dropped, Ordering::Relaxed) == dropped;
        let mut writer = self.writer.clone();
        if room && self.told.fetch_max(dropped, Ordering::Relaxed) < dropped {
            let _ = writer.write_all(self.notice(dropped).as_bytes());
        }
        Line { writer, ansi: self.ansi }
    }
}

/// One line on its way out, with control characters made visible.
struct Line {
    writer: NonBlocking,
    ansi: bool,
}

impl Line {
    fn is_control(&self, byte: u8) -> bool {
        // With colours the subscriber's own escapes pass; it escapes those inside of values itself.
        byte.is_ascii_control() && !(self.ansi && byte == 0x1b)
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (body, end) = match line {
            [body @ .., b'\n'] => (body, true),
            body => (body, false),
        };
        if !body.iter().any(|&byte| self.is_control(byte)) {
            return self.writer.write(line);
        }
        let mut visible = Vec::with_capacity(line.len() + 16);
        for &byte in body {
            if self.is_control(byte) {
                visible.extend(byte.escape_ascii());
            } else {
                visible.push(byte);
            }
        }
        visible.extend(end.then_some(b'\n'));
        self.writer.write(&visible)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// An output that takes nothing until it is let go.
    struct Gate {
        open: mpsc::Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.open.recv();
            self.taken.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Logging, Lines, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (let_go, open) = mpsc::channel();
        let taken = Arc::default();
        let (logging, lines) = Logging::to(Gate { open, taken: Arc::clone(&taken) }, Format::Text, false);
        (logging, lines, let_go, taken)
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let (logging, lines, let_go, taken) = gated();
        drop(let_go);
        lines.make_writer().write_all(b"peer said \x1b[2J\r\nforged\x07 \xc3\xa9\n").unwrap();
        logging.finish();
        assert_eq!(*taken.lock().unwrap(), b"peer said \\x1b[2J\\r\\nforged\\x07 \xc3\xa9\n");
    }

    #[test]
    fn a_full_stderr_drops_lines_and_tells_how_many_once_it_flows() {
        let (logging, lines, let_go, taken) = gated();
        // One more than fits: the writing thread holds one line itself.
        while lines.dropped.dropped_lines() < 3 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        drop(let_go);
        while taken.lock().unwrap().len() < 5 * WAITING_LINES_MAX {
            thread::sleep(Duration::from_millis(1));
        }
        lines.make_writer().write_all(b"after\n").unwrap();
        lines.make_writer().write_all(b"the end\n").unwrap();
        logging.finish();
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        assert!(text.contains("dropped=3\n"), "{}", &text[text.len() - 200..]);
        assert!(text.ends_with("the end\n"), "{}", &text[text.len() - 200..]);
        assert_eq!(text.matches("dropped=").count(), 1);
    }

    #[test]
    fn the_end_does_not_wait_for_a_stderr_that_nobody_reads() {
        let (logging, lines, let_go, _) = gated();
        while lines.dropped.dropped_lines() < 3 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        let begin = std::time::Instant::now();
        logging.finish();
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        drop(let_go);
    }

    #[test]
    fn verbosity_adds_to_the_filter() {
        let shown =
            |log: &str, verbose| filter(&Options { log: log.to_owned(), verbose, ..Options::default() }).to_string();
        assert_eq!(shown("info", 0), "info");
        for directive in ["info", "wslab::conn=debug", "wslab::frame=trace"] {
            assert!(shown("info", 2).contains(directive), "{}", shown("info", 2));
        }
        assert!(!shown("warn", 1).contains("frame"));
    }
}
