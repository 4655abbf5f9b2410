#!/bin/bash
# The guest's init: what the tests expect of a running system, then the tests.
# Only this script writes to the second serial port, so nothing that a test prints is mistaken for
# its outcome.
report=/dev/ttyS1
exec </dev/null >/dev/ttyS0 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for directory in /dev/shm /run /tmp; do
    mount -t tmpfs tmpfs $directory
done
chmod 1777 /dev/shm /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
hostname guest
ip link set lo up
# Loaded on most servers; the tests set its sysctls.
modprobe nf_conntrack
# The packet table's interface is a program.
modprobe tun
ulimit -n 65536

read -r uptime _ </proc/uptime
echo "booted $(uname -r) $uptime" >$report

cd /payload || exit
set -o pipefail
bash /payload/run |& tee /run/output
status=$?
grep -e '^test ' -e '^class	' /run/output >$report
echo "exit $status" >$report

# Lets the console get rid of its last lines. A restart is the end: qemu runs with -no-reboot.
sleep 1
echo b >/proc/sysrq-trigger
