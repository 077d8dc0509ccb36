//! A whole run: rounds, and in each the targets in turn, phase by phase, so that what else happens on the machine meets all alike.

use std::io;

use super::{
    errors::Explain,
    measured::Measured,
    piece::{self, Endpoint, Observer, Task},
    plan::{INTERVALS_MAX, Plan},
};

/// What was measured, and where it belongs.
#[derive(Clone, Debug)]
pub struct Part {
    /// Index of the endpoint.
    pub target: usize,
    /// Index among [`Plan::phases`].
    pub phase: usize,
    /// The round, from 0.
    pub round: usize,
    /// What was measured.
    pub measured: Measured,
}

/// Runs the plan against all endpoints. `until` judges a phase by its pieces once all its rounds are done; `true` ends the run, which is
/// how a ramp ends. A phase has all its rounds before the next begins. Ends early, with what there is, when the observer is interrupted.
///
/// # Errors
/// The system has no poll, timer or randomness to give.
pub fn sweep(
    plan: &Plan,
    endpoints: &[Endpoint],
    explain: Explain,
    observer: &mut dyn Observer,
    until: &mut dyn FnMut(&[Part]) -> bool,
) -> io::Result<Vec<Part>> {
    let phases = plan.phases();
    let rounds = plan.rounds.get();
    let intervals_max = (INTERVALS_MAX / (phases.len() * rounds * endpoints.len()).max(1)).clamp(10, 100);
    let mut pieces = Vec::new();
    for (at, phase) in phases.iter().enumerate() {
        let first = pieces.len();
        for round in 0..rounds {
            for step in 0..endpoints.len() {
                // Who begins changes: the first of a round may find the machine in another state than the last.
                let target = (step + round) % endpoints.len();
                if observer.interrupted() {
                    return Ok(pieces);
                }
                observer.begins(target, phase, round);
                let (Some(endpoint), Some(payload)) = (endpoints.get(target), plan.payloads.get(phase.payload)) else {
                    continue;
                };
                let measured = piece::run(
                    &Task {
                        plan,
                        endpoint,
                        payload,
                        connections: phase.connections.get(),
                        span: plan.share(),
                        // All targets of a round meet the same arrivals.
                        seed: plan.seed.wrapping_add((at * rounds + round) as u64),
                        intervals_max,
                        explain,
                    },
                    observer,
                )?;
                pieces.push(Part { target, phase: at, round, measured });
            }
        }
        if until(pieces.get(first..).unwrap_or_default()) {
            break;
        }
    }
    Ok(pieces)
}
