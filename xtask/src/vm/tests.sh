#!/bin/bash
# The end-to-end tests on whatever kernel this is; the arguments say which.

# Debian's 5.10 has no MPTCP.
[[ -e /proc/sys/net/mptcp ]] || set -- --skip multipath --skip mptcp "$@"

PROXYIP_BIN=/payload/proxyip exec ./e2e --test-threads=1 "$@"
