/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Who is behind a connection that proxyip has taken a PROXY header off, or has observed one of:
 *
 *     struct proxyip_info info;
 *     socklen_t length = sizeof info;
 *     if (getsockopt(fd, PROXYIP_LEVEL, PROXYIP_INFO, &info, &length) == 0)
 *             ... info.client.sa.sa_family ...
 *
 * The agent answers if its configuration says `[api] getsockopt = true`. The answer is the same for a socket's whole
 * life, however it came into the process.
 *
 * Errors
 *   ENOPROTOOPT, EOPNOTSUPP
 *       The kernel's own answers, the one of AF_INET6 sockets, the other of AF_INET and MPTCP sockets. The connection has
 *       no PROXY header, or none yet (hand_off = "observe"); or the buffer is shorter than the structure; or nobody
 *       answers: no agent has been started, or the last one without `getsockopt = true`; or a 32-bit program asks a
 *       64-bit kernel. The connection's client is then the one that getpeername() names.
 *   others
 *       As of any option: EBADF, ENOTSOCK, EFAULT, and EINVAL if the length is negative. If the pointer is NULL, nothing
 *       is written and the call succeeds.
 *
 * Versions
 *   Later versions append fields behind those that are here, and raise `abi`. Nothing here ever changes its place or
 *   its meaning. A program compiled with this file goes on working: its buffer, of at least the 64 bytes of version 1,
 *   gets as many whole fields as it holds, and `length` says how many bytes that is. Flags and values that are not
 *   listed here may come up: ignore flags that you do not know.
 *
 * Byte order
 *   Addresses and ports are in network byte order, all other numbers, `sa_family` among them, in the host's.
 */
#ifndef PROXYIP_H
#define PROXYIP_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Level and name of the option. */
#define PROXYIP_LEVEL 0x5050
#define PROXYIP_INFO 1

/* The version of the structure in this file. */
#define PROXYIP_ABI 1

/* What the header says of the client. */
#define PROXYIP_PROXIED 1 /* It names one. */
#define PROXYIP_LOCAL 2   /* The load balancer speaks for itself, as in a health check. */
#define PROXYIP_UNKNOWN 3 /* It names none. */

/* How the connection was given to the application. */
#define PROXYIP_ACCEPT 1
#define PROXYIP_TRANSLATE 2
#define PROXYIP_OBSERVE 3

/* Flags. */
#define PROXYIP_DENIED 1 /* The listener denies the client; the connection's packets are marked. */

/* An address in its own family: AF_INET for an IPv4 client, on an AF_INET6 socket too. */
union proxyip_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct proxyip_info {
	uint16_t abi;           /* PROXYIP_ABI or a later one */
	uint8_t header_version; /* of the PROXY protocol: 1 or 2; 0 without a header (headerless = "local") */
	uint8_t origin;         /* PROXYIP_PROXIED, PROXYIP_LOCAL or PROXYIP_UNKNOWN */
	uint8_t hand_off;       /* PROXYIP_ACCEPT, PROXYIP_TRANSLATE or PROXYIP_OBSERVE */
	uint8_t flags;          /* PROXYIP_DENIED */
	uint16_t reserved;      /* 0 */
	/* Both ends as the header has them; the connection's own, peer and local end, if it names no client. */
	union proxyip_address client;
	union proxyip_address destination;
};

/* Older languages have no such assertions. */
#if defined(__cplusplus) && __cplusplus >= 201103L
#define PROXYIP_ASSERT(condition) static_assert(condition, #condition)
#elif !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define PROXYIP_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#ifdef PROXYIP_ASSERT
PROXYIP_ASSERT(sizeof(union proxyip_address) == 28);
PROXYIP_ASSERT(sizeof(struct proxyip_info) == 64);
PROXYIP_ASSERT(offsetof(struct proxyip_info, header_version) == 2);
PROXYIP_ASSERT(offsetof(struct proxyip_info, origin) == 3);
PROXYIP_ASSERT(offsetof(struct proxyip_info, hand_off) == 4);
PROXYIP_ASSERT(offsetof(struct proxyip_info, flags) == 5);
PROXYIP_ASSERT(offsetof(struct proxyip_info, reserved) == 6);
PROXYIP_ASSERT(offsetof(struct proxyip_info, client) == 8);
PROXYIP_ASSERT(offsetof(struct proxyip_info, destination) == 36);
#undef PROXYIP_ASSERT
#endif

#endif
