//! The machine that a run was made on, as far as it decides what the run is worth: read from `/proc` and `/sys`, and what
//! of it spoils results. What can not be read is left out, never guessed.

use std::{fs, path::Path, thread};

use serde::{Deserialize, Serialize};

/// Files of `/proc` and `/sys` are short; so much of one is looked at.
const FILE_BYTES_MAX: usize = 1 << 20;
/// With fewer cores the generator, the server and the rest of the system take each other's.
const CORES_FEW: usize = 4;
/// A run with many connections needs so many open files.
const OPEN_FILES_FEW: u64 = 4096;

/// What machine it is. A document has it as it is; a load that is no number is null there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The name of the machine.
    pub host: Option<String>,
    /// Model name of the first core.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Octets of memory.
    pub memory_bytes: Option<u64>,
    /// Name, release and version of the kernel.
    pub kernel: Option<String>,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Runnable threads over the last minute, before the run.
    pub load: Option<f64>,
    /// Who sets the cores' frequency.
    pub governor: Option<String>,
    /// What the kernel reads time from.
    pub clock_source: Option<String>,
    /// What virtualises the machine, if anything does.
    pub virtualisation: Option<String>,
    /// Limit of open files, the soft one.
    pub open_files_max: Option<u64>,
    /// Ports that connections leave from, first and last.
    pub port_range: Option<(u16, u16)>,
    /// The longest accept queue.
    pub somaxconn: Option<u64>,
    /// What TCP's congestion control is by default. Older documents do not have it.
    pub congestion: Option<String>,
    /// The version of wslab.
    pub wslab_version: String,
    /// Its commit, if the build knew it (`WSLAB_COMMIT`).
    pub wslab_commit: Option<String>,
    /// It was built without optimisation.
    pub debug_build: bool,
}

impl Fingerprint {
    /// Looks at this machine.
    pub fn take() -> Fingerprint {
        Fingerprint::of(Path::new("/"))
    }

    fn of(root: &Path) -> Fingerprint {
        let text = |path: &str| read(&root.join(path));
        let line = |path: &str| text(path).map(|text| text.trim().to_owned()).filter(|line| !line.is_empty());
        let number = |path: &str| line(path)?.parse::<u64>().ok();
        let cpuinfo = text("proc/cpuinfo").unwrap_or_default();
        let kernel = ["ostype", "osrelease", "version"].map(|name| line(&format!("proc/sys/kernel/{name}")));
        Fingerprint {
            host: line("proc/sys/kernel/hostname"),
            cpu: ["model name", "Model", "CPU part"].iter().find_map(|name| value_of(&cpuinfo, name)),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: text("proc/meminfo").and_then(|text| kib(&value_of(&text, "MemTotal")?)),
            kernel: Some(kernel.into_iter().flatten().collect::<Vec<_>>().join(" ")).filter(|words| !words.is_empty()),
            architecture: std::env::consts::ARCH.to_owned(),
            load: text("proc/loadavg")
                .and_then(|text| text.split(' ').next()?.parse().ok())
                .filter(|load: &f64| load.is_finite()),
            governor: line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            virtualisation: virtualisation(
                line("sys/hypervisor/type"),
                line("sys/class/dmi/id/sys_vendor"),
                &value_of(&cpuinfo, "flags").unwrap_or_default(),
            ),
            open_files_max: text("proc/self/limits").and_then(|text| open_files(&text)),
            port_range: line("proc/sys/net/ipv4/ip_local_port_range").and_then(|line| {
                let mut ports = line.split_whitespace().map(|port| port.parse().ok());
                Some((ports.next()??, ports.next()??))
            }),
            somaxconn: number("proc/sys/net/core/somaxconn"),
            congestion: line("proc/sys/net/ipv4/tcp_congestion_control"),
            wslab_version: env!("CARGO_PKG_VERSION").to_owned(),
            wslab_commit: option_env!("WSLAB_COMMIT").map(str::to_owned).filter(|commit| !commit.is_empty()),
            debug_build: cfg!(debug_assertions),
        }
    }

    /// What of it spoils results, each with what to do.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.debug_build {
            warnings.push("this wslab was built without optimisation: build it with --release".to_owned());
        }
        if let Some(load) = self.load.filter(|load| *load > self.cores as f64 / 2.0) {
            warnings.push(format!(
                "the machine was busy before the run (load {load:.2} on {}): end what else runs, or wait",
                cores(self.cores)
            ));
        }
        if self.cores < CORES_FEW {
            warnings.push(format!(
                "{} only: a server on this machine and the generator take each other's time; compare CPU time a message",
                cores(self.cores)
            ));
        }
        if let Some(governor) = self.governor.as_ref().filter(|governor| *governor != "performance") {
            warnings.push(format!(
                "the CPU governor is {governor}: cores change their frequency under load; set it to performance"
            ));
        }
        if let Some(source) = self.clock_source.as_ref().filter(|source| !is_fast_clock(source)) {
            warnings.push(format!(
                "the kernel reads time from {source}: every time stamp is a system call; prefer tsc or kvm-clock"
            ));
        }
        if let Some(congestion) = self.congestion.as_ref().filter(|name| name.starts_with("bbr")) {
            warnings.push(format!(
                "TCP's congestion control is {congestion}: a server on this machine is paced too, and large messages cost it half as \
                 much again, now and then; net.ipv4.tcp_congestion_control=reno spares that"
            ));
        }
        if let Some(files) = self.open_files_max.filter(|files| *files < OPEN_FILES_FEW) {
            warnings.push(format!("{files} open files at most: raise the limit with `ulimit -n` for many connections"));
        }
        warnings
    }
}

fn cores(count: usize) -> String {
    if count == 1 { "1 core".to_owned() } else { format!("{count} cores") }
}

/// Clocks that are read without a system call.
fn is_fast_clock(source: &str) -> bool {
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "timebase", "riscv_clocksource"]
        .contains(&source)
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut octets = Vec::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX as u64).read_to_end(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// `name   : value` of a file of such lines.
fn value_of(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn kib(value: &str) -> Option<u64> {
    value.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

fn virtualisation(hypervisor: Option<String>, vendor: Option<String>, flags: &str) -> Option<String> {
    let known = [
        "QEMU",
        "VMware",
        "Xen",
        "Amazon EC2",
        "Google",
        "Microsoft",
        "innotek",
        "Parallels",
        "DigitalOcean",
        "Hetzner",
    ];
    let vendor = vendor.filter(|vendor| known.iter().any(|name| vendor.contains(name)));
    let flagged = flags.split_whitespace().any(|flag| flag == "hypervisor").then(|| "a hypervisor".to_owned());
    hypervisor.or(vendor).or(flagged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_a_version() {
        let here = Fingerprint::take();
        assert!(here.cores >= 1 && !here.wslab_version.is_empty() && !here.architecture.is_empty());
    }

    #[test]
    fn a_machine_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu hypervisor sse\n"),
            ("proc/meminfo", "MemTotal:       16384 kB\n"),
            ("proc/loadavg", "1.25 0.80 0.50 2/300 1234\n"),
            (
                "proc/self/limits",
                "Limit   Soft   Hard\nMax open files            1024                 524288               files\n",
            ),
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_congestion_control", "bbr\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = Fingerprint::of(root.path());
        assert_eq!(found.cpu.as_deref(), Some("Some CPU @ 3 GHz"));
        assert_eq!(found.memory_bytes, Some(16 << 20));
        assert_eq!(found.load, Some(1.25));
        assert_eq!(found.open_files_max, Some(1024));
        assert_eq!(found.kernel.as_deref(), Some("6.1.0"));
        assert_eq!(found.port_range, Some((32_768, 60_999)));
        assert_eq!(found.somaxconn, Some(4096));
        assert_eq!(found.virtualisation.as_deref(), Some("a hypervisor"));
        let warnings = Fingerprint { cores: 2, debug_build: false, ..found }.warnings();
        let words = ["load 1.25", "2 cores only", "powersave", "hpet", "bbr", "ulimit -n"];
        for (warning, word) in warnings.iter().zip(words) {
            assert!(warning.contains(word), "{word} in {warning}");
        }
        assert_eq!(warnings.len(), words.len(), "{warnings:?}");
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Fingerprint::of(empty.path()).cpu, None);
    }

    #[test]
    fn a_quiet_large_machine_has_nothing_to_warn_of() {
        let machine = Fingerprint {
            cores: 16,
            load: Some(0.3),
            governor: Some("performance".to_owned()),
            clock_source: Some("tsc".to_owned()),
            open_files_max: Some(1 << 20),
            congestion: Some("cubic".to_owned()),
            ..Fingerprint::default()
        };
        assert_eq!(machine.warnings(), Vec::<String>::new());
    }
}
