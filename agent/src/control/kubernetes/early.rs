//! The addresses that a pod has, before the API knows of them.
//!
//! A pod's containers start when its network is there; the API hears of its addresses later. Who waited for that would
//! let the first connections pass.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

/// Of a pod; more than a pod that is given to itself could want.
const MOST: usize = 16;

/// Bytes that are read: a pod may have made its tables as long as it likes.
const LONGEST: u64 = 64 << 10;

/// Global addresses of the network namespace of a process, whose directory in `/proc` is given. Loopback and link-local
/// ones are nobody's.
///
/// # Errors
/// As the files' of proc(5); a namespace without IPv6 has no such file, which is none.
pub(super) fn addresses(process: &Path) -> io::Result<Vec<IpAddr>> {
    let v4 = read(&process.join("net/fib_trie"))?;
    let v6 = match read(&process.join("net/if_inet6")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let mut addresses: Vec<_> = local_v4(&v4).chain(global_v6(&v6)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST);
    Ok(addresses)
}

fn read(table: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(table)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Leaves of the trie that are the namespace's own (`net/ipv4/fib_trie.c`: an address, below it `/32 host LOCAL`).
fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let lines = trie.lines().zip(trie.lines().skip(1));
    lines.filter_map(|(leaf, kind)| {
        let address: std::net::Ipv4Addr = leaf.trim().strip_prefix("|-- ")?.parse().ok()?;
        let is_own = kind.trim() == "/32 host LOCAL";
        (is_own && !address.is_loopback() && !address.is_link_local()).then_some(address.into())
    })
}

/// `net/ipv6/addrconf.c`: address, interface, prefix length, scope, flags, name; all but the name in hexadecimal.
/// Scope 0 is global. An address that another host turned out to have doesn't count (`IFA_F_DADFAILED`).
fn global_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    const GLOBAL: &str = "00";
    const DAD_FAILED: u32 = 0x08;
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let scope = fields.nth(2)?;
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let usable = scope == GLOBAL && flags & DAD_FAILED == 0;
        usable.then(|| Ipv6Addr::from_bits(address).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_those_of_the_interfaces_and_nothing_else() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.244.1.0/24 2 0 2\n        |-- 10.244.1.0\n           /24 link UNICAST\n        |-- 10.244.1.7\n           /32 host LOCAL\n        |-- 10.244.1.255\n           /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 169.254.4.6\n        /32 host LOCAL\n";
        let own: Vec<_> = local_v4(trie).collect();
        assert_eq!(own, ["10.244.1.7".parse::<IpAddr>().unwrap()]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000007 02 40 00 80     eth0\nfd000000000000000000000000000008 02 40 00 88     eth0\nfe800000000000000000000000000007 02 40 20 80     eth0\n";
        let own: Vec<_> = global_v6(table).collect();
        assert_eq!(own, ["fd00::7".parse::<IpAddr>().unwrap()]);
        assert_eq!((local_v4("").count(), global_v6("x\n\n").count()), (0, 0));
    }

    #[test]
    fn this_process_has_addresses_that_can_be_read() {
        addresses(Path::new("/proc/self")).unwrap();
        assert!(addresses(Path::new("/proc/0")).is_err());
    }
}
