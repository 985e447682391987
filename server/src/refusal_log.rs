//! How many refusals are written into the log, so that a stranger cannot fill the disk.
//!
//! The first refusals of a network in a minute are written whole, the others are counted: one line says how many there
//! were, once the minute is over. A network is an IPv4 address, or the 64 bits of an IPv6 address that one client has
//! for itself. More networks than there is room for share one minute.

use std::net::{IpAddr, Ipv6Addr};

/// How many networks have a minute of their own at a time.
const NETWORKS: usize = 256;
/// In microseconds.
const MINUTE: i64 = 60_000_000;
/// The bits of an IPv6 address that tell a client's network from others.
const NETWORK_BITS: u32 = 64;

/// The lines that each network has had in its minute, for all processes together. Starts as its default.
#[derive(Debug, Clone, Copy)]
pub struct RefusalLog {
    minutes: [Minute; NETWORKS],
    /// That of all networks for which there is no room.
    shared: Minute,
    /// When the first minute ends with refusals that were not written; 0 if there is none.
    due: i64,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            minutes: [Minute::default(); NETWORKS],
            shared: Minute::default(),
            due: 0,
        }
    }
}

/// A network's minute. Nobody's if nothing is counted.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    network: Option<IpAddr>,
    /// In microseconds.
    began: i64,
    written: u32,
    omitted: u64,
}

impl Minute {
    fn is_over(&self, now: i64) -> bool {
        // A clock that was set back begins anew.
        !(self.began..self.began.saturating_add(MINUTE)).contains(&now)
    }
}

/// The fate of a refusal in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is written whole.
    Whole,
    /// It is written whole, as the last one of this minute.
    Last,
    /// It is counted.
    Omitted,
}

/// Refusals of one minute that were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Omitted {
    /// The network; `None` for those that had to share a minute.
    pub network: Option<IpAddr>,
    /// When the minute began, in microseconds of the clock that [`RefusalLog::note`] was told.
    pub began: i64,
    /// How many there were.
    pub count: u64,
}

impl RefusalLog {
    /// Notes a refusal of a client at `address`, at a time in microseconds of any clock. `limit` is how many of a
    /// network are written in a minute; 0 stands for all.
    pub fn note(&mut self, address: Option<IpAddr>, limit: u32, now: i64) -> Written {
        if limit == 0 {
            return Written::Whole;
        }
        let network = Some(network(address.unwrap_or(Ipv6Addr::UNSPECIFIED.into())));
        let minute = self.minute(network, now);
        if minute.written + 1 < limit {
            minute.written += 1;
            return Written::Whole;
        }
        if minute.written < limit {
            minute.written += 1;
            return Written::Last;
        }
        minute.omitted += 1;
        let end = minute.began.saturating_add(MINUTE);
        if self.due == 0 || end < self.due {
            self.due = end;
        }
        Written::Omitted
    }

    /// The minute that a refusal of this network belongs to.
    fn minute(&mut self, network: Option<IpAddr>, now: i64) -> &mut Minute {
        let is_free = |minute: &Minute| minute.omitted == 0 && minute.is_over(now);
        let own = |minute: &Minute| minute.network == network && !minute.is_over(now);
        let place = self.minutes.iter().position(own);
        let place = place.or_else(|| self.minutes.iter().position(is_free));
        let minute = match place {
            Some(place) => &mut self.minutes[place],
            None => &mut self.shared,
        };
        if is_free(minute) {
            *minute = Minute {
                network: place.and(network),
                began: now,
                ..Minute::default()
            };
        }
        minute
    }

    /// Whether there is something that [`Self::take_over`] would give.
    pub fn is_due(&self, now: i64) -> bool {
        // A clock that was set back by more than a minute makes it due as well.
        self.due != 0 && !(self.due.saturating_sub(MINUTE)..self.due).contains(&now)
    }

    /// Takes the refusals that were not written, of a minute that is over. To be called until there are none.
    pub fn take_over(&mut self, now: i64) -> Option<Omitted> {
        let is_over = |minute: &&mut Minute| minute.omitted > 0 && minute.is_over(now);
        let own = self.minutes.iter_mut().find(is_over);
        let over = own.or_else(|| Some(&mut self.shared).filter(is_over));
        let taken = over.map(std::mem::take);
        let left = self.minutes.iter().chain([&self.shared]);
        let left = left.filter(|minute| minute.omitted > 0);
        let ends = left.map(|minute| minute.began.saturating_add(MINUTE));
        self.due = ends.min().unwrap_or(0);
        taken.map(|minute| Omitted {
            network: minute.network,
            began: minute.began,
            count: minute.omitted,
        })
    }
}

/// The network of an address, as its first one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
            Ipv6Addr::from_bits(bits).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_000 * MINUTE;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn count(log: &mut RefusalLog, address: Option<IpAddr>, limit: u32, now: i64, of: u32) -> u32 {
        let mut written = 0;
        for _ in 0..of {
            written += u32::from(log.note(address, limit, now) != Written::Omitted);
        }
        written
    }

    #[test]
    fn the_first_are_written_and_the_others_counted() {
        let mut log = RefusalLog::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(log.note(one, 2, NOW), Written::Whole);
        assert_eq!(log.note(one, 2, NOW), Written::Last);
        assert_eq!(log.note(one, 2, NOW + 59 * SECOND), Written::Omitted);
        assert_eq!(log.note(one, 2, NOW + 59 * SECOND), Written::Omitted);
        assert_eq!(log.note(other, 2, NOW), Written::Whole);
        assert!(!log.is_due(NOW + 59 * SECOND));
        assert_eq!(log.take_over(NOW + 59 * SECOND), None);
        assert!(log.is_due(NOW + MINUTE));
        let omitted = Omitted {
            network: one,
            began: NOW,
            count: 2,
        };
        assert_eq!(log.take_over(NOW + MINUTE), Some(omitted));
        assert_eq!(log.take_over(NOW + MINUTE), None);
        assert!(!log.is_due(NOW + 2 * MINUTE));
        assert_eq!(log.note(one, 2, NOW + MINUTE), Written::Whole);
    }

    #[test]
    fn without_a_limit_all_are_written() {
        let mut log = RefusalLog::default();
        let written = count(&mut log, address("192.0.2.1"), 0, NOW, 10_000);
        assert_eq!(written, 10_000);
        assert!(!log.is_due(i64::MAX));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let mut log = RefusalLog::default();
        for number in 0..1000_u32 {
            let client = address(&format!("2001:db8::{number:x}"));
            let is_written = log.note(client, 10, NOW) != Written::Omitted;
            assert_eq!(is_written, number < 10);
        }
        assert_eq!(count(&mut log, address("2001:db8:0:1::1"), 10, NOW, 1), 1);
        let mapped = address("::ffff:192.0.2.1");
        assert_eq!(count(&mut log, mapped, 10, NOW, 10), 10);
        assert_eq!(count(&mut log, address("192.0.2.1"), 10, NOW, 1), 0);
        assert_eq!(count(&mut log, None, 10, NOW, 11), 10);
    }

    #[test]
    fn more_networks_than_there_is_room_for_are_bounded_as_well() {
        let mut log = RefusalLog::default();
        let mut written = 0;
        for number in 0..2_000_u32 {
            let client = Some(std::net::Ipv4Addr::from_bits(number).into());
            written += count(&mut log, client, 3, NOW, 4);
        }
        let bound = (NETWORKS as u32 + 1) * 3;
        assert_eq!(written, bound);
        let mut omitted = 0;
        while let Some(over) = log.take_over(NOW + MINUTE) {
            omitted += over.count;
        }
        assert_eq!(omitted, 8_000 - u64::from(bound));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_for_ever() {
        let mut log = RefusalLog::default();
        let client = address("192.0.2.1");
        assert_eq!(count(&mut log, client, 1, NOW, 5), 1);
        let before = NOW - 100 * MINUTE;
        assert!(log.is_due(before));
        assert_eq!(log.take_over(before).map(|over| over.count), Some(4));
        assert_eq!(count(&mut log, client, 1, before, 5), 1);
    }
}
