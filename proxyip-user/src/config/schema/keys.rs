//! The entries of the schema, a module for each table.

use std::net::SocketAddr;

use proxyip_common::settings::{Denied, HandOffChoice, MAX_LISTENERS, MAX_SETS, Untrusted};

use super::entry::{
    Choice, Choices, Effect, Fallback, Flag, Form, Group, Key, Namespace, Need, NetworkList,
    Number, Path, Ports, Seconds, Section, Shape, Text,
};
use crate::config::listener::{Headerless, Unknown};
use crate::config::model::FlowFormat;
use crate::config::places::{Names, Xdp};
use crate::config::value;

/// All tables of the file, in the order in which the documents show them.
pub static SECTIONS: &[&Section] = &[
    &interface::SECTION,
    &listener::SECTION,
    &set::SECTION,
    &api::SECTION,
    &log::SECTION,
    &agent::SECTION,
];

/// The section of a table: each key is a constant, and in the section's list.
macro_rules! section {
    (
        $name:ident, $shape:expr, later $later:expr, $doc:literal;
        $($key:ident $label:literal: $kind:ty = $value:expr, $default:expr, $effect:ident, $text:literal;)*
    ) => {
        #[doc = $doc]
        pub(in crate::config) mod $name {
            use crate::config::schema::keys::*;

            $(
                #[doc = $text]
                pub(in crate::config) static $key: Key<$kind> = Key {
                    name: $label,
                    kind: $value,
                    default: $default,
                    effect: Effect::$effect,
                    doc: $text,
                };
            )*

            pub(in crate::config) static SECTION: Section = Section {
                name: stringify!($name),
                shape: $shape,
                doc: $doc,
                keys: &[$(&$key,)*],
                later: $later,
            };
        }
    };
}

/// For the tables with a configurable size.
const ENTRIES: Number = Number { least: 1024, most: 16_777_216 };
const PATH: Path =
    Text { form: Form { words: "an absolute path", pattern: "^/" }, parse: value::absolute_path };
const MODE: Text<u32> = Text {
    form: Form { words: "octal permissions", pattern: "^0*[0-7]{1,3}$" },
    parse: value::octal,
};
const GROUP: Group = Text {
    form: Form { words: "a group's name or number", pattern: "^." },
    parse: value::group_name,
};

section! {
    interface, Shape::Tables(Need::OneByDefault, None), later &[],
    "An interface on which packets of load balancers arrive.";
    NAME "name": Text<Names> = Text {
        form: Form {
            words: "an interface's name, or a pattern such as `\"eth*\"`",
            pattern: r"^((?!\.{1,2}$)[^ \t\n\r\f/:*?\[\u0000]{1,15}|[^ \t\n\r\f/:\u0000]*[*?\[][^ \t\n\r\f/:\u0000]*)$",
        },
        parse: value::interfaces,
    }, Fallback::Value("\"eth0\""), Reload,
    "The interface that holds the address to which the load balancer connects. For a bridge, a bond or a VLAN this is the \
     upper interface; never name its members too. In a pattern, `*` stands for any characters, `?` for one, and `[0-9]` for \
     one of these: see [Patterns](#patterns).";
    NETNS "netns": Namespace = Text {
        form: Form {
            words: "`\"host\"`, the absolute path of a namespace file, or a pattern of such paths",
            pattern: r"^(host|/[^*?\[]*([*?\[][^/]*)?)$",
        },
        parse: value::netns,
    }, Fallback::Value("\"host\""), Reload,
    "The network namespace of the interface. `\"host\"` is the namespace in which the agent was started. A pattern such as \
     `\"/run/netns/cni-*\"` has wildcards behind its last slash only.";
    XDP "xdp": Choice<Xdp> = Choice(&[
        ("off", Xdp::Off), ("auto", Xdp::Auto), ("native", Xdp::Native), ("generic", Xdp::Generic),
    ]), Fallback::Value("\"off\""), Reload,
    "Whether a program at XDP answers SYNs before the kernel allocates memory for them. `\"native\"` puts it into the driver, \
     which may reset its queues. `\"auto\"` does so where the driver is known to do it well. `\"generic\"` is for tests. See \
     [XDP](limits.md#xdp).";
}

section! {
    listener, Shape::Tables(Need::Required, Some(MAX_LISTENERS)), later &[],
    "Ports that proxyip guards, and the rules for their connections.";
    NAME "name": Text<String> = Text {
        form: Form { words: "at most 63 bytes, without control characters", pattern: r"\S" },
        parse: value::listener_name,
    }, Fallback::Value("\"default\""), Reload,
    "The listener's name in logs, metrics and the API. No two listeners have the same name.";
    PORTS "ports": Ports = Ports, Fallback::Required, Reload,
    "The ports to guard: numbers from 1 to 65535, or ranges such as `\"8000-8010\"`. A port belongs to one listener.";
    TRUSTED "trusted": NetworkList = NetworkList,
    Fallback::RequiredUnless("trusted_file"), Reload,
    "The networks of the load balancers. Their connections must start with a PROXY header, and proxyip believes it. Trust \
     as little as you can: whoever can send from a trusted address can claim to be any client.";
    TRUSTED_FILE "trusted_file": Path = PATH, Fallback::Absent("no file"), Reload,
    "A file with more trusted networks.";
    UNTRUSTED "untrusted": Choice<Untrusted> = Choice(&[
        ("bypass", Untrusted::Bypass), ("reset", Untrusted::Reset), ("drop", Untrusted::Drop),
    ]), Fallback::Value("\"bypass\""), Reload,
    "What happens to connections from other sources. `\"bypass\"` serves them as if proxyip were not there, `\"reset\"` \
     resets them, and `\"drop\"` does not answer.";
    ALLOW "allow": NetworkList = NetworkList, Fallback::Absent("all clients"), Reload,
    "The clients that may connect. All others are denied. The longest prefix of `allow` and `deny` wins.";
    ALLOW_FILE "allow_file": Path = PATH, Fallback::Absent("no file"), Reload,
    "A file with more clients that may connect. If the file and `allow` are empty, no client may connect.";
    DENY "deny": NetworkList = NetworkList, Fallback::Absent("no client"), Reload,
    "The clients that may not connect. The longest prefix of `allow` and `deny` wins.";
    DENY_FILE "deny_file": Path = PATH, Fallback::Absent("no file"), Reload,
    "A file with more clients that may not connect.";
    DENIED "denied": Choice<Denied> = Choice(&[
        ("reset", Denied::Reset), ("drop", Denied::Drop), ("mark", Denied::Mark),
    ]), Fallback::Value("\"reset\""), Reload,
    "What happens to denied clients. `\"reset\"` resets the connection, `\"drop\"` does not answer, and `\"mark\"` lets it \
     through with marked packets.";
    MARK "mark": Number = Number { least: 1, most: u32::MAX }, Fallback::Value("0x50"), Reload,
    "The bits that `denied = \"mark\"` sets in the mark of each packet. The key needs `denied = \"mark\"`.";
    VERSIONS "versions": Choices<u8> = Choices(&[("v1", 1), ("v2", 2)]),
    Fallback::Value("[\"v1\", \"v2\"]"), Reload,
    "The PROXY protocol versions that the listener accepts.";
    HAND_OFF "hand_off": Choice<HandOffChoice> = Choice(&[
        ("auto", HandOffChoice::Auto),
        ("accept", HandOffChoice::Accept),
        ("translate", HandOffChoice::Translate),
        ("observe", HandOffChoice::Observe),
    ]), Fallback::Value("\"auto\""), Reload,
    "How the application gets its connections. `\"auto\"` uses `accept`, and `translate` where `accept` is not possible.";
    UNKNOWN "unknown": Choice<Unknown> = Choice(&[
        ("accept", Unknown::Accept), ("reset", Unknown::Reset), ("local", Unknown::Local),
    ]), Fallback::Value("\"accept\""), Reload,
    "What happens to headers that name no client (UNSPEC, UNIX, UNKNOWN). Under `\"accept\"` the application sees the \
     load balancer, and an `allow` list denies the connection. Under `\"local\"` it is the load balancer's own, and no list \
     denies it. Health checks of Google Cloud load balancers send `PROXY UNKNOWN`.";
    HEADERLESS "headerless": Choice<Headerless> = Choice(&[
        ("reset", Headerless::Reset), ("local", Headerless::Local),
    ]), Fallback::Value("\"reset\""), Reload,
    "What happens to connections of trusted sources that begin without a PROXY header. Under `\"local\"` they are the load \
     balancer's own: the application sees the source, and no list denies it. Use it where one address sends both kinds, \
     such as a load balancer and the health checks of a kubelet.";
    HEADER_TIMEOUT "header_timeout": Seconds = Seconds(300), Fallback::Value("5"), Reload,
    "The seconds that a header may take from its first byte to its last. Below 3, one lost packet may end the connection.";
}

section! {
    set, Shape::Tables(Need::Optional, Some(MAX_SETS)), later &[],
    "A named set of networks for firewall rules.";
    NAME "name": Text<String> = Text {
        form: Form {
            words: "1 to 32 of the characters `A-Z a-z 0-9 _ -`",
            pattern: "^[A-Za-z0-9_-]{1,32}$",
        },
        parse: value::set_name,
    }, Fallback::Required, Reload,
    "The name of the set, and of its pin. No two sets have the same name.";
    CIDRS "cidrs": NetworkList = NetworkList, Fallback::RequiredUnless("file"), Reload,
    "The networks of the set.";
    FILE "file": Path = PATH, Fallback::Absent("no file"), Reload,
    "A file with more networks of the set.";
}

section! {
    api, Shape::Table, later &[],
    "Where the agent answers, and whom.";
    SOCKET "socket": Path = PATH, Fallback::Value("\"/run/proxyip/api.sock\""), Reload,
    "The Unix socket for HTTP.";
    SOCKET_MODE "socket_mode": Text<u32> = MODE, Fallback::Value("\"0660\""), Reload,
    "The permissions of `socket`: who may ask.";
    SOCKET_GROUP "socket_group": Group = GROUP, Fallback::Absent("the agent's group"), Reload,
    "The group of `socket`.";
    LOOKUP_SOCKET "lookup_socket": Path = PATH,
    Fallback::Absent("`lookup.sock` beside `socket`"), Reload,
    "The Unix socket for the line protocol. It must be another path than `socket`.";
    LOOKUP_SOCKET_MODE "lookup_socket_mode": Text<u32> = MODE, Fallback::Value("\"0660\""), Reload,
    "The permissions of `lookup_socket`.";
    LOOKUP_SOCKET_GROUP "lookup_socket_group": Group = GROUP,
    Fallback::Absent("the agent's group"), Reload,
    "The group of `lookup_socket`.";
    HTTP "http": Text<SocketAddr> = Text {
        form: Form { words: "an address and a port", pattern: r"^([0-9.]+|\[[0-9A-Fa-f.:]+\]):[0-9]{1,5}$" },
        parse: value::address,
    }, Fallback::Absent("no TCP"), Reload,
    "The TCP address for HTTP that only reads, such as `\"127.0.0.1:9811\"`. Every local user can reach a loopback address.";
    HTTP_REMOTE "http_remote": Flag = Flag, Fallback::Value("false"), Reload,
    "Whether `http` may be another address than a loopback address. Whoever reaches the address can ask for every client.";
    GETSOCKOPT "getsockopt": Flag = Flag, Fallback::Value("false"), Reload,
    "Whether `getsockopt()` tells applications the client. It makes every `getsockopt()` of the host slower.";
}

section! {
    log, Shape::Table, later &[],
    "The flow log.";
    FLOWS "flows": Choice<FlowFormat> = Choice(&[
        ("json", FlowFormat::Json), ("vpc", FlowFormat::Vpc), ("off", FlowFormat::Off),
    ]), Fallback::Value("\"json\""), Reload,
    "The format: JSON lines, records in the default format of AWS VPC flow logs, or no flow log.";
    FILE "path": Path = PATH, Fallback::Absent("standard output"), Reload,
    "The file to which the flow log is appended. The agent makes it with mode 0640, and opens it anew at each reload.";
    TO "to": Choice<bool> = Choice(&[("stdout", false), ("journald", true)]),
    Fallback::Value("\"stdout\""), Reload,
    "Where the flow log goes without `path`. Do not give both keys.";
}

section! {
    agent, Shape::Table, later &[],
    "The agent, and the size of its tables.";
    PIN_PATH "pin_path": Path = PATH, Fallback::Value("\"/sys/fs/bpf/proxyip\""), Detach,
    "The directory of pinned programs, maps and links, on a BPF file system.";
    PROCFS_PATH "procfs_path": Path = PATH, Fallback::Value("\"/proc\""), Reload,
    "The proc file system that shows the host's processes. The agent looks there for the network namespaces of processes. In \
     a container, name the place where the host's `/proc` is mounted.";
    NETNS_PATH "netns_path": Path = PATH, Fallback::Value("\"/run/netns\""), Reload,
    "The directory of the host's named network namespaces. The agent looks there for namespaces without a process. The key \
     does not change what `netns` names: write whole paths there, such as `\"/host/run/netns/cni-*\"`.";
    MAX_FLOWS "max_flows": Number = ENTRIES,
    Fallback::Absent("32768 for each processor of the host, from 65536 to 262144"), Detach,
    "The number of flows that the flow table can hold. Each takes 184 bytes.";
    MAX_TRANSLATED "max_translated": Number = ENTRIES, Fallback::Value("262144"), Detach,
    "The number of connections that can be translated at a time.";
    MAX_LISTENERS "max_listeners": Number = Number { least: 1, most: proxyip_common::settings::MAX_LISTENERS }, Fallback::Value("256"), Detach,
    "The number of listeners that the tables have room for. Each has about a hundred counters for each processor.";
    MAX_TLV_MEMORY "max_tlv_memory": Number = Number { least: 1, most: 65_536 }, Fallback::Value("64"), Reload,
    "The MiB of memory that the agent uses for the TLVs of flows. When they are full, the TLVs of the oldest flows are \
     forgotten.";
    HANDSHAKE_TIMEOUT "handshake_timeout": Seconds = Seconds(86_400), Fallback::Value("400"), Reload,
    "The seconds that `accept` waits for a header. The real limit lies between one and two times this. It must be longer \
     than each `header_timeout`. A late header is answered with a RST (`cookie_foreign`). A change counts within \
     a second, and resets handshakes in progress.";
}
