//! Whether sessions can be removed by the time of day: not while somebody has just set the clock, who may set it back.

use std::time::{Duration, Instant};

use time::UtcDateTime;

/// How far the time of day may move otherwise than the time since the machine started, from one look to the next.
const APART: Duration = Duration::from_secs(5 * 60);
/// For how long nothing is removed after that.
const WAIT: Duration = Duration::from_secs(60 * 60);

/// The state of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It goes as it should.
    Steady,
    /// It was set since the last look, or the machine slept.
    Set,
    /// It was set a while ago.
    Waiting,
}

/// Both times at the last look, and from when on the clock counts as steady.
pub struct Clocks {
    wall: UtcDateTime,
    monotonic: Instant,
    steady_from: Instant,
}

impl Clocks {
    /// The first look.
    pub fn new(wall: UtcDateTime, monotonic: Instant) -> Self {
        Self {
            wall,
            monotonic,
            steady_from: monotonic,
        }
    }

    /// Looks again.
    pub fn look(&mut self, wall: UtcDateTime, monotonic: Instant) -> Clock {
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let apart = (wall - self.wall - passed).unsigned_abs();
        (self.wall, self.monotonic) = (wall, monotonic);
        if apart > APART {
            self.steady_from = monotonic + WAIT;
            return Clock::Set;
        }
        match monotonic >= self.steady_from {
            true => Clock::Steady,
            false => Clock::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::utc_datetime;

    #[test]
    fn nothing_is_removed_for_an_hour_after_the_clock_was_set() {
        let (wall, start) = (utc_datetime!(2026-01-01 12:00), Instant::now());
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut clocks = Clocks::new(wall, start);
        let mut look = |passed, ahead: i64| {
            let wall = wall + minutes(passed) + time::Duration::minutes(ahead);
            clocks.look(wall, start + minutes(passed))
        };
        for (passed, ahead, expected) in [
            (0, 0, Clock::Steady),
            (1, 0, Clock::Steady),
            (2, 5, Clock::Steady),
            (3, 0, Clock::Steady),
            // Three hours ahead, and set back an hour later.
            (4, 180, Clock::Set),
            (5, 180, Clock::Waiting),
            (63, 180, Clock::Waiting),
            (64, 0, Clock::Set),
            (65, 0, Clock::Waiting),
            (123, 0, Clock::Waiting),
            (124, 0, Clock::Steady),
            // Set back.
            (125, -6, Clock::Set),
            (185, -6, Clock::Steady),
            // Years ahead, and that is right.
            (186, 5_000_000, Clock::Set),
            (246, 5_000_000, Clock::Steady),
        ] {
            assert_eq!(look(passed, ahead), expected, "{passed}");
        }
    }
}
