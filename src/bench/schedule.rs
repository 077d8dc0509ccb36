//! When the messages of an open loop are due. Set before anything is sent: whatever the target or the generator does, no time is
//! skipped and none is moved. Nanoseconds from the schedule's begin; no clock.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::plan::Arrivals;

/// The times of one piece, one after the other.
#[derive(Debug)]
pub(super) struct Schedule {
    arrivals: Arrivals,
    /// Mean distance, nanoseconds.
    gap: f64,
    /// How many have been taken.
    taken: u64,
    next: f64,
    random: StdRng,
}

impl Schedule {
    /// `rate` is messages a second, above zero.
    pub(super) fn new(rate: f64, arrivals: Arrivals, seed: u64) -> Schedule {
        let mut schedule =
            Schedule { arrivals, gap: 1e9 / rate, taken: 0, next: 0.0, random: StdRng::seed_from_u64(seed) };
        if arrivals == Arrivals::Poisson {
            schedule.next = schedule.draw();
        }
        schedule
    }

    /// When the next message is due.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        self.next as u64
    }

    /// Takes it.
    #[inline]
    pub(super) fn take(&mut self) -> u64 {
        let due = self.peek();
        self.taken += 1;
        self.next = match self.arrivals {
            // Multiplied, not added: rounding does not build up. Exact to a nanosecond for a hundred days.
            Arrivals::Constant => self.taken as f64 * self.gap,
            Arrivals::Poisson => self.next + self.draw(),
        };
        due
    }

    fn draw(&mut self) -> f64 {
        // (0, 1]: its logarithm is finite.
        let uniform = 1.0 - self.random.random::<f64>();
        -uniform.ln() * self.gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_times_do_not_drift() {
        let mut schedule = Schedule::new(3.0, Arrivals::Constant, 0);
        for message in 0..3_000_000_u64 {
            let due = schedule.take();
            let exact = message as f64 * 1e9 / 3.0;
            assert!((due as f64 - exact).abs() <= 1.0, "message {message}: {due} instead of {exact}");
        }
        assert_eq!(schedule.peek(), 1_000_000_000_000_000);
    }

    #[test]
    fn poisson_times_have_the_mean_and_the_spread_of_independent_ones() {
        let mut schedule = Schedule::new(1e6, Arrivals::Poisson, 42);
        let times: Vec<u64> = (0..200_000).map(|_| schedule.take()).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential gap deviates by its mean; 200,000 of them leave some 0.2 %.
        assert!((980.0..1020.0).contains(&mean), "{mean}");
        assert!((0.97..1.03).contains(&(variance.sqrt() / mean)), "{}", variance.sqrt() / mean);
        let again = Schedule::new(1e6, Arrivals::Poisson, 42).peek();
        assert_eq!(again, times[0], "the seed decides");
        assert_ne!(again, Schedule::new(1e6, Arrivals::Poisson, 43).peek());
    }
}
