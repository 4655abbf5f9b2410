//! Networks and clients of the tests that compare a policy with a model.

/// Networks of clients, within one another, of both families.
pub const NETWORKS: [&str; 15] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.128/25",
    "10.1.1.1/32",
    "10.1.1.200/32",
    "::/0",
    // Has the IPv4-mapped addresses too, and yet no IPv4 client.
    "::/64",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:1::/64",
    "2001:db8:1:1::1/128",
    "::1/128",
    "fd00::/8",
];

/// Clients in each of them and in none, also IPv4-mapped.
pub const CLIENTS: [&str; 18] = [
    "10.1.1.1",
    "10.1.1.2",
    "10.1.1.129",
    "10.1.1.200",
    "10.1.2.1",
    "10.2.0.1",
    "11.0.0.1",
    "::ffff:10.1.1.1",
    "::ffff:10.2.0.1",
    "::ffff:11.0.0.1",
    "2001:db8:1:1::1",
    "2001:db8:1:1::2",
    "2001:db8:1:2::1",
    "2001:db8:2::1",
    "2001:db9::1",
    "::1",
    "::2",
    "fd00::1",
];
