//! How many connections there may be, and how many new ones a second.
//!
//! Aurora DSQL's quotas are 10,000 connections, and 100 new ones a second with a burst of 1,000:
//! <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html>.

/// The limits in force. Zero stands for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// New connections a second, on average.
    pub rate: u32,
    /// New connections at once, after a time without any.
    pub burst: u32,
}

/// The counts that the limits are held against, for all processes together. Starts as its default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    connections: u32,
    /// How much of the burst is used up, in new connections.
    used: f64,
    /// When that was so, in microseconds.
    at: i64,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There are as many connections as there may be.
    Connections,
    /// There are too many new ones.
    Rate,
}

impl Usage {
    /// Counts a new connection, at a time in microseconds of any clock, unless a limit is reached.
    ///
    /// # Errors
    /// Which one. The connection is then not counted.
    pub fn begin(&mut self, limits: Limits, now: i64) -> Result<(), Reached> {
        if limits.connections > 0 && self.connections >= limits.connections {
            return Err(Reached::Connections);
        }
        if limits.rate > 0 {
            // A clock that goes back gives nothing back.
            let seconds = now.saturating_sub(self.at).max(0) as f64 / 1e6;
            let used = (self.used - seconds * f64::from(limits.rate)).max(0.0);
            (self.used, self.at) = (used, now);
            if used + 1.0 > f64::from(limits.burst.max(1)) {
                return Err(Reached::Rate);
            }
            self.used += 1.0;
        }
        self.connections += 1;
        Ok(())
    }

    /// Counts the end of a connection that was counted.
    pub fn end(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn connections_come_and_go() {
        let limits = Limits {
            connections: 2,
            rate: 0,
            burst: 0,
        };
        let mut usage = Usage::default();
        assert_eq!(usage.begin(limits, 0), Ok(()));
        assert_eq!(usage.begin(limits, 0), Ok(()));
        assert_eq!(usage.begin(limits, 0), Err(Reached::Connections));
        usage.end();
        assert_eq!(usage.begin(limits, 0), Ok(()));
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let limits = Limits {
            connections: 0,
            rate: 2,
            burst: 3,
        };
        let mut usage = Usage::default();
        let mut now = 1000 * SECOND;
        for _ in 0..3 {
            assert_eq!(usage.begin(limits, now), Ok(()));
        }
        assert_eq!(usage.begin(limits, now), Err(Reached::Rate));
        now += SECOND / 2;
        assert_eq!(usage.begin(limits, now), Ok(()));
        assert_eq!(usage.begin(limits, now), Err(Reached::Rate));
        // The clock is set back: what was used stays used.
        now -= 100 * SECOND;
        assert_eq!(usage.begin(limits, now), Err(Reached::Rate));
        now += 10 * SECOND;
        for _ in 0..3 {
            assert_eq!(usage.begin(limits, now), Ok(()));
        }
        assert_eq!(usage.begin(limits, now), Err(Reached::Rate));
    }

    #[test]
    fn no_limit() {
        let limits = Limits {
            connections: 0,
            rate: 0,
            burst: 0,
        };
        let mut usage = Usage::default();
        for _ in 0..100_000 {
            assert_eq!(usage.begin(limits, 0), Ok(()));
        }
    }
}
