//! What the generator and the target's process use, from the clocks and `/proc` of the system.
//!
//! CPU time of a process is the sum of its tasks' `schedstat`, in nanoseconds: `stat` counts in ticks of 10 ms. Threads that end
//! meanwhile take theirs with them; children do not count.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::measured::{Served, Usage};

/// The generator's thread at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    at: Instant,
    cpu: Duration,
    run_queue: Duration,
}

impl Meter {
    /// Now, of the calling thread.
    pub(super) fn read() -> Meter {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu = Duration::new(cpu.tv_sec.max(0) as u64, cpu.tv_nsec.clamp(0, 999_999_999) as u32);
        let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Meter { at: Instant::now(), cpu, run_queue: Duration::from_nanos(field(&stat, 1)) }
    }

    /// What was used from `earlier` until now.
    pub(super) fn since(&self, earlier: &Meter) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wall: self.at.saturating_duration_since(earlier.at),
            run_queue: self.run_queue.saturating_sub(earlier.run_queue),
        }
    }
}

/// A process on this machine that serves a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process, if there is one of that number and it may be looked at.
    pub fn find(pid: u32) -> Option<Process> {
        let process = Process { pid };
        process.status("VmRSS:").map(|_| process)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// CPU time so far.
    pub(super) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let nanos = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .map(|stat| field(&stat, 0))
            .sum();
        Duration::from_nanos(nanos)
    }

    /// Resident memory, octets.
    pub(super) fn rss(&self) -> u64 {
        self.status("VmRSS:").unwrap_or(0)
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    }
}

/// What a process used, in the making.
#[derive(Debug)]
pub(super) struct Watched {
    process: Process,
    rss_before: u64,
    rss_connected: u64,
    cpu_begun: Duration,
    /// When CPU time was read last, and answers by then.
    served: Option<(Duration, u64)>,
}

impl Watched {
    /// Before the connections are opened.
    pub(super) fn before(process: Process) -> Watched {
        Watched { process, rss_before: process.rss(), rss_connected: 0, cpu_begun: Duration::ZERO, served: None }
    }

    /// With all of them open.
    pub(super) fn connected(&mut self) {
        self.rss_connected = self.process.rss();
    }

    /// When what counts begins.
    pub(super) fn begun(&mut self) {
        self.cpu_begun = self.process.cpu();
    }

    /// When so many answers have come since, and no more messages are under way than then. Only the first time counts.
    pub(super) fn served(&mut self, answers: u64) {
        let process = self.process;
        self.served.get_or_insert_with(|| (process.cpu(), answers));
    }

    /// When it has ended, with so many answers. `None`: the process has too, and nothing is known of it.
    pub(super) fn ended(mut self, answers: u64) -> Option<Served> {
        let rss_peak = self.process.status("VmHWM:")?;
        self.served(answers);
        let (cpu, answers) = self.served?;
        Some(Served {
            cpu: cpu.saturating_sub(self.cpu_begun),
            answers,
            rss_before: self.rss_before,
            rss_connected: self.rss_connected,
            rss_peak,
        })
    }
}

fn field(stat: &str, at: usize) -> u64 {
    stat.split_whitespace().nth(at).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_and_one_that_sleeps_does_not() {
        let begun = Meter::read();
        let mut octets = [0_u8; 1024];
        while Meter::read().since(&begun).cpu < Duration::from_millis(2) {
            octets.iter_mut().for_each(|octet| *octet = octet.wrapping_mul(3).wrapping_add(1));
        }
        let worked = Meter::read().since(&begun);
        // The two clocks are read one after the other.
        assert!(worked.cpu <= worked.wall + Duration::from_millis(1), "{worked:?}");
        let begun = Meter::read();
        std::thread::sleep(Duration::from_millis(50));
        let slept = Meter::read().since(&begun);
        assert!(slept.wall >= Duration::from_millis(50) && slept.cpu < Duration::from_millis(40), "{slept:?}");
    }

    #[test]
    fn a_process_is_looked_at_from_outside() {
        let process = Process::find(std::process::id()).unwrap();
        assert!(process.cpu() > Duration::ZERO);
        assert!(process.rss() > 1 << 20);
        // No process has the number 2³¹ or more.
        assert_eq!(Process::find(u32::MAX), None);
        let mut watched = Watched::before(process);
        watched.connected();
        watched.begun();
        watched.served(7);
        watched.served(8);
        let served = watched.ended(9).unwrap();
        assert_eq!(served.answers, 7);
        assert!(served.rss_peak >= served.rss_connected / 2);
        assert!(served.rss_connected > 0 && served.rss_before > 0 && served.cpu < process.cpu());
    }

    #[test]
    fn nothing_is_known_of_a_process_that_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let mut watched = Watched::before(Process::find(child.id()).unwrap());
        watched.connected();
        watched.begun();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(watched.ended(1).is_none());
    }
}
