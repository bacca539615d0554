#!/bin/sh
# usage: tests/rigs/autobahn.sh [FOLDER]
#
# Runs Autobahn's fuzzing client, all cases but 9 (speed), 12 and 13 (compression), against an
# echo behind the daemon's own WebSocket listener and sender. Prints a table, and exits 1 if
# anything fails but what is known to. Takes a minute, of which 11 s are the cases.
#
#   FOLDER         gets the client's reports, a page for each case; otherwise they are removed
#   VOICED_PYTHON  the project's Python; otherwise that of .venv, which ./install.sh --test makes
#   PYTHON27       a Python 2.7, which the client needs; otherwise python2.7, or one of pyenv's
#
# Needs a C compiler too, and the network: the client is installed into a temporary folder.
set -eu

# The cases that autobahn_report.py expects are those of this version.
client_version=25.10.1
virtualenv_version=20.21.1 # the last that can make an environment of Python 2.7
limit_s=300

say() { printf 'autobahn: %s\n' "$*"; }

die() {
    printf 'autobahn: %s\n' "$*" >&2
    exit 1
}

# Ends with the last lines of a log in $work.
die_with() {
    tail -n 20 "$work/$1.log" >&2
    shift
    die "$@"
}

clean_up() {
    if [ "$echo_server" ]; then
        kill "$echo_server" 2>/dev/null || :
        wait "$echo_server" 2>/dev/null || :
    fi
    [ -z "$work" ] || rm -rf "$work"
}

# --- what must be here ---

need() {
    command -v "$1" >/dev/null || die "$1 is missing; install it (Debian: apt-get install $2)."
}

is_27() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; }

# Sets $python27.
find_python27() {
    if [ "${PYTHON27-}" ]; then
        python27=$PYTHON27
        is_27 "$python27" || die "PYTHON27 is no Python 2.7: $python27"
        return
    fi
    pyenv=$(pyenv root 2>/dev/null || :)
    for python27 in python2.7 "$pyenv"/versions/2.7*/bin/python2.7; do
        if is_27 "$python27"; then return; fi
    done
    die "no Python 2.7 here, which Autobahn's client needs. Install one: 'pyenv install 2.7.18'," \
        "or up to Debian 11 and Ubuntu 22.04 'apt-get install python2.7 python2.7-dev'. If it is" \
        "not in PATH, name it: PYTHON27=/path/to/python2.7 $0"
}

find_what_is_needed() {
    need cc gcc
    need timeout coreutils
    python=${VOICED_PYTHON:-$here/../../.venv/bin/python}
    "$python" -c 'import voiced.transports.listener' ||
        die "the project's Python cannot import voiced; run ./install.sh --test first, or name" \
            "another: VOICED_PYTHON=/path/to/python $0"
    find_python27
    include=$("$python27" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$include/Python.h" ] ||
        die "$python27 has no headers, with which the client is compiled; install them" \
            "(Debian: apt-get install python2.7-dev)."
}

# --- the two sides ---

# Nothing outside $work is written to, but pip's cache.
install_client() {
    "$python" -m venv "$work/maker" &&
        "$work/maker/bin/python" -m pip install --no-input --disable-pip-version-check \
            --only-binary=:all: "virtualenv==$virtualenv_version" &&
        VIRTUALENV_OVERRIDE_APP_DATA=$work/seeds "$work/maker/bin/python" -m virtualenv \
            --python "$python27" "$work/client" &&
        "$work/client/bin/python" -m pip install --no-input --disable-pip-version-check \
            "autobahntestsuite==$client_version"
}

# Sets $echo_server and $url. The echo has its URL told or has ended when the pipe has been read.
start_echo() {
    mkfifo "$work/url"
    "$python" "$here/autobahn_echo.py" >"$work/url" 2>"$work/echo.log" &
    echo_server=$!
    read -r url <"$work/url" || die_with echo "the echo server did not start; see above."
}

run_client() {
    cat >"$work/spec.json" <<JSON
{
  "outdir": "reports",
  "servers": [{"agent": "voiced", "url": "$url"}],
  "cases": ["*"],
  "exclude-cases": ["9.*", "12.*", "13.*"],
  "exclude-agent-cases": {}
}
JSON
    # In the foreground, so that Ctrl-C ends it too.
    (cd "$work" && exec timeout --foreground "$limit_s" client/bin/python client/bin/wstest \
        --mode fuzzingclient --spec spec.json) >"$work/client.log" 2>&1
}

case ${1-} in
--help | -h)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
-*)
    die "there is no option $1; see $0 --help."
    ;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
echo_server=
work=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM HUP

find_what_is_needed
work=$(mktemp -d)
export TMPDIR="$work" # what the tools leave there goes too
say "installing the client ($("$python27" --version 2>&1))"
install_client >"$work/install.log" 2>&1 ||
    die_with install "the client could not be installed; see above."
start_echo
say "running the cases"
run_client || die_with client "the client failed, or took more than $limit_s s; see above."
[ -z "${1-}" ] || { mkdir -p "$1" && cp -R "$work/reports/." "$1"; }
failed=
"$python" "$here/autobahn_report.py" "$work/reports/index.json" || failed=yes
[ ! -s "$work/echo.log" ] || die_with echo "the echo server complained; see above."
[ -z "$failed" ] || die "not as expected; a page for each case: $0 FOLDER"
