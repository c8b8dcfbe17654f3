//! That a request leaves only to an address the rules allow, whatever the URL and DNS call it.

mod common;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use bellbuoy_domain::CauseCode::{Blocked, Connect, Dns};
use bellbuoy_methods::{
    AddressRules, Outbound,
    http::{Proxy, Resolver, Script, ScriptedAnswer},
};
use bellbuoy_testkit::{
    proxy,
    receiver::{Receiver, Setup},
};
use common::{assert_deferred, client, code, detail, post, post_in_time, settings};
use ipnet::IpNet;
use proptest::prelude::*;

const ALIKE: &str =
    "the network rules do not allow this address; an operator can open it with outbound.allow";

fn addresses(texts: &str) -> ScriptedAnswer {
    ScriptedAnswer::Addresses(
        texts.split_whitespace().map(|text| text.parse().expect("an address")).collect(),
    )
}

fn resolving(script: Script, settings: Outbound) -> Outbound {
    Outbound { resolver: Resolver::Scripted(Arc::new(script)), ..settings }
}

/// The settings of somebody who has opened nothing.
fn closed() -> Outbound {
    Outbound { allow: Vec::new(), ..settings() }
}

#[tokio::test]
async fn no_spelling_of_loopback_is_connected_to() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(closed());
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.01",
        "127.0.0.1.",
        "127.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.⓪.⓪.①",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "127.8.9.10",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        let report = post_in_time(&client, &receiver.url_at(host, "/hook")).await;
        assert_deferred(&report, Blocked, ALIKE);
    }
    assert_eq!(receiver.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn urls_that_hide_their_host_lead_nowhere() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let client = client(closed());
    let port = receiver.address().port();
    for url in [
        format!("http://public.example@127.0.0.1:{port}/"),
        format!("http://public.example\\@127.0.0.1:{port}/"),
        format!("http://public.example#@127.0.0.1:{port}/"),
        format!("http://public.example?@127.0.0.1:{port}/"),
        format!("http:///127.0.0.1:{port}/"),
        format!("http:\\\\127.0.0.1:{port}/"),
        format!("ht\ntp://127.0.0.1\t:{port}/"),
        format!("http://127.0.0.1%00.public.example:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://localhost.:{port}/"),
        format!("ftp://127.0.0.1:{port}/"),
        format!("http://{}.example:{port}/", "a".repeat(300)),
        String::new(),
    ] {
        let report = post_in_time(&client, &url).await;
        assert!(matches!(code(&report), Some(Blocked | Dns)), "{url}: {report:?}");
        assert!(!detail(&report).contains("127.0.0.1"), "{report:?}");
    }
    assert_eq!(receiver.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn a_name_with_one_closed_address_is_closed() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let answers = [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "93.184.215.14 127.0.0.1",
        "127.0.0.1 93.184.215.14",
        "2606:4700::1 fe80::1",
        "93.184.215.14 ::ffff:10.0.0.1",
    ];
    let script = answers.iter().enumerate().fold(Script::default(), |script, (at, answer)| {
        script.answer(&format!("n{at}.example"), [addresses(answer)])
    });
    let client = client(resolving(script, closed()));
    for at in 0..answers.len() {
        let report = post_in_time(&client, &receiver.url_at(&format!("n{at}.example"), "/hook")).await;
        assert_deferred(&report, Blocked, ALIKE);
    }
    assert_eq!(receiver.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_dialled() -> anyhow::Result<()> {
    // A name server that shows an allowed address first and another one ever after. Were the name
    // looked up again to connect, the second address, where a receiver waits, would be reached.
    let bait =
        Receiver::start_with(Setup { address: Some("127.0.0.2:0".parse()?), ..Setup::default() }).await?;
    let script =
        Script::default().answer("rebinding.example", [addresses("127.0.0.1"), addresses("127.0.0.2")]);
    let only_first = Outbound { allow: vec!["127.0.0.1/32".parse()?], ..settings() };
    let client = client(resolving(script, only_first));
    let url = bait.url_at("rebinding.example", "/hook");
    let report = post(&client, &url).await;
    assert_deferred(&report, Connect, "could not connect to rebinding.example");
    // And the next attempt is judged anew.
    assert_deferred(&post(&client, &url).await, Blocked, ALIKE);
    assert_eq!(bait.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn each_redirect_is_looked_up_and_judged_anew() -> anyhow::Result<()> {
    use bellbuoy_methods::http::Sending;
    use bellbuoy_testkit::receiver::Answer;
    // The name is allowed for the request itself, and leads elsewhere at the redirect to a new connection of its own.
    let receiver = Receiver::start().await?;
    let bait =
        Receiver::start_with(Setup { address: Some("127.0.0.2:0".parse()?), ..Setup::default() }).await?;
    let port = bait.address().port();
    for location in [
        format!("http://rebinding.example:{port}/there"),
        format!("http://second.example:{port}/there"),
        format!("http://mixed.example:{port}/there"),
    ] {
        let script = Script::default()
            .answer("rebinding.example", [addresses("127.0.0.1"), addresses("127.0.0.2")])
            .answer("second.example", [addresses("127.0.0.2")])
            .answer("mixed.example", [addresses("127.0.0.1 127.0.0.2")]);
        let only_first = Outbound { allow: vec!["127.0.0.1/32".parse()?], ..settings() };
        let client = client(resolving(script, only_first));
        receiver.script("/hook", [Answer::status(307).with("location", &location)]);
        let url = receiver.url_at("rebinding.example", "/hook");
        let sending = Sending {
            method: http::Method::POST,
            url: &url,
            headers: http::HeaderMap::new(),
            body: "{}".into(),
            success: None,
            follow: true,
            may_follow: None,
            private: &[],
            tls: None,
        };
        let report = client.send(sending, jiff::Timestamp::now()).await;
        assert_deferred(&report, Blocked, ALIKE);
    }
    assert_eq!(bait.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn an_opened_network_opens_no_other() -> anyhow::Result<()> {
    let open = Receiver::start().await?;
    let shut =
        Receiver::start_with(Setup { address: Some("127.0.0.2:0".parse()?), ..Setup::default() }).await?;
    let client = client(Outbound {
        allow: vec!["127.0.0.0/8".parse()?],
        deny: vec!["127.0.0.2/32".parse()?],
        ..settings()
    });
    assert_eq!(code(&post(&client, &open.url("/hook")).await), None);
    assert_deferred(&post(&client, &shut.url("/hook")).await, Blocked, ALIKE);
    assert_deferred(&post(&client, &shut.url_at("[::1]", "/hook")).await, Blocked, ALIKE);
    assert_eq!(shut.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn trouble_with_names_is_said_and_bounded() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let script = Script::default()
        .answer("silent.example", [ScriptedAnswer::Silence])
        .answer("empty.example", [addresses("")])
        .answer("crowded.example", [ScriptedAnswer::Addresses(vec![IpAddr::from([127, 0, 0, 1]); 200])]);
    let scripted = client(resolving(script, settings()));
    for (host, said) in [
        ("silent.example", "no name server told the address of silent.example within 400ms"),
        ("empty.example", "empty.example has no address: there is no such name"),
        ("unknown.example", "unknown.example has no address: there is no such name"),
    ] {
        assert_deferred(&post_in_time(&scripted, &receiver.url_at(host, "/hook")).await, Dns, said);
    }
    assert_eq!(code(&post(&scripted, &receiver.url_at("crowded.example", "/hook")).await), None);
    // The machine's own resolver; `.invalid` never exists (RFC 6761), whether or not there is a network.
    let report = post_in_time(&client(settings()), "http://receiver.invalid/hook").await;
    assert_deferred(&report, Dns, "receiver.invalid");
    Ok(())
}

#[tokio::test]
async fn a_socks_proxy_is_asked_for_each_address_until_it_knows_a_way() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let unreachable = ["[2606:4700::1]", "[2606:4700::2]"].map(str::to_owned).to_vec();
    let setup = proxy::Setup { unreachable, ..proxy::Setup::to(receiver.address()) };
    let proxy = proxy::Proxy::start(setup).await?;
    let ways = |found: &str| {
        let script = Script::default().answer("two.example", [addresses(found)]);
        let asked = Proxy::parse(&format!("socks5://{}", proxy.address()));
        client(Outbound { proxy: asked, ..resolving(script, settings()) })
    };
    let url = "http://two.example:8000/hook";
    assert_eq!(code(&post(&ways("2606:4700::1 93.184.215.14"), url).await), None);
    assert_eq!(proxy.asked(), ["[2606:4700::1]:8000", "93.184.215.14:8000"]);
    let report = post(&ways("2606:4700::1 2606:4700::2"), url).await;
    assert_deferred(&report, Connect, "the proxy could not connect");
    assert_eq!(proxy.asked().len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_dead_address_beside_a_live_one_costs_a_moment_only() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let script = Script::default()
        // Nobody listens on the first; the second is from a network that drops everything.
        .answer("refusing.example", [addresses("127.0.0.3 127.0.0.1")])
        .answer("silent.example", [addresses("192.0.2.1 127.0.0.1")]);
    let client = client(resolving(
        script,
        Outbound { allow: vec!["127.0.0.0/8".parse()?, "192.0.2.0/24".parse()?], ..settings() },
    ));
    for host in ["refusing.example", "silent.example"] {
        let report = post_in_time(&client, &receiver.url_at(host, "/hook")).await;
        assert_eq!(code(&report), None, "{host}: {report:?}");
    }
    Ok(())
}

/// Every way to write an address that a URL or a name server takes.
fn spellings(bits: u32) -> Vec<String> {
    let [a, b, c, d] = bits.to_be_bytes();
    let (low, lower) = (bits & 0xff_ffff, bits & 0xffff);
    let (high, tail) = (bits >> 16, bits & 0xffff);
    let wide =
        |text: &str| text.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c)).collect();
    let plain = format!("{a}.{b}.{c}.{d}");
    vec![
        plain.clone(),
        format!("{plain}."),
        format!("{bits}"),
        format!("{bits:#x}"),
        format!("{bits:#X}").replace("0X", "0x"),
        format!("0{bits:o}"),
        format!("{a}.{low}"),
        format!("{a}.{b}.{lower}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a:#x}.0{b:o}.{lower}"),
        plain.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat(),
        wide(&plain),
        plain.replace('.', "\u{3002}"),
        format!("[::ffff:{plain}]"),
        format!("[::ffff:{high:x}:{tail:x}]"),
        format!("[::{high:x}:{tail:x}]"),
        format!("[64:ff9b::{plain}]"),
        format!("[64:ff9b:1::{high:x}:{tail:x}]"),
        format!("[2002:{high:x}:{tail:x}::1]"),
        format!("[2001:0:{high:x}:{tail:x}:0:0:{:x}:{:x}]", !high & 0xffff, !tail & 0xffff),
    ]
}

/// Every way to write an IPv6 address in a URL: with and without its leading zeros, in capitals, its end as an IPv4
/// address, and `::` in each place where it can stand.
fn spellings_v6(address: Ipv6Addr) -> Vec<String> {
    let groups = address.segments();
    let [.., a, b, c, d] = address.octets();
    let short: Vec<String> = groups.iter().map(|group| format!("{group:x}")).collect();
    let mut written = vec![
        address.to_string(),
        groups.map(|group| format!("{group:04x}")).join(":"),
        groups.map(|group| format!("{group:X}")).join(":"),
        format!("{}:{a}.{b}.{c}.{d}", short[..6].join(":")),
    ];
    for from in 0..8 {
        for to in from + 1..=8 {
            if groups[from..to].iter().all(|group| *group == 0) {
                written.push(format!("{}::{}", short[..from].join(":"), short[to..].join(":")));
            }
        }
    }
    written.into_iter().map(|text| format!("[{text}]")).collect()
}

/// Any address of any network that is closed by default, half of them with few bits set, which `::` can shorten.
fn closed_address() -> impl Strategy<Value = IpAddr> {
    let networks: Vec<IpNet> = AddressRules::closed_by_default().collect();
    (prop::sample::select(networks), any::<u128>(), any::<bool>(), any::<u128>()).prop_filter_map(
        "an IPv4 address written as IPv6 is judged as what it is",
        |(network, host, is_sparse, mask)| {
            let host =
                if is_sparse { host & mask & mask.rotate_left(41) & mask.rotate_left(83) } else { host };
            match network {
                IpNet::V4(net) => {
                    let host = u32::try_from(host & u128::from(net.hostmask().to_bits())).ok()?;
                    Some(IpAddr::V4((net.network().to_bits() | host).into()))
                }
                IpNet::V6(net) => {
                    let address = Ipv6Addr::from(net.network().to_bits() | (host & net.hostmask().to_bits()));
                    address.to_ipv4_mapped().is_none().then_some(IpAddr::V6(address))
                }
            }
        },
    )
}

#[test]
fn an_ipv6_address_has_every_spelling() {
    let written = spellings_v6("2001:db8::7f00:1".parse().expect("an address"));
    for spelling in [
        "[2001:db8::7f00:1]",
        "[2001:0db8:0000:0000:0000:0000:7f00:0001]",
        "[2001:DB8:0:0:0:0:7F00:1]",
        "[2001:db8:0:0:0:0:127.0.0.1]",
        "[2001:db8::0:0:0:7f00:1]",
        "[2001:db8:0::0:7f00:1]",
    ] {
        assert!(written.iter().any(|one| one == spelling), "{spelling} is not in {written:?}");
    }
    let address = |text: &String| text.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok();
    assert!(written.iter().all(|text| address(text) == address(&written[0])), "{written:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Of every network that is closed, any address in any spelling: nothing is dialled.
    #[test]
    fn no_spelling_of_a_closed_address_is_dialled(bits in closed_address()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = client(resolving(Script::default(), closed()));
            let spellings = match bits {
                IpAddr::V4(v4) => spellings(v4.to_bits()),
                IpAddr::V6(v6) => spellings_v6(v6),
            };
            for spelling in spellings {
                let report = post(&client, &format!("http://{spelling}:9009/hook")).await;
                assert_deferred(&report, Blocked, ALIKE);
            }
        });
    }

    /// Any host text at all, with every address answered by loopback: never a connection.
    #[test]
    fn whatever_the_url_nothing_closed_is_reached(host in "[0-9a-fx.:%\\[\\]@#/?\\\\]{1,24}|\\PC{1,12}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let receiver = Receiver::start().await.expect("a receiver");
            // A text can be a public address as well, and no test asks the world.
            let everything = ["0.0.0.0/0", "::/0"].map(|network| network.parse().expect("a network")).to_vec();
            let client = client(resolving(Script::default(), Outbound { deny: everything, ..closed() }));
            let report = post(&client, &receiver.url_at(&host, "/hook")).await;
            assert!(matches!(code(&report), Some(Blocked | Dns | Connect)), "{host:?}: {report:?}");
            assert_eq!(receiver.connections(), 0);
        });
    }
}
