//! A network of addresses in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3): who belongs to it.

use std::{fmt, net::IpAddr, str::FromStr};

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
///
/// ```
/// let network: wslab::net::Network = "10.0.0.0/8".parse().unwrap();
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!(!network.contains("11.0.0.1".parse().unwrap()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix_bits: u8,
}

/// Not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address, or a prefix that is no number or too long for the family.
    #[error("expected a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", or an address")]
    Syntax,
    /// Bits are set behind the prefix, so it is not clear which network was meant.
    #[error("has bits behind its prefix: did you mean \"{0}\"?")]
    HostBits(Network),
}

impl Network {
    /// 127.0.0.0/8 and ::1: this machine.
    pub const LOOPBACK: [Network; 2] = [
        Network { first: IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), prefix_bits: 8 },
        Network { first: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), prefix_bits: 128 },
    ];

    /// Whether the address is one of the network's. An IPv4 address that an IPv6 socket shows (`::ffff:10.1.2.3`) is judged as
    /// the IPv4 address that it is.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        addr.is_ipv4() == self.first.is_ipv4() && masked(addr, self.prefix_bits) == self.first
    }
}

/// The address with all bits behind the prefix cleared.
fn masked(addr: IpAddr, prefix_bits: u8) -> IpAddr {
    match addr {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits.min(32))).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits.min(128))).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| NetworkError::Syntax)?;
        let bits_max: u8 = if addr.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= bits_max).ok_or(NetworkError::Syntax)?
            }
            Some(_) => return Err(NetworkError::Syntax),
        };
        let network = Network { first: masked(addr, prefix_bits), prefix_bits };
        if network.first == addr { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits_max = if self.first.is_ipv4() { 32 } else { 128 };
        write!(f, "{}", self.first)?;
        if self.prefix_bits == bits_max { Ok(()) } else { write!(f, "/{}", self.prefix_bits) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        #[rustfmt::skip]
        let rows: &[(&str, &[&str], &[&str])] = &[
            ("127.0.0.0/8", &["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1"], &["126.255.255.255", "128.0.0.0", "::1"]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.255.255.255"]),
            ("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.0"]),
            ("192.0.2.1", &["192.0.2.1"], &["192.0.2.0", "192.0.2.2"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::", "2001:db8::1"]),
            ("::/0", &["::", "2001:db8::1", "::1"], &["0.0.0.0", "::ffff:1.2.3.4"]),
            ("::1", &["::1"], &["::", "::2", "127.0.0.1"]),
            ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], &["2001:db9::", "2001:db7::1"]),
            ("2001:db8::/33", &["2001:db8:7fff::"], &["2001:db8:8000::"]),
        ];
        for (network, inside, outside) in rows {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), *network);
            for addr in *inside {
                assert!(parsed.contains(addr.parse().unwrap()), "{addr} in {network}");
            }
            for addr in *outside {
                assert!(!parsed.contains(addr.parse().unwrap()), "{addr} not in {network}");
            }
        }
        assert_eq!(Network::LOOPBACK.map(|network| network.to_string()), ["127.0.0.0/8", "::1"]);
    }

    #[test]
    fn what_is_no_network_is_told_with_a_remedy() {
        for text in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0/8", "localhost", "10.0.0.0/8/8"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Syntax), "{text}");
        }
        let error = "10.1.2.3/8".parse::<Network>().unwrap_err().to_string();
        assert!(error.contains("did you mean \"10.0.0.0/8\"?"), "{error}");
        let error = "2001:db8::1/32".parse::<Network>().unwrap_err().to_string();
        assert!(error.contains("\"2001:db8::/32\""), "{error}");
    }
}
