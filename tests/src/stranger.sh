# Makes the machine of a stranger, in a mount namespace of its own. $1 is a directory, $2 the repository, $3 the agent.
# What is written to /etc, /usr and /run stays here, and so does what is pinned.
set -e
mount -t tmpfs tmpfs "$1"
for tree in etc usr run; do
    mkdir -p "$1/$tree/upper" "$1/$tree/work"
    mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$1/$tree/upper,workdir=$1/$tree/work" "/$tree"
done
mount -t bpf bpf /sys/fs/bpf

# A checkout in which everything has been built.
mkdir -p "$1/checkout/target/release" "$1/checkout/deploy"
cp "$2"/deploy/* "$1/checkout/deploy/"
cp "$3" "$1/checkout/target/release/proxyip"

mkdir "$1/bin"
# Building is the work of whoever runs the tests; `cargo xtask lint` checks the commands.
printf '#!/bin/sh\n' > "$1/bin/cargo"
# Whoever builds has these packages already: a wrong name is not among them.
cat > "$1/bin/apt-get" <<'END'
#!/bin/sh -e
[ "$1 $2" = "install --yes" ]
shift 2
exec dpkg-query --show "$@"
END
# As much of systemd as a unit needs: no init runs here.
cat > "$1/bin/systemctl" <<'END'
#!/bin/sh -e
unit=/etc/systemd/system/proxyip.service
value() { sed -n "s/^$1=//p" "$unit"; }
case "$*" in
daemon-reload)
    systemd-analyze verify "$unit" ;;
"enable --now proxyip")
    /usr/bin/systemctl --root=/ --quiet enable proxyip
    setsid sh -c "exec $(value ExecStart)" > /run/service.log 2>&1 < /dev/null &
    echo $! > /run/service.pid ;;
"reload proxyip")
    MAINPID=$(cat /run/service.pid) sh -c "$(value ExecReload)" ;;
"stop proxyip")
    pid=$(cat /run/service.pid)
    kill "$pid"
    while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done ;;
*)
    echo "systemctl $*: not among the documents' commands" >&2
    exit 1 ;;
esac
END
chmod +x "$1"/bin/*
touch "$1/made"
exec sleep infinity
