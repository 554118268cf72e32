//! One representation for IPv4 and IPv6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address in network byte order, IPv4 mapped into IPv6 (RFC 4291, section 2.5.5.2).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// `::`, which no workload, service or peer ever has.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// From an IPv4 address as the kernel's contexts hold it: a `u32` whose bytes in memory are in network
    /// order.
    #[must_use]
    pub const fn from_v4_be(address: u32) -> Self {
        let [a, b, c, d] = address.to_ne_bytes();
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// From an IPv6 address as four such words.
    #[must_use]
    pub const fn from_v6_be(words: [u32; 4]) -> Self {
        let [a, b, c, d] = [
            words[0].to_ne_bytes(),
            words[1].to_ne_bytes(),
            words[2].to_ne_bytes(),
            words[3].to_ne_bytes(),
        ];
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ])
    }

    /// The four words that [`from_v6_be`](Self::from_v6_be) takes.
    #[must_use]
    pub const fn to_v6_be(self) -> [u32; 4] {
        let b = self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// The last word: the IPv4 address in network order when [`is_v4`](Self::is_v4).
    #[must_use]
    pub const fn to_v4_be(self) -> u32 {
        self.to_v6_be()[3]
    }

    /// Whether this is a mapped IPv4 address.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let words = self.to_v6_be();
        words[0] == 0 && words[1] == 0 && words[2] == 0xffff_u32.to_be()
    }

    /// `127.0.0.0/8` (also mapped) or `::1`.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            return self.0[12] == 127;
        }
        let words = self.to_v6_be();
        words[0] == 0 && words[1] == 0 && words[2] == 0 && words[3] == 1_u32.to_be()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let v6 = Ipv6Addr::from(address.0);
        v6.to_ipv4_mapped()
            .map_or(Self::V6(v6), |v4: Ipv4Addr| Self::V4(v4))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn mapped_and_native_addresses_round_trip() {
        for text in ["10.1.2.3", "fd00::1:2", "::1", "127.0.0.1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(ip)), ip);
            let address = Address::from(ip);
            assert_eq!(Address::from_v6_be(address.to_v6_be()), address);
            assert_eq!(address.is_v4(), ip.is_ipv4());
            assert_eq!(address.is_loopback(), ip.is_loopback());
        }
    }

    #[test]
    fn kernel_words_hold_network_order() {
        let word = u32::from_ne_bytes([10, 0, 0, 7]);
        assert_eq!(
            IpAddr::from(Address::from_v4_be(word)),
            IpAddr::from([10, 0, 0, 7])
        );
        assert_eq!(Address::from_v4_be(word).to_v4_be(), word);
    }
}
