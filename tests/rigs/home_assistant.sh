#!/bin/sh
# usage: tests/rigs/home_assistant.sh
#
# Lets Home Assistant itself find a daemon over a network of two hosts, which are namespaces of this
# machine, add it and speak by it. Prints what it checked: what was discovered, the entity with its
# languages and voices, a speech by tts.speak, one whose text is still written, and Home Assistant's
# log. Takes some minutes, most of them to install Home Assistant, and needs root. Of Home Assistant
# it has what this takes: other integrations complain in its log.
#
#   VOICED_PYTHON  the project's Python; otherwise that of .venv, which ./install.sh --test makes
#   PYTHON         the Python for Home Assistant, otherwise python3; 3.13 or later. pip takes the
#                  newest release that allows it
#   HOMEASSISTANT  what pip is to install instead, such as homeassistant==2026.2.3
#   HASS_VENV      a folder in which to keep the environment of Home Assistant, and to find it again
#
# Needs iproute2 (Debian), and a package index; a C compiler where that has no wheel for PYTHON.
set -eu

say() { printf 'home_assistant: %s\n' "$*"; }

die() {
    printf 'home_assistant: %s\n' "$*" >&2
    [ -z "$work" ] || tail -n 20 "$work"/*.log >&2 2>/dev/null || :
    exit 1
}

clean_up() {
    for process in $processes; do kill -KILL "$process" 2>/dev/null || :; done
    wait 2>/dev/null || :
    remove_hosts
    [ -z "$work" ] || rm -rf "$work"
}

# --- Home Assistant ---

# Beforehand, as it finds no package index in its namespace, and by the constraints that it brings.
install_home_assistant() {
    [ ! -e "$venv/ready" ] || return 0
    say "installing Home Assistant; this takes some minutes"
    "$base" -m venv "$venv" || die "PYTHON makes no environment: $base"
    install --no-deps -- "${HOMEASSISTANT:-homeassistant}"
    "$venv/bin/python" "$here/home_assistant_check.py" needs >"$work/needs.txt"
    constraints=$(find "$venv/lib" -path '*/homeassistant/package_constraints.txt')
    install -c "$constraints" -r "$work/needs.txt" homeassistant imageio-ffmpeg
    : >"$venv/ready"
}

install() {
    "$venv/bin/python" -m pip install --quiet "$@" >"$work/pip.log" 2>&1 || die "pip failed: $*"
    rm "$work/pip.log"
}

# --- the daemon ---

start_daemon() {
    mkdir "$work/state"
    printf '[wyoming]\nlanguages = ["en", "de"]\n' >"$work/config.toml"
    ip netns exec "$ours" env STATE_DIRECTORY="$work/state" VOICED_CONFIG="$work/config.toml" \
        "$python" -m voiced serve --lan --ready-file "$work/ready" >"$work/daemon.log" 2>&1 &
    processes="$processes $!"
    tries=0
    until [ -e "$work/ready" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || die "the daemon did not start."
        sleep 0.1
    done
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
base=${PYTHON:-python3}
processes=
work=
[ "$(id -u)" = 0 ] || die "this needs root; run it with sudo."
command -v ip >/dev/null || die "ip is missing; install it (Debian: apt-get install iproute2)."
"$python" -c 'import voiced' 2>/dev/null || die "VOICED_PYTHON has no voiced: $python"
"$base" -c 'import sys; sys.exit(sys.version_info < (3, 13))' ||
    die "Home Assistant wants Python 3.13 or later, which $base is not; name one in PYTHON."
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d)
mkdir "$work/config"
venv=${HASS_VENV:-$work/venv}

install_home_assistant
make_hosts
start_daemon
ip netns exec "$theirs" env HOME="$work" "$venv/bin/python" "$here/home_assistant_check.py" \
    check "$work/config" 2>"$work/check.log" || die "Home Assistant did not speak as it should."
[ -s "$work/config/log" ] || die "Home Assistant wrote no log."
if grep -E 'wyoming|\.tts' "$work/config/log"; then die "that is in Home Assistant's log."; fi
if grep -E 'WARNING|ERROR|Traceback' "$work/daemon.log"; then die "that is in the daemon's log."; fi
say "nothing about Wyoming or speech in Home Assistant's log, and no warning in the daemon's"
say "all as it should be"
