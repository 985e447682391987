//! How many refusals are written into the log and the audit file, so that nobody fills the disk.
//!
//! The first refusals of a minute are written whole, the others are counted: one line says how many there were, once
//! the minute is over. Strangers have a minute for each network, principals whose signature was right one for each
//! ARN, so that neither hide the other. Networks together, and principals together, have [`ALL`] times as much as one;
//! beyond that the first refusal in each one's minute is still written. Those for which the table has no room share one
//! minute.
//!
//! A network is an IPv4 address, or the first 48 bits of an IPv6 address: a site is given up to that much
//! (<https://www.rfc-editor.org/rfc/rfc6177>), 65,536 networks of 64 bits, which would fill the table.

use std::net::{IpAddr, Ipv6Addr};

/// How many networks have a minute of their own at a time.
const NETWORKS: usize = 256;
/// How many principals do.
const PRINCIPALS: usize = 64;
/// How many times the limit of one is the limit of all together.
const ALL: u32 = 16;
/// In microseconds.
const MINUTE: i64 = 60_000_000;
/// The bits of an IPv6 address that tell a site from others.
const SITE_BITS: u32 = 48;
/// The longest ARN of a user or role, with a path of 512 characters and a name of 64, fits.
const MAX_ARN: usize = 640;

/// The refusals that have been written, for all processes together. Starts as its default.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefusalLog {
    networks: Budget<IpAddr, NETWORKS>,
    principals: Budget<PrincipalArn, PRINCIPALS>,
}

/// The one whose login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'a> {
    /// A stranger, by the client's address if it has one.
    Stranger(Option<IpAddr>),
    /// A principal, by the ARN of its user or role: the names of a role's sessions are its own choice.
    Principal(&'a str),
}

/// The ARN of a user or role, in a fixed place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrincipalArn {
    length: usize,
    bytes: [u8; MAX_ARN],
}

impl PrincipalArn {
    /// `None` if it is longer than IAM lets one be.
    fn new(arn: &str) -> Option<Self> {
        let mut bytes = [0; MAX_ARN];
        bytes.get_mut(..arn.len())?.copy_from_slice(arn.as_bytes());
        let length = arn.len();
        Some(Self { length, bytes })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// The fate of a refusal in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is written whole.
    Whole,
    /// It is written whole, as the last one of its network or principal in this minute.
    Last,
    /// It is written whole; of all networks, or of all principals, the first alone is from here on in this minute.
    LastOfAll,
    /// It is counted.
    Omitted,
}

/// Refusals of one minute that were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Omitted {
    /// Those who were refused.
    pub whose: Whose,
    /// When the minute began, in microseconds of the clock that [`RefusalLog::note`] was told.
    pub began: i64,
    /// How many there were.
    pub count: u64,
}

/// Those who share a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box is an allocation, made while the log is locked"
)]
pub enum Whose {
    /// Strangers in this network, by its first address.
    Network(IpAddr),
    /// Strangers in networks for which there was no room.
    OtherNetworks,
    /// The principal with this ARN.
    Principal(PrincipalArn),
    /// Principals for which there was no room.
    OtherPrincipals,
}

impl Whose {
    /// The network that they have in common, by its first address.
    pub fn network(&self) -> Option<IpAddr> {
        match self {
            Self::Network(network) => Some(*network),
            _ => None,
        }
    }

    /// The ARN of the one principal.
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::Principal(arn) => Some(arn.as_str()),
            _ => None,
        }
    }
}

impl RefusalLog {
    /// Notes a refusal, at a time in microseconds of any clock. `limit` is how many of a network or principal are
    /// written in a minute; 0 stands for all.
    pub fn note(&mut self, refused: Refused<'_>, limit: u32, now: i64) -> Written {
        if limit == 0 {
            return Written::Whole;
        }
        match refused {
            Refused::Stranger(address) => {
                let address = address.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
                self.networks.note(Some(network(address)), limit, now)
            }
            Refused::Principal(arn) => self.principals.note(PrincipalArn::new(arn), limit, now),
        }
    }

    /// Whether there is something that [`Self::take_over`] would give.
    pub fn is_due(&self, now: i64) -> bool {
        self.networks.is_due(now) || self.principals.is_due(now)
    }

    /// Takes the refusals that were not written, of a minute that is over. To be called until there are none.
    pub fn take_over(&mut self, now: i64) -> Option<Omitted> {
        let omitted = |whose, began, count| Omitted {
            whose,
            began,
            count,
        };
        if let Some(minute) = self.networks.take_over(now) {
            let whose = minute.key.map_or(Whose::OtherNetworks, Whose::Network);
            return Some(omitted(whose, minute.began, minute.omitted));
        }
        let minute = self.principals.take_over(now)?;
        let whose = minute.key.map_or(Whose::OtherPrincipals, Whose::Principal);
        Some(omitted(whose, minute.began, minute.omitted))
    }
}

/// The network of an address, as its first one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let other_bits = Ipv6Addr::BITS - SITE_BITS;
            let bits = address.to_bits() >> other_bits << other_bits;
            Ipv6Addr::from_bits(bits).into()
        }
        address => address,
    }
}

/// The lines that each of up to `N` has had in its minute, and all together in theirs.
#[derive(Debug, Clone, Copy)]
struct Budget<K, const N: usize> {
    minutes: [Minute<K>; N],
    /// That of all for which there is no room.
    shared: Minute<K>,
    /// That of all together, which omits nothing itself.
    all: Minute<K>,
    /// When the first minute ends with refusals that were not written; 0 if there is none.
    due: i64,
}

/// Nobody's if nothing is counted.
#[derive(Debug, Clone, Copy)]
struct Minute<K> {
    key: Option<K>,
    /// In microseconds.
    began: i64,
    written: u32,
    omitted: u64,
}

impl<K> Minute<K> {
    const fn new(key: Option<K>, began: i64) -> Self {
        Self {
            key,
            began,
            written: 0,
            omitted: 0,
        }
    }

    fn end(&self) -> i64 {
        self.began.saturating_add(MINUTE)
    }

    fn is_over(&self, now: i64) -> bool {
        // A clock that was set back begins anew.
        !(self.began..self.end()).contains(&now)
    }

    /// Whether another may begin in its place.
    fn is_free(&self, now: i64) -> bool {
        self.omitted == 0 && self.is_over(now)
    }
}

impl<K: Copy, const N: usize> Default for Budget<K, N> {
    fn default() -> Self {
        Self {
            minutes: [Minute::new(None, 0); N],
            shared: Minute::new(None, 0),
            all: Minute::new(None, 0),
            due: 0,
        }
    }
}

impl<K: Copy + PartialEq, const N: usize> Budget<K, N> {
    /// Without a key it belongs to the shared minute.
    fn note(&mut self, key: Option<K>, limit: u32, now: i64) -> Written {
        if self.all.is_over(now) {
            self.all = Minute::new(None, now);
        }
        let limit_of_all = limit.saturating_mul(ALL);
        let is_all_written = self.all.written >= limit_of_all;
        let minute = self.minute(key, now);
        if minute.written >= limit || (is_all_written && minute.written > 0) {
            minute.omitted += 1;
            let end = minute.end();
            if self.due == 0 || end < self.due {
                self.due = end;
            }
            return Written::Omitted;
        }
        minute.written += 1;
        let is_last = minute.written == limit;
        self.all.written = self.all.written.saturating_add(1);
        match is_last {
            _ if self.all.written == limit_of_all => Written::LastOfAll,
            true => Written::Last,
            false => Written::Whole,
        }
    }

    /// The minute that a refusal with this key belongs to.
    fn minute(&mut self, key: Option<K>, now: i64) -> &mut Minute<K> {
        let own = |minute: &Minute<K>| !minute.is_over(now) && minute.key == key;
        let free = |minute: &Minute<K>| minute.is_free(now);
        let find = || {
            let place = self.minutes.iter().position(own);
            place.or_else(|| self.minutes.iter().position(free))
        };
        let (key, minute) = match key.and_then(|_| find()) {
            Some(place) => (key, &mut self.minutes[place]),
            None => (None, &mut self.shared),
        };
        if minute.is_free(now) {
            *minute = Minute::new(key, now);
        }
        minute
    }

    fn is_due(&self, now: i64) -> bool {
        // A clock that was set back by more than a minute makes it due as well.
        self.due != 0 && !(self.due.saturating_sub(MINUTE)..self.due).contains(&now)
    }

    /// Takes a minute that is over and has omitted something.
    fn take_over(&mut self, now: i64) -> Option<Minute<K>> {
        let is_over = |minute: &&mut Minute<K>| minute.omitted > 0 && minute.is_over(now);
        let own = self.minutes.iter_mut().find(is_over);
        let over = own.or_else(|| Some(&mut self.shared).filter(is_over));
        let taken = over.map(|minute| std::mem::replace(minute, Minute::new(None, 0)));
        let left = self.minutes.iter().chain([&self.shared]);
        let left = left.filter(|minute| minute.omitted > 0);
        self.due = left.map(Minute::end).min().unwrap_or(0);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_000 * MINUTE;

    fn address(text: &str) -> Refused<'static> {
        Refused::Stranger(Some(text.parse().unwrap()))
    }

    fn numbered(number: u32) -> Refused<'static> {
        Refused::Stranger(Some(std::net::Ipv4Addr::from_bits(number).into()))
    }

    /// How many of so many refusals are written.
    fn count(log: &mut RefusalLog, refused: Refused<'_>, limit: u32, now: i64, of: u32) -> u32 {
        let mut written = 0;
        for _ in 0..of {
            written += u32::from(log.note(refused, limit, now) != Written::Omitted);
        }
        written
    }

    /// All that is left to tell: whose, and how many.
    fn told(log: &mut RefusalLog, now: i64) -> Vec<(Whose, u64)> {
        let omitted = std::iter::from_fn(|| log.take_over(now));
        omitted.map(|one| (one.whose, one.count)).collect()
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
            whose: Whose::Network([192, 0, 2, 1].into()),
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
    fn a_site_of_ipv6_is_one_network() {
        let mut log = RefusalLog::default();
        for number in 0..1000_u32 {
            let client = address(&format!("2001:db8:0:{number:x}::1"));
            let is_written = log.note(client, 10, NOW) != Written::Omitted;
            assert_eq!(is_written, number < 10);
        }
        assert_eq!(count(&mut log, address("2001:db8:1::1"), 10, NOW, 1), 1);
        let mapped = address("::ffff:192.0.2.1");
        assert_eq!(count(&mut log, mapped, 10, NOW, 10), 10);
        assert_eq!(count(&mut log, address("192.0.2.1"), 10, NOW, 1), 0);
        assert_eq!(count(&mut log, Refused::Stranger(None), 10, NOW, 11), 10);
    }

    #[test]
    fn all_networks_together_are_bounded_and_the_first_of_each_is_written() {
        let mut log = RefusalLog::default();
        // As many as use up the limit of all.
        for number in 0..ALL {
            let client = numbered(number);
            assert_eq!(count(&mut log, client, 5, NOW, 4), 4);
            let last = match number + 1 {
                ALL => Written::LastOfAll,
                _ => Written::Last,
            };
            assert_eq!(log.note(client, 5, NOW), last);
        }
        for number in ALL..NETWORKS as u32 {
            assert_eq!(log.note(numbered(number), 5, NOW), Written::Whole);
            assert_eq!(count(&mut log, numbered(number), 5, NOW, 9), 0);
        }
        let omitted = told(&mut log, NOW + MINUTE);
        assert_eq!(omitted.len(), NETWORKS - ALL as usize);
        assert!(omitted.iter().all(|(_, count)| *count == 9));
        assert_eq!(count(&mut log, numbered(0), 5, NOW + MINUTE, 9), 5);
    }

    #[test]
    fn more_networks_than_there_is_room_for_are_counted_together() {
        let mut log = RefusalLog::default();
        let mut written = 0;
        for number in 0..2_000 {
            written += count(&mut log, numbered(number), 3, NOW, 4);
        }
        // Those beyond the limit of all are the first of their networks, and of the others.
        assert_eq!(written, ALL * 3 + (NETWORKS as u32 - ALL) + 1);
        let omitted = told(&mut log, NOW + MINUTE);
        let count_of = |(_, count): &(Whose, u64)| *count;
        assert_eq!(
            omitted.iter().map(count_of).sum::<u64>(),
            8_000 - u64::from(written)
        );
        let others = (2_000 - NETWORKS as u64) * 4 - 1;
        assert_eq!(omitted.last(), Some(&(Whose::OtherNetworks, others)));
    }

    #[test]
    fn a_minute_has_no_more_lines_whatever_comes() {
        let mut log = RefusalLog::default();
        let mut written = [0; 3];
        // A hundred refusals a second for three minutes, of more networks than there is room for.
        for number in 0..18_000_u32 {
            let now = NOW + i64::from(number) * SECOND / 100;
            while log.is_due(now) && log.take_over(now).is_some() {}
            let client = numbered(number % 400);
            written[number as usize / 6_000] += count(&mut log, client, 60, now, 1);
        }
        let least = ALL * 60;
        let most = least + NETWORKS as u32 + 1;
        assert!(written.iter().all(|lines| (least..=most).contains(lines)));
    }

    #[test]
    fn strangers_and_principals_do_not_hide_each_other() {
        let mut log = RefusalLog::default();
        let arn = "arn:aws:iam::012345678912:user/visitor";
        let (known, other) = (Refused::Principal(arn), Refused::Principal("arn:other"));
        for number in 0..2_000 {
            count(&mut log, numbered(number), 3, NOW, 4);
        }
        assert_eq!(log.note(known, 2, NOW), Written::Whole);
        assert_eq!(log.note(known, 2, NOW), Written::Last);
        assert_eq!(count(&mut log, known, 2, NOW, 7), 0);
        assert_eq!(count(&mut log, other, 2, NOW, 3), 2);
        let omitted = told(&mut log, NOW + MINUTE);
        let principals: Vec<_> = omitted
            .iter()
            .filter_map(|(whose, count)| Some((whose.principal()?, *count)))
            .collect();
        assert_eq!(principals, [(arn, 7), ("arn:other", 1)]);
        // The other way round.
        let mut log = RefusalLog::default();
        for number in 0..1_000 {
            let arn = format!("arn:aws:iam::012345678912:user/{number}");
            count(&mut log, Refused::Principal(&arn), 3, NOW, 4);
        }
        assert_eq!(count(&mut log, numbered(1), 3, NOW, 4), 3);
        assert!(
            told(&mut log, NOW + MINUTE)
                .iter()
                .any(|(whose, count)| *whose == Whose::OtherPrincipals && *count > 3_000)
        );
    }

    #[test]
    fn the_longest_arn_fits_and_a_longer_one_is_among_others() {
        let longest = format!(
            "arn:aws-us-gov:iam::012345678912:role/{}/{}",
            "p".repeat(510),
            "n".repeat(64)
        );
        let mut log = RefusalLog::default();
        assert_eq!(count(&mut log, Refused::Principal(&longest), 1, NOW, 3), 1);
        let too_long = "x".repeat(MAX_ARN + 1);
        assert_eq!(count(&mut log, Refused::Principal(&too_long), 1, NOW, 4), 1);
        let arn = PrincipalArn::new(&longest).expect("it fits");
        assert_eq!(
            told(&mut log, NOW + MINUTE),
            [(Whose::Principal(arn), 2), (Whose::OtherPrincipals, 3)]
        );
    }

    #[test]
    fn it_stays_small() {
        assert!(size_of::<RefusalLog>() < 64 * 1024);
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
