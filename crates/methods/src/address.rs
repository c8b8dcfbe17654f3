//! Which addresses a request may be sent to.
//!
//! A pure table: it resolves nothing and dials nothing. The dialler (`http::dial`) asks it about the very
//! address it is about to connect to, whatever the address was called in the URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Networks inside IPv4 that are nobody's public receiver: all of the [IANA special-purpose
/// registry] that is not globally reachable, and what clouds answer metadata on.
///
/// [IANA special-purpose registry]: https://www.iana.org/assignments/iana-ipv4-special-registry
const CLOSED_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),        // this network; 0.0.0.0 reaches the machine itself
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // carrier NAT; Alibaba's metadata
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's host agent, on an otherwise public address
    v4([169, 254, 0, 0], 16),   // link-local; most clouds' metadata
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments; Oracle's metadata
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // 6to4 relays, retired
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved; broadcast
];

/// All but `2000::/3`, the only part of IPv6 that is assigned to public receivers ([RFC 4291, section 2.4]): here
/// lie `::`, `::1`, mapped and compatible addresses, both NAT64 prefixes, `100::/64`, `5f00::/16`,
/// `fc00::/7`, `fe80::/10`, `fec0::/10` and `ff00::/8`.
///
/// [RFC 4291, section 2.4]: https://www.rfc-editor.org/rfc/rfc4291#section-2.4
const OUTSIDE_GLOBAL_V6: [Ipv6Net; 3] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1),
];

/// Networks inside `2000::/3` that are nobody's public receiver.
const CLOSED_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments; Teredo is 2001::/32
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

/// Where no server of an operator's own is: link-local networks, and what clouds answer metadata on beside them.
const NO_SERVER: &[IpNet] = &[
    IpNet::V4(v4([100, 100, 100, 200], 32)), // Alibaba's metadata
    IpNet::V4(v4([168, 63, 129, 16], 32)),   // Azure's host agent
    IpNet::V4(v4([169, 254, 0, 0], 16)),     // link-local; most clouds' metadata
    IpNet::V4(v4([192, 0, 0, 192], 32)),     // Oracle's metadata
    IpNet::V6(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128)), // Amazon's metadata
    IpNet::V6(v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128)), // Google's metadata
    IpNet::V6(v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)), // link-local
];

/// The prefix by which DNS64 writes an IPv4 address ([RFC 6052]).
///
/// [RFC 6052]: https://www.rfc-editor.org/rfc/rfc6052
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// `::a.b.c.d`, retired.
const COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0, 0, 0, 0, 0], 96);

/// 6to4: `2002:` and the IPv4 address.
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)
}

/// The operator's networks over the public default.
///
/// Of all the operator's networks that hold an address the most specific decides, and `deny` wins
/// a tie. Where none holds it, the address has to be public. So `allow 10.1.0.0/16` opens just
/// that, `deny 0.0.0.0/0` with `deny ::/0` closes everything that no `allow` names, and
/// `allow 0.0.0.0/0` opens all of IPv4, the metadata service included.
#[derive(Debug, Clone, Default)]
pub struct AddressRules {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl AddressRules {
    /// Rules of networks that open and networks that close.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        let canonical = |nets: &[IpNet]| nets.iter().copied().map(canonical_net).collect();
        Self { allow: canonical(allow), deny: canonical(deny) }
    }

    /// Rules for a server that the operator names himself, such as the mail server: it may be private, so that
    /// everything is open but what `deny` names, link-local networks and metadata services. `allow` opens of
    /// those what it names more closely.
    pub fn of_own_servers(allow: &[IpNet], deny: &[IpNet]) -> Self {
        let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        Self::new(&[allow, &everywhere[..]].concat(), &[deny, NO_SERVER].concat())
    }

    /// Every network that is closed unless an operator opens it, or a part of it. Addresses of IPv4 that are written as
    /// IPv6 (`::ffff:a.b.c.d`) lie in one of them and are judged as what they are nevertheless.
    pub fn closed_by_default() -> impl Iterator<Item = IpNet> {
        let v4 = CLOSED_V4.iter().copied().map(IpNet::V4);
        v4.chain(OUTSIDE_GLOBAL_V6.iter().chain(CLOSED_V6).copied().map(IpNet::V6))
    }

    /// Whether a request may be sent to `address`.
    ///
    /// An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is judged as the IPv4 address. One that
    /// is carried inside NAT64, 6to4 or the compatible form needs both: its own network opened,
    /// and the address inside allowed.
    pub fn allow(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                self.judge(IpAddr::V6(v6)) && carried(v6).is_none_or(|inner| self.judge(IpAddr::V4(inner)))
            }
            v4 @ IpAddr::V4(_) => self.judge(v4),
        }
    }

    /// Whether a request may be sent to `url`, as far as it shows where that would go: an address in it is judged as it
    /// will be when it is dialled, and `localhost`, with all below it, as loopback. Any other name may be anybody's, and is
    /// judged when it is looked up; what is no URL of a host is nobody's, and not refused here.
    pub fn allow_url(&self, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else { return true };
        match url.host() {
            Some(Host::Ipv4(address)) => self.allow(address.into()),
            Some(Host::Ipv6(address)) => self.allow(address.into()),
            Some(Host::Domain(name)) if is_localhost(name) => {
                self.allow(Ipv4Addr::LOCALHOST.into()) || self.allow(Ipv6Addr::LOCALHOST.into())
            }
            Some(Host::Domain(_)) | None => true,
        }
    }

    fn judge(&self, address: IpAddr) -> bool {
        let closest =
            |nets: &[IpNet]| nets.iter().filter(|net| net.contains(&address)).map(IpNet::prefix_len).max();
        match (closest(&self.allow), closest(&self.deny)) {
            (None, None) => is_public(address),
            (opened, closed) => opened > closed,
        }
    }
}

/// The names that mean the machine itself, whoever looks them up ([RFC 6761, section 6.3]).
///
/// [RFC 6761, section 6.3]: https://www.rfc-editor.org/rfc/rfc6761#section-6.3
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !CLOSED_V4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => !OUTSIDE_GLOBAL_V6.iter().chain(CLOSED_V6).any(|net| net.contains(&v6)),
    }
}

/// The IPv4 address that a transition mechanism would pass the packets on to.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    // `::` and `::1` lie among the compatible addresses, but carry nothing.
    let compatible = COMPATIBLE.contains(&address) && u128::from(address) > 1;
    let start = match () {
        () if SIX_TO_FOUR.contains(&address) => 2,
        () if compatible || NAT64.contains(&address) => 12,
        () => return None,
    };
    address.octets().get(start..)?.first_chunk().copied().map(Ipv4Addr::from_octets)
}

/// A network of mapped addresses as the IPv4 network it means, since addresses are judged so.
fn canonical_net(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(network), Some(prefix)) => Ipv4Net::new(network, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect("a network")).collect()
        };
        AddressRules::new(&nets(allow), &nets(deny))
    }

    fn allowed(rules: &AddressRules, address: &str) -> bool {
        rules.allow(address.parse().expect("an address"))
    }

    #[test]
    fn nothing_but_public_addresses_is_open_by_default() {
        let closed = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 \
            127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255 \
            172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.1 \
            192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 \
            203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 \
            :: ::1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::127.0.0.1 ::8.8.8.8 64:ff9b::7f00:1 \
            64:ff9b::8.8.8.8 64:ff9b:1::1 64:ff9b:1:ffff:ffff:ffff:ffff:ffff 100::1 100::ffff 2001::1 \
            2001:0:ffff::1 2001:1ff:ffff::1 2001:db8::1 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2002::1 \
            2002:7f00:1::1 2002:808:808::1 3fff::1 3fff:fff:ffff::1 5f00::1 5f00:ffff::1 fc00::1 fd00:ec2::254 \
            fdff:ffff::1 fe80::1 febf::1 fec0::1 feff::1 ff00::1 ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
            4000::1 1fff:ffff::1";
        for address in closed.split_whitespace() {
            assert!(!allowed(&AddressRules::default(), address), "{address}");
        }
    }

    #[test]
    fn the_addresses_just_outside_each_closed_network_are_open() {
        let open = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
            168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 \
            192.0.1.0 192.0.1.255 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 \
            198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 \
            ::ffff:8.8.8.8 2000:: 2000:ffff::1 2001:200::1 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9::1 \
            2001:ffff::1 2003::1 2606:4700:4700::1111 3ffe:ffff::1 3fff:1000::1";
        for address in open.split_whitespace() {
            assert!(allowed(&AddressRules::default(), address), "{address}");
        }
    }

    #[test]
    fn the_most_specific_network_decides_and_a_tie_is_closed() {
        let both = rules(&["10.1.0.0/16", "10.1.2.3/32"], &["10.1.2.0/24", "8.8.8.0/24"]);
        for (address, open) in [
            ("10.1.1.1", true),
            ("10.1.2.4", false),
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("8.8.8.8", false),
            ("8.8.9.8", true),
        ] {
            assert_eq!(allowed(&both, address), open, "{address}");
        }
        assert!(!allowed(&rules(&["10.0.0.0/8"], &["10.0.0.0/8"]), "10.0.0.1"), "a tie");
    }

    #[test]
    fn a_closed_world_opens_only_what_is_named() {
        let closed = rules(&["203.0.113.0/24"], &["0.0.0.0/0", "::/0"]);
        assert!(allowed(&closed, "203.0.113.9"));
        assert!(!allowed(&closed, "8.8.8.8") && !allowed(&closed, "2606:4700::1"));
    }

    #[test]
    fn an_operators_own_server_is_anywhere_but_where_he_denies_and_where_clouds_keep_secrets() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect("a network")).collect()
        };
        let own = |allow: &[&str], deny: &[&str]| AddressRules::of_own_servers(&nets(allow), &nets(deny));
        for address in ["10.0.0.1", "127.0.0.1", "::1", "fd00::1", "8.8.8.8", "2606:4700::1"] {
            assert!(allowed(&own(&[], &[]), address), "{address}");
        }
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
        ] {
            assert!(!allowed(&own(&[], &[]), address), "{address}");
        }
        assert!(!allowed(&own(&[], &["10.0.0.0/8"]), "10.1.2.3"));
        let one = own(&["10.1.2.3/32"], &["10.0.0.0/8"]);
        assert!(allowed(&one, "10.1.2.3") && !allowed(&one, "10.1.2.4"));
        let closed = own(&["10.1.2.3/32", "169.254.1.1/32"], &["0.0.0.0/0", "::/0"]);
        assert!(allowed(&closed, "10.1.2.3") && allowed(&closed, "169.254.1.1"));
        assert!(!allowed(&closed, "8.8.8.8") && !allowed(&closed, "::1"));
    }

    #[test]
    fn a_url_shows_an_address_however_it_is_spelt_and_localhost_and_no_other_name() {
        let (usual, opened) = (AddressRules::default(), rules(&["127.0.0.0/8"], &["93.184.215.0/24"]));
        for (host, open_usually, open_where_loopback_is) in [
            ("127.0.0.1", false, true),
            ("127.1:8080", false, true),
            ("0x7f000001", false, true),
            ("%31%32%37.1", false, true),
            ("[::ffff:127.0.0.1]", false, true),
            ("[::1]", false, false),
            ("localhost", false, true),
            ("LocalHost.:80", false, true),
            ("a.localhost", false, true),
            ("10.0.0.1", false, false),
            ("169.254.169.254", false, false),
            ("93.184.215.14", true, false),
            ("[2606:4700::1]", true, true),
            // Whatever they mean is judged when they are looked up.
            ("receiver.example.com", true, true),
            ("localhost.example.com", true, true),
            ("notlocalhost", true, true),
        ] {
            let url = format!("http://{host}/hook/${{tag}}?x=${{name}}");
            assert_eq!(usual.allow_url(&url), open_usually, "{host}");
            assert_eq!(opened.allow_url(&url), open_where_loopback_is, "{host} where loopback is open");
        }
        for no_url in ["", "127.0.0.1", "http://", "mailto:kim@localhost"] {
            assert!(usual.allow_url(no_url), "{no_url:?}");
        }
    }

    #[test]
    fn one_opened_network_opens_no_other() {
        let one = rules(&["127.0.0.0/8"], &[]);
        assert!(allowed(&one, "127.0.0.1") && allowed(&one, "::ffff:127.0.0.1"));
        for other in ["10.0.0.1", "::1", "169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
        {
            assert!(!allowed(&one, other), "{other}");
        }
        assert!(
            allowed(&rules(&["::ffff:10.0.0.0/104"], &[]), "10.9.9.9"),
            "a mapped network is the IPv4 one"
        );
    }

    #[test]
    fn an_opened_nat64_prefix_still_needs_the_address_inside_allowed() {
        let nat64 = rules(&["64:ff9b::/96"], &[]);
        assert!(allowed(&nat64, "64:ff9b::8.8.8.8"));
        assert!(!allowed(&nat64, "64:ff9b::169.254.169.254") && !allowed(&nat64, "64:ff9b::127.0.0.1"));
    }

    proptest! {
        #[test]
        fn every_way_to_write_an_ipv4_address_is_judged_like_it_or_closed(bits: u32) {
            let rules = AddressRules::default();
            let v4 = Ipv4Addr::from(bits);
            let open = rules.allow(IpAddr::V4(v4));
            prop_assert_eq!(rules.allow(IpAddr::V6(v4.to_ipv6_mapped())), open);
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for carrying in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low),
            ] {
                prop_assert!(!rules.allow(IpAddr::V6(carrying)), "{}", carrying);
            }
        }

        #[test]
        fn the_standard_library_calls_nothing_private_that_we_call_open(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let private = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            prop_assert!(!(private && AddressRules::default().allow(IpAddr::V4(v4))));
        }

        #[test]
        fn no_ipv6_address_outside_the_global_range_is_open(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let open = AddressRules::default().allow(IpAddr::V6(v6));
            prop_assert!(!open || bits >> 125 == 1 || v6.to_ipv4_mapped().is_some());
        }
    }
}
