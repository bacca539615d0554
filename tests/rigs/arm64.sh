#!/bin/sh
# usage: tests/rigs/arm64.sh [bookworm|trixie]
#
# Installs this checkout in an emulated arm64 Debian 12 (bookworm) and Debian 13 (trixie), or one of
# them, as a newcomer would: by ./install.sh --run, with no Python but Debian's. Prints what it
# checked: the wheels, what every door of the daemon says, that espeak's samples are those of this
# machine, and the core of the test suite. What is measured there says nothing about a real machine.
# Takes some 20 minutes for each, and 5 more the first time.
#
#   VOICED_PYTHON  the project's Python; otherwise that of .venv, which ./install.sh --test makes
#   VOICED_RIGS    keeps the systems and the wheels for the next time; otherwise
#                  /var/tmp/voiced-rigs
#
# Needs root, an x86-64, the network, 3 GB of disk, and (Debian) debootstrap, qemu-user-static and
# binfmt-support.
set -eu

install_limit_s=2400
suite_limit_s=2400
where=/srv/voiced # the checkout in the system
core='
tests/audio
tests/reading
tests/protocol
tests/synthesis
tests/backends/espeak
tests/backends/kokoro
tests/models
tests/transports/test_http.py
'
# These have limits in seconds, which an emulated machine does not keep.
too_slow='
tests/models/test_download.py::test_a_killed_pull_is_gone_on_from
tests/reading/test_markup.py::test_no_text_is_slow
tests/synthesis/test_phrases.py::test_a_kill_in_the_middle_of_writes_does_no_harm
tests/synthesis/test_segmenter.py::test_the_cost_is_linear
'

say() { printf 'arm64: %s\n' "$*"; }

die() {
    printf 'arm64: %s\n' "$*" >&2
    exit 1
}

# Ends with the last lines of a log in $work.
die_with() {
    tail -n 40 "$work/$1.log" >&2
    shift
    die "$@"
}

clean_up() {
    for process in $ours $theirs; do kill "$process" 2>/dev/null || :; done
    wait 2>/dev/null || :
    [ -z "$work" ] || rm -rf --one-file-system "$work"
}

# --- what must be here ---

need() {
    command -v "$1" >/dev/null || die "$1 is missing; install it (Debian: apt-get install $2)."
}

# An emulator that the kernel holds open (F) is found within the system too.
runs_arm64() { grep -qs '^flags:.*F' /proc/sys/fs/binfmt_misc/qemu-aarch64; }

find_what_is_needed() {
    python=${VOICED_PYTHON:-$checkout/.venv/bin/python}
    "$python" -c 'import voiced' ||
        die "the project's Python cannot import voiced; run ./install.sh --test first, or name" \
            "another: VOICED_PYTHON=/path/to/python $0"
    [ "$(id -u)" = 0 ] || die "this needs root; run it with sudo."
    [ "$(uname -m)" = x86_64 ] || die "this compares arm64 with x86-64, and is a $(uname -m)."
    need debootstrap debootstrap
    need unshare util-linux
    need git git
    runs_arm64 || update-binfmts --enable qemu-aarch64 2>/dev/null || :
    runs_arm64 ||
        die "this kernel does not run arm64 programs; install qemu-user-static and" \
            "binfmt-support, and see that binfmt_misc is mounted."
}

# --- the system ---

# Sets $root, which is as debootstrap leaves it.
make_system() {
    root=$work/$release
    kept=$cache/$release-arm64.tar
    mkdir "$root"
    if [ -f "$kept" ]; then
        tar -C "$root" -xpf "$kept"
    else
        say "$release: making the system"
        debootstrap --arch=arm64 --variant=minbase --include=ca-certificates,python3 \
            "$release" "$root" >"$work/system.log" 2>&1 ||
            die_with system "debootstrap failed; see above."
        tar -C "$root" -cf "$kept.part" .
        mv "$kept.part" "$kept"
    fi
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/trusted.crt"
    mkdir -p "$root/var/cache/pip" "$root$where"
    git -C "$checkout" ls-files -z --cached --others --exclude-standard |
        tar -C "$checkout" --null -T - --ignore-failed-read -c |
        tar -C "$root$where" --no-same-owner -x
}

# Becomes a command in a system: what it mounts goes with it. In the background it is the process
# to which signals go.
write_enter() {
    cat >"$work/enter.sh" <<'ENTER'
root=$1 wheels=$2 where=$3
shift 3
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
    mount --bind "$wheels" "$root/var/cache/pip" || exit 1
exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    PIP_CACHE_DIR=/var/cache/pip PIP_CERT=/etc/trusted.crt PIP_DEFAULT_TIMEOUT=120 \
    ${PIP_INDEX_URL:+"PIP_INDEX_URL=$PIP_INDEX_URL"} ${http_proxy:+"http_proxy=$http_proxy"} \
    ${https_proxy:+"https_proxy=$https_proxy"} \
    sh -c 'cd "$0" && exec "$@"' "$where" "$@"
ENTER
}

enter() { unshare --mount sh "$work/enter.sh" "$root" "$cache/wheels" "$where" "$@"; }

# --- the daemons ---

# Waits for the ready file of a daemon, whose log is $work/$3.log.
await() {
    tries=0
    until [ -e "$2" ]; do
        tries=$((tries + 1))
        kill -0 "$1" 2>/dev/null || die_with "$3" "the daemon ended; see above."
        [ "$tries" -lt "$install_limit_s" ] ||
            die_with "$3" "the daemon was not ready within $install_limit_s s; see above."
        sleep 1
    done
}

# By SIGTERM, to which it ends with 0.
stop() {
    kill "$1"
    wait "$1" || die_with "$2" "the daemon ended with an error; see above."
}

speak_here() {
    mkdir "$work/home" "$work/ours"
    : >"$work/config.toml"
    env -i HOME="$work/home" LANG=C.UTF-8 PATH="$PATH" VOICED_CONFIG="$work/config.toml" \
        "$python" -m voiced serve --port 0 --http-port 0 --wyoming-port 0 --no-zeroconf \
        --ready-file "$work/ready" >"$work/here.log" 2>&1 &
    ours=$!
    await "$ours" "$work/ready" here
    say "here, on $(uname -m):"
    "$python" "$here/arm64_speech.py" speak "$work/ready" "$work/ours" ||
        die_with here "a door did not do as it should; see above."
    stop "$ours" here
    ours=
}

# Installs by ./install.sh --run with these options, and sets $theirs to the daemon.
run_there() {
    say "$release: ./install.sh --run${*:+ $*}"
    unshare --mount sh "$work/enter.sh" "$root" "$cache/wheels" "$where" \
        ./install.sh --run "$@" -- --port 0 --http-port 0 --wyoming-port 0 --no-zeroconf \
        --ready-file /srv/ready >"$work/there.log" 2>&1 &
    theirs=$!
    await "$theirs" "$root/srv/ready" there
}

stop_there() {
    stop "$theirs" there
    theirs=
    rm -f "$root/srv/ready"
    say "$release: .venv takes $(du -sm "$root$where/.venv" | cut -f1) MB"
}

check_speech() {
    mkdir "$root/srv/said"
    enter .venv/bin/python tests/rigs/arm64_speech.py speak /srv/ready /srv/said ||
        die_with there "a door did not do as it should; see above."
    "$python" "$here/arm64_speech.py" compare "$work/ours" "$root/srv/said" ||
        die "$release: what espeak says differs from what it says here."
}

tell_versions() {
    cat >"$root/srv/versions.py" <<'PYTHON'
import platform
from importlib.metadata import distribution, distributions

def tags(found):
    lines = (found.read_text("WHEEL") or "").splitlines()
    return [line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")]

print(f"  {platform.machine()}, Python {platform.python_version()}, {platform.libc_ver()[1]} libc")
for name in ("numpy", "av", "espeakng-loader", "onnxruntime"):
    print(f"  {name} {distribution(name).version}: {tags(distribution(name))[-1]}")
compiled = [d.name for d in distributions() if not all(t.endswith("-any") for t in tags(d))]
odd = [d.name for d in distributions() if not all(t.endswith(("-any", "aarch64")) for t in tags(d))]
print(f"  {len(compiled)} packages have compiled code; of another machine: {odd or 'none'}")
raise SystemExit(bool(odd))
PYTHON
    say "$release: what is installed"
    enter .venv/bin/python /srv/versions.py || die "$release: not the wheels that should be."
}

# --- the suite ---

# Not by ./install.sh --test: ruff and mypy say the same on every machine, and take long here. So
# does compiling what is never imported.
install_suite() {
    say "$release: installing what the tests need"
    enter env PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
        --no-compile --only-binary=:all: --no-binary=forbiddenfruit --use-pep517 \
        --editable '.[kokoro,test]' \
        >"$work/suite.log" 2>&1 ||
        die_with suite "$release: the packages could not be installed; see above."
}

run_suite() {
    # shellcheck disable=SC2086 # the words are wanted apart
    set -- $core
    say "$release: the core of the suite: $*"
    for test in $too_slow; do set -- "$@" --deselect "$test"; done
    enter timeout --foreground "$suite_limit_s" .venv/bin/python -m pytest -n 2 --dist loadfile \
        --tb=short "$@" >"$work/suite.log" 2>&1 ||
        die_with suite "$release: tests failed, or took more than $suite_limit_s s; see above."
    say "$release: $(tail -n 1 "$work/suite.log")"
}

check_release() {
    make_system
    run_there --minimal
    check_speech
    stop_there
    run_there
    stop_there
    tell_versions
    install_suite
    run_suite
    rm -rf --one-file-system "$root"
}

releases='bookworm trixie'
case ${1-} in
--help | -h)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
'') ;;
bookworm | trixie) releases=$1 ;;
*) die "there is no $1 here; see $0 --help." ;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
checkout=$(CDPATH='' cd -- "$here/../.." && pwd -P)
cache=${VOICED_RIGS:-/var/tmp/voiced-rigs}
ours=
theirs=
work=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

find_what_is_needed
mkdir -p "$cache/wheels"
work=$(mktemp -d "$cache/work.XXXXXX")
write_enter
speak_here
for release in $releases; do check_release; done
say "all as it should be"
