//! Which addresses the hub sends webhooks to: public ones over TLS, unless its operator allows others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The longest address, in bytes.
const LONGEST: usize = 2_000;

/// What the operator allows beyond https to public addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EgressRules {
    /// Plain http as well.
    pub allow_http: bool,
    /// Addresses that are not public as well: this machine, private networks.
    pub allow_private: bool,
}

/// Why nothing is sent to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EgressRefusal {
    /// It is not the address of a web server.
    #[error("not an address such as https://receiver.example.com/hooks")]
    NotAnAddress,
    /// It is longer than addresses are.
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// It is plain http.
    #[error("only https is allowed")]
    NotHttps,
    /// It holds a user or a password, which would stand in logs.
    #[error("it holds a user or a password")]
    Credentials,
    /// It holds a part behind `#`, which is never sent.
    #[error("it holds a fragment")]
    Fragment,
    /// It leads to this machine, a private network, or nowhere in public.
    #[error("it does not lead to a public address")]
    NotPublic,
}

impl EgressRules {
    /// Whether an address as it is written may be sent to. What its name resolves to is looked at when it is sent to.
    ///
    /// ```
    /// use crosstie_domain::integration::{EgressRefusal, EgressRules};
    ///
    /// let rules = EgressRules::default();
    /// assert!(rules.check("https://receiver.example.com/hooks").is_ok());
    /// assert_eq!(rules.check("https://10.0.0.7/"), Err(EgressRefusal::NotPublic));
    /// ```
    ///
    /// # Errors
    /// [`EgressRefusal`].
    pub fn check(&self, address: &str) -> Result<(), EgressRefusal> {
        if address.len() > LONGEST {
            return Err(EgressRefusal::TooLong);
        }
        let url = Url::parse(address).map_err(|_| EgressRefusal::NotAnAddress)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(EgressRefusal::NotHttps),
            _ => return Err(EgressRefusal::NotAnAddress),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressRefusal::Credentials);
        }
        if url.fragment().is_some() {
            return Err(EgressRefusal::Fragment);
        }
        let public = match url.host() {
            None => return Err(EgressRefusal::NotAnAddress),
            Some(Host::Ipv4(address)) => self.allows(address.into()),
            Some(Host::Ipv6(address)) => self.allows(address.into()),
            Some(Host::Domain(name)) => self.allow_private || !is_local_name(name),
        };
        if public { Ok(()) } else { Err(EgressRefusal::NotPublic) }
    }

    /// Whether a connection to this address may be opened.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }
}

/// Names that are kept for this machine and for networks without a public root (RFC 6761, RFC 6762, RFC 8375).
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let kept = ["localhost", "local", "internal", "home.arpa", "localdomain"];
    kept.iter().any(|zone| name == *zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.')))
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// All but what IANA lists as special: private, shared (CGNAT), loopback, link-local, documentation, benchmarking,
/// multicast, reserved, and the relays of protocols.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Global unicast (2000::/3) alone, and of that none that stands for an IPv4 address which is not public, and nothing
/// that is kept for documentation or for protocols.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(address) = address.to_ipv4_mapped() {
        return is_public_v4(address);
    }
    let parts = address.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match parts {
        // An IPv4 address behind a translator (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4 carries an IPv4 address.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo, benchmarking, ORCHID and other protocols; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const STRICT: EgressRules = EgressRules { allow_http: false, allow_private: false };

    fn network_v4(network: [u8; 4], bits: u32, host: u32) -> Ipv4Addr {
        let mask = u32::MAX.checked_shr(bits).unwrap_or(0);
        Ipv4Addr::from_bits((u32::from_be_bytes(network) & !mask) | (host & mask))
    }

    fn network_v6(network: &str, bits: u32, host: u128) -> Ipv6Addr {
        let mask = u128::MAX.checked_shr(bits).unwrap_or(0);
        let network: Ipv6Addr = network.parse().expect("an address");
        Ipv6Addr::from_bits((network.to_bits() & !mask) | (host & mask))
    }

    /// What is not public, as the registries of special addresses list it.
    const CLOSED_V4: &[([u8; 4], u32)] = &[
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 4),
        ([240, 0, 0, 0], 4),
    ];
    const CLOSED_V6: &[(&str, u32)] = &[
        ("::", 128),
        ("::1", 128),
        ("::", 96),
        ("100::", 64),
        ("2001::", 23),
        ("2001:db8::", 32),
        ("3fff::", 20),
        ("fc00::", 7),
        ("fe80::", 10),
        ("fec0::", 10),
        ("ff00::", 8),
    ];

    proptest! {
        #[test]
        fn no_address_of_a_closed_network_is_sent_to_however_it_is_written(host in any::<u32>(), host6 in any::<u128>()) {
            for (network, bits) in CLOSED_V4 {
                let v4 = network_v4(*network, *bits, host);
                let [high, low] = [v4.to_bits() >> 16, v4.to_bits() & 0xffff];
                let [a, b, c, d] = v4.octets();
                let mapped = v4.to_ipv6_mapped();
                prop_assert!(!STRICT.allows(v4.into()) && !STRICT.allows(mapped.into()), "{v4}");
                let written = [
                    format!("https://{v4}/x"),
                    format!("https://{}/x", v4.to_bits()),
                    format!("https://{a:#x}.{b}.0{c:o}.{d}:8443/x"),
                    format!("https://[{mapped}]/x"),
                    format!("https://[64:ff9b::{high:x}:{low:x}]/x"),
                    format!("https://[2002:{high:x}:{low:x}::1]/x"),
                ];
                for address in written {
                    prop_assert_eq!(STRICT.check(&address), Err(EgressRefusal::NotPublic), "{}", address);
                }
            }
            for (network, bits) in CLOSED_V6 {
                let v6 = network_v6(network, *bits, host6);
                prop_assert!(!STRICT.allows(v6.into()), "{v6}");
                prop_assert_eq!(STRICT.check(&format!("https://[{v6}]/x")), Err(EgressRefusal::NotPublic), "{}", v6);
            }
        }

        #[test]
        fn every_other_address_is_sent_to(host in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(host);
            let closed = |(network, bits): &([u8; 4], u32)| network_v4(*network, *bits, host) == v4;
            let relays = [[192, 31, 196], [192, 52, 193], [192, 88, 99], [192, 175, 48]];
            let relay = relays.contains(&[v4.octets()[0], v4.octets()[1], v4.octets()[2]]);
            prop_assert_eq!(STRICT.allows(v4.into()), !CLOSED_V4.iter().any(closed) && !relay, "{}", v4);
        }
    }

    fn check(address: &str, expected: Result<(), EgressRefusal>) {
        assert_eq!(STRICT.check(address), expected, "{address}");
    }

    #[test]
    fn an_address_is_https_to_a_public_name_without_user_and_fragment() {
        check("https://receiver.example.com:8443/hooks?team=1", Ok(()));
        check("https://93.184.216.34/", Ok(()));
        check("https://[2606:4700::6810:84e5]/", Ok(()));
        check("http://receiver.example.com/", Err(EgressRefusal::NotHttps));
        check("ftp://receiver.example.com/", Err(EgressRefusal::NotAnAddress));
        check("receiver.example.com", Err(EgressRefusal::NotAnAddress));
        check("https://", Err(EgressRefusal::NotAnAddress));
        check("https://ann@receiver.example.com/", Err(EgressRefusal::Credentials));
        check("https://:pass@receiver.example.com/", Err(EgressRefusal::Credentials));
        check("https://receiver.example.com/#part", Err(EgressRefusal::Fragment));
        check(&format!("https://receiver.example.com/{}", "x".repeat(LONGEST)), Err(EgressRefusal::TooLong));
        for name in ["localhost", "LOCALHOST.", "app.localhost", "printer.local", "db.internal", "nas.home.arpa"] {
            check(&format!("https://{name}/"), Err(EgressRefusal::NotPublic));
        }
        check("https://notlocalhost.example/", Ok(()));
    }

    #[test]
    fn an_operator_may_allow_this_machine_and_plain_http() {
        let rules = EgressRules { allow_http: true, allow_private: true };
        for address in ["http://127.0.0.1:9000/x", "http://[::1]/", "http://localhost/", "https://10.1.2.3/"] {
            assert_eq!(rules.check(address), Ok(()), "{address}");
        }
        assert_eq!(rules.check("http://ann:x@127.0.0.1/"), Err(EgressRefusal::Credentials));
        let private = EgressRules { allow_http: false, allow_private: true };
        assert_eq!(private.check("http://127.0.0.1/"), Err(EgressRefusal::NotHttps));
    }
}
