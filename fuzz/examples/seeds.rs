//! Writes the seeds of the fuzz targets to `seeds/`: `cargo run --example seeds`, here.

use std::{fs, path::Path};

use proxyip_fuzz::{
    packet::input::{Configuration, Flow, Form, Input, Step},
    sample::crc32c,
};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0xc8, 0x22, 0x01, 0xbb];

/// A version 2 header; a checksum among the vectors is filled in.
fn binary(command: u8, family: u8, addresses: &[u8], vectors: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = addresses.to_vec();
    let mut checksum = None;
    for (kind, value) in vectors {
        if *kind == 0x03 {
            checksum = Some(16 + body.len() + 3);
        }
        body.push(*kind);
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
    }
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    if let Some(at) = checksum {
        let checksum = crc32c(&header);
        header[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    }
    header
}

fn ipv6() -> Vec<u8> {
    let mut addresses = vec![0; 36];
    addresses[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    addresses[15] = 9;
    addresses[16..20].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    addresses[31] = 1;
    addresses[32..].copy_from_slice(&[0xc8, 0x22, 0x01, 0xbb]);
    addresses
}

/// Headers as load balancers and the specification write them.
fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    // HAProxy's `send-proxy-v2-ssl-cn`.
    let ssl = [
        &b"\x01\0\0\0\0"[..],
        b"\x21\0\x07TLSv1.3",
        b"\x22\0\x0bexample.org",
        b"\x23\0\x16TLS_AES_256_GCM_SHA384",
    ]
    .concat();
    vec![
        ("v1-tcp4", b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\nGET /".to_vec()),
        ("v1-tcp6", b"PROXY TCP6 2001:db8::9 2001:db8::1 51234 443\r\n".to_vec()),
        ("v1-tcp6-mapped", b"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:c000:201 51234 443\r\n".to_vec()),
        ("v1-tcp6-longest", format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n").into_bytes()),
        ("v1-tcp6-ipv4-ends", b"PROXY TCP6 203.0.113.9 192.0.2.1 51234 443\r\n".to_vec()),
        ("v1-tcp4-ipv6-end", b"PROXY TCP4 203.0.113.9 2001:db8::1 51234 443\r\n".to_vec()),
        ("v1-unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v1-unknown-addresses", b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec()),
        (
            "v1-specification",
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(),
        ),
        ("v1-cut-off", b"PROXY TCP4 203.0.113.9 192.".to_vec()),
        ("v2-tcp4", [&binary(0x21, 0x11, &IPV4, &[])[..], b"GET /"].concat()),
        ("v2-tcp6", binary(0x21, 0x21, &ipv6(), &[])),
        ("v2-unix", binary(0x21, 0x31, &[b'/'; 216], &[])),
        ("v2-unspecified", binary(0x21, 0x00, &[], &[])),
        ("v2-datagram", binary(0x21, 0x12, &IPV4, &[])),
        (
            "v2-long",
            binary(0x21, 0x11, &IPV4, &[(0xe4, &[7; 4090]), (0x03, &[0; 4]), (0xe5, &[8; 900])]),
        ),
        ("v2-datagram-ipv6", binary(0x21, 0x22, &ipv6(), &[(0x01, b"dot")])),
        ("v2-local-haproxy", binary(0x20, 0x00, &[], &[])),
        ("v2-local-aws-health-check", binary(0x20, 0x11, &[], &[(0x04, &[0; 81])])),
        (
            "v2-aws-endpoint",
            binary(
                0x21,
                0x11,
                &IPV4,
                &[(0x03, &[0; 4]), (0xea, b"\x01vpce-08d2bf15fac5001c9"), (0x04, &[0; 36])],
            ),
        ),
        ("v2-azure-private-link", binary(0x21, 0x11, &IPV4, &[(0xee, &[1, 4, 3, 2, 1])])),
        (
            "v2-gcp-private-service",
            binary(0x21, 0x21, &ipv6(), &[(0xe0, &[0, 0, 0, 1, 2, 3, 4, 5])]),
        ),
        (
            "v2-haproxy-ssl",
            binary(
                0x21,
                0x11,
                &IPV4,
                &[
                    (0x01, b"h2"),
                    (0x02, b"example.org"),
                    (0x05, b"5f2c1a34-0b1d"),
                    (0x20, &ssl),
                    (0x03, &[0; 4]),
                ],
            ),
        ),
        ("v2-namespace", binary(0x21, 0x11, &IPV4, &[(0x30, b"blue")])),
        ("v2-vector-too-long", binary(0x21, 0x11, &[&IPV4[..], &[0x05, 0, 9, 1]].concat(), &[])),
        ("v2-longest", binary(0x21, 0x11, &IPV4, &[(0xe4, &[7; 4096 - 16 - 12 - 3])])),
    ]
}

const FLOW: Flow = Flow(0);
const IPV6_FLOW: Flow = Flow(1);

fn plain(skb: u8) -> Form {
    Form { options: 2, odd: 0, skb }
}

/// A SYN with the usual options, the handshake's ACK, and what follows.
fn connection(flow: Flow, rest: &[Step]) -> Vec<Step> {
    let syn = Form { options: 1, ..plain(9) };
    [&[Step::Syn(flow, syn), Step::Ack(flow, plain(9))], rest].concat()
}

const MODERN: Configuration = Configuration {
    modern: true,
    hand_off: 0,
    untrusted: 0,
    refuses: 0,
    off: 0,
    mptcp: false,
    small_tables: false,
    events_full: false,
};
/// A listener whose connections are translated.
const TRANSLATE: Configuration = Configuration { hand_off: 2, ..MODERN };

fn stream(header: &str) -> Vec<u8> {
    let header = headers().into_iter().find(|(name, _)| *name == header).expect("a header").1;
    [&[0][..], &header].concat()
}

fn input(configuration: Configuration, steps: Vec<Step>) -> Input {
    Input { configuration, streams: [stream("v1-tcp4"), stream("v2-tcp6")], steps }
}

/// All of the stream at once.
fn first(flow: Flow) -> Step {
    Step::First(flow, 9000, plain(9))
}

fn data(from: u16, length: u16) -> Step {
    Step::Data(FLOW, from, length, plain(9))
}

/// Everything at once, some of it again, and a FIN.
fn all(flow: Flow) -> Vec<Step> {
    let again = Step::Data(flow, 60, 40, plain(9));
    connection(flow, &[first(flow), again, Step::Any(flow, 0x11, 80, 0, plain(9))])
}

/// Each hand-off.
fn hand_offs() -> Vec<(&'static str, Input)> {
    let observe = Configuration { hand_off: 3, ..MODERN };
    let basic = Configuration { modern: false, ..MODERN };
    let mptcp = Configuration { mptcp: true, ..MODERN };
    let reset = Configuration { untrusted: 1, ..MODERN };
    vec![
        ("accept", input(MODERN, all(FLOW))),
        ("accept-ipv6", input(MODERN, all(IPV6_FLOW))),
        ("translate", input(TRANSLATE, all(FLOW))),
        ("translate-ipv6", input(TRANSLATE, all(IPV6_FLOW))),
        ("translate-basic", input(basic, all(FLOW))),
        ("translate-mptcp", input(mptcp, all(FLOW))),
        ("observe", input(observe, all(FLOW))),
        ("untrusted", input(reset, all(Flow(2)))),
        ("another-port", input(MODERN, all(Flow(3)))),
    ]
}

/// Headers that come otherwise than at once.
fn orders() -> Vec<(&'static str, Input)> {
    let probe = || connection(FLOW, &[Step::Probe(FLOW, plain(9)), first(FLOW)]);
    let split = || {
        let beginning = Step::First(FLOW, 20, plain(9));
        connection(FLOW, &[beginning, data(20, 30), data(50, 100)])
    };
    let alone = [Step::First(FLOW, 44, plain(9)), data(44, 40)];
    let longest = [connection(FLOW, &[first(FLOW)]), connection(IPV6_FLOW, &[first(IPV6_FLOW)])];
    let streams = [stream("v2-longest"), stream("v2-haproxy-ssl")];
    vec![
        ("probes", input(MODERN, probe())),
        ("translate-probes", input(TRANSLATE, probe())),
        ("header-alone", input(TRANSLATE, connection(FLOW, &alone))),
        ("header-split", input(MODERN, split())),
        ("translate-header-split", input(TRANSLATE, split())),
        ("overtaken", input(MODERN, connection(FLOW, &[data(44, 10), first(FLOW)]))),
        ("late", input(MODERN, connection(FLOW, &[Step::Wait(4000), first(FLOW)]))),
        ("longest", Input { streams, ..input(MODERN, longest.concat()) }),
    ]
}

/// What happens to connections.
fn mishaps() -> Vec<(&'static str, Input)> {
    let fails = [Step::Fail(3), first(FLOW), first(FLOW)];
    let unsummed = [Step::First(FLOW, 9000, plain(8))];
    let over = || vec![Step::TimeWait(FLOW)];
    let retired = [vec![Step::Retire(true)], vec![data(60, 40)]];
    let reset = [first(FLOW), Step::Any(FLOW, 0x14, 80, 0, plain(9))];
    let request = [b"\0GET / HTTP/1.1\r\n".to_vec(), vec![]];
    let unheard = [Step::Syn(FLOW, plain(9)), Step::Syn(IPV6_FLOW, plain(9)), first(FLOW)];
    let forgetful = Configuration { small_tables: true, ..TRANSLATE };
    vec![
        ("fails", input(MODERN, connection(FLOW, &fails))),
        ("unsummed", input(MODERN, connection(FLOW, &unsummed))),
        ("time-wait", input(MODERN, [over(), all(FLOW)].concat())),
        ("again", input(TRANSLATE, [all(FLOW), over(), all(FLOW)].concat())),
        ("retired", input(TRANSLATE, [all(FLOW), retired.concat()].concat())),
        ("reset", input(TRANSLATE, connection(FLOW, &reset))),
        ("no-header", Input { streams: request, ..input(TRANSLATE, all(FLOW)) }),
        ("forgotten", input(forgetful, unheard.to_vec())),
    ]
}

/// Connections that end, and then begin again.
fn lives() -> Vec<(&'static str, Input)> {
    let accepts = Configuration { hand_off: 1, ..MODERN };
    let observe = Configuration { hand_off: 3, ..MODERN };
    let basic = Configuration { modern: false, ..MODERN };
    let mut inputs = Vec::new();
    for (name, configuration, flow) in [
        ("gone", MODERN, FLOW),
        ("gone-observe", observe, FLOW),
        ("gone-accept", accepts, FLOW),
        ("gone-ipv6", MODERN, IPV6_FLOW),
        ("gone-translate", TRANSLATE, FLOW),
        ("gone-translate-ipv6", TRANSLATE, IPV6_FLOW),
        ("gone-translate-basic", basic, FLOW),
    ] {
        let more = Step::Data(flow, 60, 40, plain(9));
        // The peer asks on, its first segment comes once more, and it probes.
        let after = [more, first(flow), Step::Probe(flow, plain(9)), Step::Wait(2000), first(flow)];
        let life = [first(flow), Step::Answer(flow, 1), Step::Forget(flow)];
        let again = [first(flow), Step::Forget(flow), first(flow)];
        let last = connection(flow, &[first(flow)]);
        let lives = [connection(flow, &life), after.to_vec(), connection(flow, &again), last];
        inputs.push((name, input(configuration, lives.concat())));
    }
    inputs
}

/// Segments with a byte that differs from what was sent, before those that are whole.
fn damages() -> Vec<(&'static str, Input)> {
    // The byte at this place is another one.
    let damaged = |place| Form { options: 2, odd: 0x86, skb: place };
    let steps = || {
        vec![
            Step::Syn(FLOW, Form { options: 1, ..damaged(57) }),
            Step::Syn(FLOW, Form { options: 1, ..plain(9) }),
            Step::Ack(FLOW, damaged(41)),
            Step::Ack(FLOW, plain(9)),
            Step::First(FLOW, 9000, damaged(73)),
            first(FLOW),
            Step::Data(FLOW, 60, 40, damaged(41)),
            Step::Data(FLOW, 60, 40, plain(9)),
        ]
    };
    // An acknowledgment of nothing, to a socket that gets no cookies.
    let mptcp = Configuration { mptcp: true, ..TRANSLATE };
    let stray = || [vec![Step::Ack(FLOW, damaged(41))], all(FLOW)].concat();
    let reset = Configuration { untrusted: 1, ..MODERN };
    let stranger = || [vec![Step::Syn(Flow(2), damaged(41))], all(FLOW)].concat();
    vec![
        ("damaged", input(MODERN, steps())),
        ("damaged-translate", input(TRANSLATE, steps())),
        ("damaged-stray", input(mptcp, stray())),
        ("damaged-untrusted", input(reset, stranger())),
    ]
}

/// Streams without a header, where they are allowed.
fn without_headers() -> Vec<(&'static str, Input)> {
    let headerless = |configuration| Configuration { refuses: 0x40, ..configuration };
    let unknown = Configuration { refuses: 0x20, ..MODERN };
    let request = || [b"\0GET / HTTP/1.1\r\n".to_vec(), stream("v2-tcp6")];
    let both = || [all(FLOW), all(IPV6_FLOW)].concat();
    let undecided = || {
        let beginning = Step::First(FLOW, 2, plain(9));
        connection(FLOW, &[beginning, data(2, 40), first(FLOW)])
    };
    let line = || [b"\0\r\nGET / HTTP/1.1\r\n".to_vec(), vec![]];
    let nobody = || [stream("v1-unknown"), vec![]];
    let broken = || [stream("v1-cut-off"), vec![]];
    vec![
        ("headerless", Input { streams: request(), ..input(headerless(MODERN), both()) }),
        (
            "headerless-translate",
            Input { streams: request(), ..input(headerless(TRANSLATE), both()) },
        ),
        ("headerless-split", Input { streams: line(), ..input(headerless(MODERN), undecided()) }),
        ("headerless-broken", Input { streams: broken(), ..input(headerless(MODERN), all(FLOW)) }),
        ("unknown-is-local", Input { streams: nobody(), ..input(unknown, all(FLOW)) }),
    ]
}

fn main() -> std::io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(seeds.join(target))?;
        fs::write(seeds.join(target).join(name), bytes)
    };
    for (name, header) in headers() {
        let taken_as_it_is = [&[0][..], &header].concat();
        write("header", name, &taken_as_it_is)?;
        write("differential", name, &taken_as_it_is)?;
    }
    let inputs = [hand_offs(), orders(), mishaps(), lives(), damages(), without_headers()];
    for (name, input) in inputs.concat() {
        write("packet", name, &input.write())?;
    }
    Ok(())
}
