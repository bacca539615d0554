#!/bin/sh
# usage: tests/rigs/avahi.sh
#
# Lets an independent reader, avahi-browse, find a daemon over a network of two hosts, which are
# namespaces of this machine. Prints what it checked: both services with real addresses, IPv4 and
# IPv6, their texts; a change of address; the goodbye. Takes a minute, and needs root.
#
#   VOICED_PYTHON  the project's Python; otherwise that of .venv, which ./install.sh --test makes
#
# Needs iproute2, dbus, avahi-daemon and avahi-utils (Debian), and nothing of theirs running.
set -eu

wait_s=30

say() { printf 'avahi: %s\n' "$*"; }

die() {
    printf 'avahi: %s\n' "$*" >&2
    [ -z "$work" ] || tail -n 20 "$work"/*.log >&2 2>/dev/null || :
    exit 1
}

clean_up() {
    # By KILL: `unshare` waits for its child whatever else it is told, which dies with it.
    for process in $processes; do kill -KILL "$process" 2>/dev/null || :; done
    wait 2>/dev/null || :
    remove_hosts
    [ -z "$work" ] || rm -rf "$work"
}

need() {
    command -v "$1" >/dev/null || die "$1 is missing; install it (Debian: apt-get install $2)."
}

# --- the daemon ---

start_daemon() {
    mkdir "$work/state"
    ip netns exec "$ours" env STATE_DIRECTORY="$work/state" VOICED_CONFIG="$work/config.toml" \
        "$python" -m voiced serve --host :: --token-file "$work/token" \
        --ready-file "$work/ready" >"$work/daemon.log" 2>&1 &
    daemon=$!
    processes="$processes $daemon"
    tries=0
    until [ -e "$work/ready" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || die "the daemon did not start."
        sleep 0.1
    done
}

# Its folders in /run are its own: another one may run on this machine.
start_reader() {
    cat >"$work/reader.sh" <<'READER'
mount -t tmpfs tmpfs /run/dbus && mount -t tmpfs tmpfs /run/avahi-daemon || exit 1
dbus-daemon --system --fork --print-pid=1 >"$1/dbus.pid" || exit 1
avahi-daemon -f "$1/avahi.conf" --no-drop-root --no-rlimits --no-chroot >"$1/avahi.log" 2>&1 &
until avahi-browse --all --terminate >/dev/null 2>&1; do sleep 0.2; done
exec avahi-browse --all --resolve --parsable --no-db-lookup
READER
    printf '[server]\nuse-ipv4=yes\nuse-ipv6=yes\nallow-interfaces=voiced-b\nenable-dbus=yes\n' \
        >"$work/avahi.conf"
    mkdir -p /run/dbus /run/avahi-daemon
    ip netns exec "$theirs" unshare --mount --pid --fork --kill-child \
        sh "$work/reader.sh" "$work" >"$work/found" 2>"$work/reader.log" &
    processes="$processes $!"
}

# --- what is to be seen ---

# Waits for a line of the reader that fits.
see() {
    what=$1
    pattern=$2
    tries=0
    until grep -Eq "$pattern" "$work/found"; do
        tries=$((tries + 1))
        [ "$tries" -lt $((wait_s * 5)) ] || {
            cat "$work/found" >&2
            die "not seen within $wait_s s: $what"
        }
        sleep 0.2
    done
    say "seen: $what"
}

never() {
    ! grep -Eq "$2" "$work/found" || die "seen, and it should not be: $1"
    say "not seen: $1"
}

case ${1-} in
--help | -h)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
# shellcheck source=tests/rigs/hosts.sh
. "$here/hosts.sh"
python=${VOICED_PYTHON:-$here/../../.venv/bin/python}
unset VOICED_PYTHON # no key of the daemon's
processes=
work=
[ "$(id -u)" = 0 ] || die "this needs root; run it with sudo."
need ip iproute2
need dbus-daemon dbus
need avahi-daemon avahi-daemon
need avahi-browse avahi-utils
need unshare util-linux
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d)
: >"$work/config.toml"
echo a-token >"$work/token"

make_hosts
start_reader
start_daemon
id=$(cut -c1-8 "$work/state/id")
port=10210

see "_voiced._tcp, IPv4" '^=;voiced-b;IPv4;[^;]*;_voiced._tcp;local;.*;192\.168\.77\.1;8765;'
see "its text" '_voiced._tcp;.*"id='"$(cat "$work/state/id")"'".*|_voiced._tcp;.*"wy='"$port"'"'
see "_wyoming._tcp as voiced-$id" \
    "^=;voiced-b;IPv4;voiced-$id;_wyoming._tcp;local;.*;192\.168\.77\.1;$port;"
see "_voiced._tcp, IPv6" '^=;voiced-b;IPv6;[^;]*;_voiced._tcp;local;'
see "_wyoming._tcp, IPv6" "^=;voiced-b;IPv6;voiced-$id;_wyoming._tcp;local;"
never "an address that stands for all" ';(0\.0\.0\.0|::);[0-9]+;'

ip -n "$ours" addr del 192.168.77.1/24 dev voiced-a
ip -n "$ours" addr add 192.168.77.9/24 dev voiced-a
ip -n "$ours" route replace default dev voiced-a
see "the new address, after a change" '_wyoming._tcp;local;.*;192\.168\.77\.9;'

: >"$work/found"
kill "$daemon"
see "the goodbye of _voiced._tcp" '^-;voiced-b;IPv[46];[^;]*;_voiced._tcp;'
see "the goodbye of _wyoming._tcp" "^-;voiced-b;IPv[46];voiced-$id;_wyoming._tcp;"
say "all as it should be"
