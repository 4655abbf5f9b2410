//! What judges disagree about, and why proxyip decides as it does.

/// What the specification says of proxyip's verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// They are what it demands.
    With,
    /// They are one of several that it allows.
    Open,
    /// By its letter they should be others.
    Against,
}

impl Standing {
    /// For people.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::With => "The specification demands proxyip's verdicts.",
            Self::Open => "The specification allows proxyip's verdicts, and others.",
            Self::Against => {
                "By its letter, the specification demands other verdicts than proxyip's."
            }
        }
    }
}

macro_rules! topics {
    ($($name:ident $standing:ident $section:literal $title:literal $text:literal)*) => {
        /// A matter of dispute.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Topic {
            $(#[doc = $title] $name,)*
        }

        impl Topic {
            /// All of them, in the order of the page.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it is about.
            pub(super) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The section of the specification that decides.
            pub(super) const fn section(self) -> &'static str {
                match self { $(Self::$name => $section,)* }
            }

            /// What the specification says of proxyip's verdicts.
            pub(super) const fn standing(self) -> Standing {
                match self { $(Self::$name => Standing::$standing,)* }
            }

            /// What the specification says, and why proxyip decides as it does.
            pub(super) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

topics! {
    LineEndsInUnknown Against "2.1" "A lone CR or LF behind `UNKNOWN`"
        "The receiver \"must ignore anything\" between `UNKNOWN` and CRLF, which may be read as if it meant a lone \
         CR or LF too. But the header is one line of text, and a single CR or LF must not end it. Where one \
         receiver sees the end of the line and another does not, each reads another request. A load balancer has \
         no reason to send such a line, so proxyip takes none."
    MixedFamilies Against "2.1" "Version 1 lines with addresses of two families"
        "Both addresses should be of the family that the line announces. nginx in a chain announces the client's \
         family, and writes its own socket's address as the destination, of whatever family that is. Refusing these lines \
         would refuse every such client. So a `TCP6` line may have IPv4 addresses, which are IPv4-mapped IPv6 \
         addresses too, and a `TCP4` line may have an IPv6 destination. Its source must be an IPv4 address: that is \
         who the client is."
    UncheckedChecksums Against "2.2.3" "Checksums that proxyip does not look at"
        "A receiver that knows checksums must verify one that is there. But a `LOCAL` header is to be accepted, \
         and what it holds to be discarded (§2.2). And with an unspecified family nobody knows how long the \
         addresses are: the bytes may be addresses, which the receiver should ignore, as well as TLVs. proxyip \
         takes nothing from either header, and reads on behind it. (HAProxy refuses an unspecified family \
         whatever the checksum is.)"
    Spellings Against "2.1" "Spellings of IPv6 addresses"
        "The specification has groups of four hexadecimal digits, and `::` for the longest run of zeros. It says \
         nothing of dotted numbers at the end, which HAProxy writes for IPv4 clients of IPv6 servers. \
         proxyip takes whatever names one address, as RFC 4291 §2.2 has it, and so does everybody."
    Unspecified Open "2.2" "Headers that name no client"
        "With an unspecified family or transport, and with any valid combination that it does not support, the \
         receiver is free to accept the connection with its real peer, or to reject it. proxyip leaves the choice \
         to the listener (`unknown`) where the family is unspecified or UNIX; IPv4 and IPv6 addresses without a \
         transport are refused, since nobody sends them. `ppp` takes a client from them, which it should not."
    Datagrams Open "2.2" "UDP announced on a TCP connection"
        "Valid in the protocol. A receiver that does not support it may reject it. A proxy of DNS that takes queries over \
         UDP and has a back end that speaks TCP sends such headers, and the addresses are those of the client. proxyip \
         takes them, and the flow log says which transport was announced."
    BrokenTlvs Open "2.2" "TLVs that do not fit into the header"
        "A receiver may skip what follows the addresses, or interpret it. proxyip interprets it, and bytes \
         that are no TLVs then tell of a faulty or a forging sender. nginx skips it."
    Checksums Open "2.2.3" "Checksums that are wrong"
        "A receiver that knows checksums must verify them, and treat the connection as invalid if one is wrong. \
         nginx, `ppp` and `proxy-header` do not know them. A checksum is a number of 32 bits: proxyip refuses any \
         other length, and a second one, even where somebody has made both right."
    Values Open "2.2.5, 2.2.2, 2.2.6" "TLVs whose value is not what its type promises"
        "A receiver may skip a TLV that it does not understand. The header's end is known whatever its TLVs hold; \
         proxyip keeps such a value as bytes (`other` in lookups and logs)."
    PartialHeaders Open "2, 2.2" "Headers that are not whole"
        "§2 recommends to be tolerant of partial headers but allows to drop the connection, as any receiver may \
         after a timeout of at least 3 seconds; §2.2 has them rejected. HAProxy and nginx decide after their \
         first read. proxyip tells a beginning from a fault; what it does with a beginning is in the column \
         \"on the wire\"."
    LongHeaders With "2.2" "Headers of more than 4,096 bytes"
        "The length field can announce 65,535 bytes, must be obeyed, and a `LOCAL` header must be accepted. proxyip keeps \
         the first 4,096 bytes, which hold the addresses and the TLVs of nearly every sender. It reads the rest and skips \
         it. HAProxy's bound is its buffer (16 KB), and nginx's the buffer for a request's first bytes \
         (`client_header_buffer_size`, 1 KB by default)."
    UnknownWithMore With "2.1" "Text behind `UNKNOWN`"
        "Whatever stands between `UNKNOWN` and CRLF must be ignored; the longest such line, with two \
         IPv6 addresses, is the one that gives the limit of 107 bytes. HAProxy takes the short form only; `ppp` \
         wants UTF-8."
    UnknownWords With "2.1" "Words that only begin with `UNKNOWN`"
        "The protocol's name is followed by a space or by CRLF, and any sequence that does not match exactly \
         must be refused. `UNKNOWNS` is not the name."
    Form With "2.1" "Lines with too few fields"
        "A line that CRLF has ended will not get better, and aborting as soon as possible is recommended. `ppp` \
         asks for more bytes all the same."
    Spaces With "2.1" "Blanks"
        "Between two fields there is exactly one space, and nothing before `PROXY` or CRLF."
    LongLines With "2.1" "Lines of more than 107 bytes"
        "A line without CRLF in its first 107 bytes should be declared invalid."
    LeadingZeros With "2.1" "Leading zeros"
        "Forbidden in octets and ports, since some would read octal numbers."
    Addresses With "2.1" "What is no address"
        "IPv4 addresses have four numbers up to 255, IPv6 addresses 128 bits and at most one `::`, and the \
         announced family decides which it is. nginx looks at the characters only and passes the text on; in \
         HAProxy the numbers of an IPv4 address run over into one another. Both let a header name a client that \
         cannot exist, or another than it says."
    Ports With "2.1" "What is no port"
        "A port is a decimal number up to 65,535. HAProxy counts modulo 65,536 and takes a missing \
         destination port for 0; two crates take a plus sign, as Rust's standard library does."
    Commands With "2.2" "Commands that are not assigned"
        "The receiver must drop the connection. nginx takes any command but PROXY for `LOCAL`."
    LocalBlocks With "2.2" "What a `LOCAL` header holds"
        "The receiver must accept the connection, must not assume that the length is 0, and must skip that many \
         bytes whatever the family is. AWS Network Load Balancers rely on it: their health checks announce IPv4 \
         and have no addresses. The crates look at family and addresses before the command."
    InvalidFamilies With "2.2" "Families and transports that do not exist"
        "They must be rejected as invalid. nginx takes what it does not know for a header without addresses."
    ShortAddresses With "2.2" "Lengths that are too short for the family"
        "The length of each family's addresses is fixed, and the length field counts them. nginx does not support \
         UNIX addresses, and skips them whatever they are. `proxy-header` asks for more bytes although the header \
         is whole: it compares the addresses with what has been received instead of with what the header holds."
}
