//! `include/proxyip.h` says what the answer is made of.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::process::Command;

use proxyip_common::flow::{HandOff as Given, Origin};
use proxyip_common::socket_option::{INFO, LEVEL, SocketAddress, SocketInfo};
use proxyip_tests::{Agent, HandOff, Scratch, Site, address, attempt};

use super::{connect, guard, listen};
use crate::common::{header_of_client, trusted_dial};

const HEADER: &str = include_str!("../../../../include/proxyip.h");

/// The file's constants, each with what it stands for.
fn constants() -> Vec<(&'static str, i64)> {
    vec![
        ("PROXYIP_LEVEL", LEVEL.into()),
        ("PROXYIP_INFO", INFO.into()),
        ("PROXYIP_ABI", SocketInfo::ABI.into()),
        ("PROXYIP_PROXIED", Origin::Proxied as i64),
        ("PROXYIP_LOCAL", Origin::Local as i64),
        ("PROXYIP_UNKNOWN", Origin::Unknown as i64),
        ("PROXYIP_ACCEPT", Given::Accept as i64),
        ("PROXYIP_TRANSLATE", Given::Translate as i64),
        ("PROXYIP_OBSERVE", Given::Observe as i64),
        ("PROXYIP_DENIED", SocketInfo::DENIED.into()),
    ]
}

/// Sizes and places, in bytes, as expressions of C.
fn layout() -> Vec<(String, i64)> {
    let place = |field, offset| (format!("offsetof(struct proxyip_info, {field})"), offset);
    let within = |member, offset| (format!("offsetof(union proxyip_address, {member})"), offset);
    let (family, port, words) = (
        offset_of!(SocketAddress, family),
        offset_of!(SocketAddress, port),
        offset_of!(SocketAddress, words),
    );
    let layout = [
        ("sizeof(struct proxyip_info)".into(), size_of::<SocketInfo>()),
        ("sizeof(union proxyip_address)".into(), size_of::<SocketAddress>()),
        place("abi", offset_of!(SocketInfo, abi)),
        place("header_version", offset_of!(SocketInfo, header_version)),
        place("origin", offset_of!(SocketInfo, origin)),
        place("hand_off", offset_of!(SocketInfo, hand_off)),
        place("flags", offset_of!(SocketInfo, flags)),
        place("reserved", offset_of!(SocketInfo, reserved)),
        place("client", offset_of!(SocketInfo, client)),
        place("destination", offset_of!(SocketInfo, destination)),
        within("sa.sa_family", family),
        within("in.sin_port", port),
        within("in.sin_addr", words),
        within("in6.sin6_port", port),
        within("in6.sin6_addr", words + 4),
        ("AF_INET".into(), SocketAddress::INET.into()),
        ("AF_INET6".into(), SocketAddress::INET6.into()),
    ];
    layout.map(|(what, value)| (what, i64::try_from(value).expect("it is small"))).into()
}

/// All that is compared: expressions and their values.
fn expected() -> Vec<(String, i64)> {
    let constants = constants().into_iter().map(|(name, value)| (name.to_owned(), value));
    constants.chain(layout()).collect()
}

/// A program, of C and C++, that prints each of these expressions and its value.
fn program(expressions: &[(String, i64)]) -> String {
    let print = |(what, _): &(String, i64)| {
        format!("\tprintf(\"%s = %ld\\n\", \"{what}\", (long)({what}));\n")
    };
    let lines: String = expressions.iter().map(print).collect();
    // First what is asked about: it must not need what others include.
    format!(
        "#include \"proxyip.h\"\n#include <stdio.h>\nint main(void)\n{{\n{lines}\treturn 0;\n}}\n"
    )
}

#[test]
fn its_constants_and_layout_are_those_of_the_answer_in_each_language() {
    let (scratch, expected) = (Scratch::new(), expected());
    scratch.write("proxyip.h", HEADER);
    let lines: Vec<_> = expected.iter().map(|(what, value)| format!("{what} = {value}")).collect();
    for (compiler, standard, file) in [
        ("gcc", "c99", "layout.c"),
        ("gcc", "c11", "layout.c"),
        ("g++", "c++98", "layout.cc"),
        ("g++", "c++11", "layout.cc"),
        ("g++", "c++20", "layout.cc"),
    ] {
        let source = scratch.write(file, &program(&expected));
        let binary = scratch.path(standard);
        let mut command = Command::new(compiler);
        command.args([&format!("-std={standard}"), "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        let compiled = attempt(command.args([&source, "-o"]).arg(&binary));
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{standard}: {said}");
        let printed = attempt(&mut Command::new(&binary)).stdout;
        let printed = String::from_utf8(printed).expect("text");
        assert_eq!(printed.lines().collect::<Vec<_>>(), lines, "{standard}");
    }
}

/// If you add a constant to the file, the test must compare it, too.
#[test]
fn it_has_no_other_constants() {
    let defined = HEADER.lines().filter_map(|line| line.strip_prefix("#define "));
    // Without the include guard, which has no value, and without macros that take arguments.
    let constants_there = defined.filter_map(|line| line.split_once(' ')).map(|(name, _)| name);
    let named: Vec<_> = constants_there.filter(|name| !name.contains('(')).collect();
    assert_eq!(named, constants().into_iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn a_negative_length_is_invalid() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    let mut agent = Agent::start(&site, &guard(HandOff::Auto));
    let (_peer, socket) = connect(&site, &listener, &trusted_dial(80), &header_of_client());
    let (mut value, mut length) = ([0_u8; size_of::<SocketInfo>()], libc::socklen_t::MAX);
    // SAFETY: the kernel takes the length for -1, and refuses it before it writes anything; an answer would have room.
    let outcome = unsafe {
        let value = value.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), LEVEL, INFO, value, &raw mut length)
    };
    let error = io::Error::last_os_error().raw_os_error();
    assert_eq!((outcome, error), (-1, Some(libc::EINVAL)));
    site.finish(&mut agent, &[]);
}
