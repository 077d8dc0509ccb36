//! What the machine and the generator cost where nothing is served: the same generator against an in-process
//! null echo (`bench/reflector.rs`).

use std::{
    hint::black_box,
    io,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::{
    errors::Explain,
    measured::Measured,
    payload::Payload,
    piece::{self, Endpoint, Observer, Task},
    plan::{Arrivals, Load, Plan, Scenario, Span},
    reflector,
};
use crate::client::{Config, Target};

/// Beyond it the one thread of the null echo would be what is measured: messages a second, and octets.
const RATE_MAX: f64 = 10_000.0;
const OCTETS_MAX: f64 = 100e6;
/// How long an answer is waited for: the null echo has nothing to do that takes longer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The rate at which pacing is judged.
const PACED_RATE: f64 = 1_000.0;
/// Messages under way where the generator's own work is measured.
const PIPELINE: usize = 256;
/// Clock readings to take the mean of.
const READINGS: u32 = 100_000;

/// What `wslab bench --calibrate` tells.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// One message under way on one connection.
    pub closed: Measured,
    /// 1,000 messages a second: how late they leave.
    pub paced: Measured,
    /// 256 messages under way on one connection: what a message costs the generator.
    pub pipelined: Measured,
    /// What a clock reading costs.
    pub clock: Duration,
}

/// The floor of a run with this plan: its first payload, one connection, and its rate up to 10,000/s and
/// 100 MB/s.
///
/// # Errors
/// No socket, thread, poll or timer.
pub fn floor(plan: &Plan, span: Duration, explain: Explain, observer: &mut dyn Observer) -> io::Result<Measured> {
    let load = match plan.load {
        Load::Open { rate, arrivals, pace } => {
            Load::Open { rate: rate.min(rate_max(plan.payloads.first())), arrivals, pace }
        }
        Load::Closed { .. } => Load::Closed { pipeline: NonZeroUsize::MIN },
    };
    measure(plan, load, span, explain, observer)
}

fn rate_max(payload: Option<&Payload>) -> f64 {
    let octets = payload.map_or(0, Payload::len).max(1);
    RATE_MAX.min(OCTETS_MAX / octets as f64)
}

/// All that there is to know of generator and machine; `span` for each of its parts.
///
/// # Errors
/// As for [`floor`].
pub fn calibrate(
    plan: &Plan,
    span: Duration,
    explain: Explain,
    observer: &mut dyn Observer,
) -> io::Result<Calibration> {
    let pace = plan.load.pace();
    let mut measure = |load| measure(plan, load, span, explain, observer);
    Ok(Calibration {
        closed: measure(Load::Closed { pipeline: NonZeroUsize::MIN })?,
        paced: measure(Load::Open { rate: PACED_RATE, arrivals: Arrivals::Constant, pace })?,
        pipelined: measure(Load::Closed { pipeline: NonZeroUsize::new(PIPELINE).unwrap_or(NonZeroUsize::MIN) })?,
        clock: clock_cost(),
    })
}

fn measure(
    plan: &Plan,
    load: Load,
    span: Duration,
    explain: Explain,
    observer: &mut dyn Observer,
) -> io::Result<Measured> {
    let addr = reflector::start(1)?;
    let url = format!("ws://{addr}/").parse().map_err(io::Error::other)?;
    let target = Target::resolve(&url, Duration::from_secs(1)).map_err(io::Error::other)?;
    let endpoint = Endpoint { target, config: Config::default(), process: None, metrics: None };
    let payload = plan.payloads.first().cloned().unwrap_or_else(|| Payload::random(64, false, plan.seed));
    let plan = Plan {
        scenario: Scenario::Echo,
        load,
        timeout: TIMEOUT,
        warmup: (span / 5).min(Duration::from_millis(200)),
        fragment: None,
        ..plan.clone()
    };
    let span = Span::Time(span);
    let (seed, intervals_max) = (plan.seed, 10);
    let task = Task {
        plan: &plan,
        endpoint: &endpoint,
        payload: &payload,
        connections: 1,
        span,
        seed,
        intervals_max,
        explain,
    };
    piece::run(&task, observer)
}

/// The mean of many.
fn clock_cost() -> Duration {
    let begun = Instant::now();
    for _ in 0..READINGS {
        black_box(Instant::now());
    }
    begun.elapsed() / READINGS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_echo_is_asked_for_no_more_than_it_can_do() {
        for (octets, rate) in [(0, 10_000.0), (64, 10_000.0), (100_000, 1_000.0), (1 << 20, 100e6 / 1_048_576.0)] {
            assert_eq!(rate_max(Some(&Payload::random(octets, false, 1))), rate, "{octets}");
        }
        assert_eq!(rate_max(None), 10_000.0);
    }
}
