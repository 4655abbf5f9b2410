#!/bin/bash
# The tests of a program on whatever kernel this is; the arguments say of which program, and which tests.
program=$1
shift

# Debian's 5.10 has no MPTCP.
[[ -e /proc/sys/net/mptcp ]] || set -- --skip multipath --skip mptcp "$@"

# A program takes ten times as long to start as outside, and longer while the host is busy.
export PROXYIP_TEST_PATIENCE=90

PROXYIP_BIN=/payload/proxyip exec "./$program" --test-threads=1 "$@"
