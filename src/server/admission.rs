//! How many connections one client may hold: counted per address, which for IPv6 is a /64, since a client has at least one of
//! these to itself. Knows no socket. An address may become known later than its connection (PROXY protocol): whoever learns it
//! asks for a ticket then, and keeps it in the connection's name.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::proto::handshake::Refusal;

/// When another attempt makes sense, to a peer that is turned away.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    /// A /64's network half.
    V6([u8; 8]),
}

impl Client {
    fn of(addr: IpAddr) -> Client {
        // An IPv4 peer of a socket that takes both is shown as ::ffff:a.b.c.d.
        match addr.to_canonical() {
            IpAddr::V4(addr) => Client::V4(addr.octets()),
            IpAddr::V6(addr) => {
                let mut network = [0; 8];
                network.copy_from_slice(addr.octets().split_at(8).0);
                Client::V6(network)
            }
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Client::V4(octets) => IpAddr::from(*octets).fmt(f),
            Client::V6(network) => {
                let mut octets = [0; 16];
                octets.split_at_mut(8).0.copy_from_slice(network);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

/// One connection's place among its client's. Is to be held in a connection's name, or released.
#[derive(Debug)]
#[must_use = "the place stays taken until it is released"]
pub(super) struct Ticket(Option<Client>);

/// The places taken. Bounded by the connections there are: a client without one is not remembered.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// `None`: nobody is counted.
    per_address_max: Option<usize>,
    taken: HashMap<Client, usize>,
    /// Who holds a place, by the connection's slab key.
    held: Vec<Option<Client>>,
}

impl Admission {
    pub(super) fn new(per_address_max: Option<usize>) -> Self {
        Admission { per_address_max, ..Admission::default() }
    }

    /// A place for a connection from this address.
    ///
    /// # Errors
    /// All of its places are taken.
    pub(super) fn admit(&mut self, addr: IpAddr) -> Result<Ticket, Refusal> {
        let Some(max) = self.per_address_max else { return Ok(Ticket(None)) };
        let client = Client::of(addr);
        let taken = self.taken.entry(client).or_default();
        if *taken >= max {
            tracing::debug!(target: "wslab::conn", %client, taken, "too many connections of this address");
            return Err(Refusal::TooManyFromAddress { connections_per_address: max, retry_after: RETRY_AFTER });
        }
        *taken += 1;
        Ok(Ticket(Some(client)))
    }

    /// The connection of this slab key keeps the place until it leaves; a place it had before is free.
    pub(super) fn hold(&mut self, key: u32, ticket: Ticket) {
        self.leave(key);
        let Some(client) = ticket.0 else { return };
        let key = key as usize;
        if self.held.len() <= key {
            self.held.resize(key + 1, None);
        }
        self.held[key] = Some(client);
    }

    /// The connection of this slab key is gone.
    pub(super) fn leave(&mut self, key: u32) {
        let client = self.held.get_mut(key as usize).and_then(Option::take);
        self.release(Ticket(client));
    }

    /// The place was not needed.
    pub(super) fn release(&mut self, ticket: Ticket) {
        let Some(client) = ticket.0 else { return };
        if let Entry::Occupied(mut taken) = self.taken.entry(client) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
        // A crowd that has left is forgotten.
        if self.taken.capacity() > 64 + 8 * self.taken.len() {
            self.taken.shrink_to(2 * self.taken.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_count_as_one_client_by_32_and_by_64_bits() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            let mut admission = Admission::new(Some(1));
            let first = admission.admit(addr(one)).expect("the first of its address");
            assert_eq!(admission.admit(addr(other)).is_err(), same, "{one} and {other}");
            admission.release(first);
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_leaves() {
        let mut admission = Admission::new(Some(2));
        for key in [0, 7] {
            let ticket = admission.admit(addr("192.0.2.1")).unwrap();
            admission.hold(key, ticket);
        }
        let refused = admission.admit(addr("192.0.2.1")).unwrap_err();
        assert_eq!(refused.status(), 503);
        admission.leave(3);
        assert!(admission.admit(addr("192.0.2.1")).is_err(), "connection 3 held no place");
        admission.leave(7);
        let ticket = admission.admit(addr("192.0.2.1")).unwrap();
        assert!(admission.admit(addr("192.0.2.1")).is_err(), "and it is taken once");
        admission.release(ticket);
        admission.leave(0);
        assert!(admission.taken.is_empty(), "a client without connections is not remembered");
    }

    #[test]
    fn an_address_that_becomes_known_later_takes_the_place_of_the_one_before() {
        let mut admission = Admission::new(Some(1));
        let proxy = admission.admit(addr("10.0.0.1")).unwrap();
        admission.hold(0, proxy);
        let client = admission.admit(addr("192.0.2.1")).unwrap();
        admission.hold(0, client);
        let next = admission.admit(addr("10.0.0.1")).expect("the proxy's own place is free");
        assert!(admission.admit(addr("192.0.2.1")).is_err());
        admission.release(next);
    }

    #[test]
    fn off_counts_and_remembers_nobody() {
        let mut admission = Admission::new(None);
        for key in 0..10_000 {
            let ticket = admission.admit(addr("192.0.2.1")).unwrap();
            admission.hold(key, ticket);
        }
        assert!(admission.taken.is_empty() && admission.held.is_empty());
    }

    #[test]
    fn a_crowd_that_has_left_takes_no_memory() {
        let mut admission = Admission::new(Some(1));
        for key in 0..100_000_u32 {
            let ticket = admission.admit(IpAddr::from(key.to_be_bytes())).unwrap();
            admission.hold(key, ticket);
        }
        (0..100_000).for_each(|key| admission.leave(key));
        assert!(admission.taken.capacity() <= 64 + 8, "{}", admission.taken.capacity());
    }
}
