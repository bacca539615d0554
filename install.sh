#!/bin/sh
# Installs voiced as a service, sets it up in this folder, or tests it. The service stands in
# /opt/voiced; all else that this makes is .venv beside this script, and for the tests with PyTorch
# .venv-torch.
set -eu

usage() {
    cat <<'TEXT'
usage: sudo ./install.sh [--with kokoro|piper] [--minimal] [--dry-run]
       sudo ./install.sh --upgrade [--with kokoro|piper] [--dry-run]
       sudo ./install.sh --uninstall [--purge] [--dry-run]
       ./install.sh --run [--minimal] [--dry-run] [-- ARGUMENT...]
       ./install.sh --test [--torch] [--dry-run] [-- ARGUMENT...]

  (none)         install the service: it runs from now on and after every boot, and speaks to the
                 network with a token, which is made and shown once
  --upgrade      replace the installed version by this one; settings and models stay, and the
                 installed version comes back if this one does not get ready
  --uninstall    stop and remove the service; settings, models and phrases stay
  --purge        with --uninstall: nothing stays
  --with kokoro  fetch Kokoro's model too (354 MB)
  --with piper   install the piper engine too; its voices: sudo voiced models pull piper --voice NAME
  --run          make .venv, install voiced and the kokoro engine, run the daemon in the foreground;
                 arguments after -- go to `voiced serve`
  --test         make .venv, install what the tests need, run the whole gate: ruff, mypy,
                 import-linter, pytest; arguments after -- go to pytest
  --torch        with --test: make .venv-torch, which has PyTorch for the CPU too (1.6 GB), and run
                 the tests that need it, and no others
  --minimal      leave the kokoro engine out; espeak is always there
  --dry-run      print what would be done, do nothing
  --help         print this

example: ./install.sh --run -- --lan
TEXT
}

say() { printf 'voiced: %s\n' "$*"; }

die() {
    printf 'voiced: %s\n' "$*" >&2
    exit 1
}

misused() {
    printf 'voiced: %s\n\n' "$*" >&2
    usage >&2
    exit 2
}

# Does what it is given, or under --dry-run only prints it.
act() {
    if [ "$dry_run" ]; then
        say "would do: $*"
    else
        "$@"
    fi
}

# --- the machine and its Python ---

refuse_32_bit() {
    # A 64-bit kernel under a 32-bit system is 32-bit to us, so both are asked.
    bits=$(getconf LONG_BIT 2>/dev/null || echo unknown)
    machine=$(uname -m)
    case $bits/$machine in
    32/* | */armv6l | */armv7l | */i?86)
        die "this system is 32-bit (kernel: $machine), and numpy, onnxruntime and espeakng-loader ship" \
            "nothing for those; install the 64-bit edition of the system, then run this again."
        ;;
    esac
}

# Whether a Python is of a version that we take.
is_supported() {
    "$1" -Ic "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $newest))" 2>/dev/null
}

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Sets $python: a supported one, preferably one that can make a virtual environment.
find_python() {
    python=
    for candidate in python3 python3.13 python3.12 python3.11; do
        is_supported "$candidate" || continue
        python=${python:-$candidate}
        if can_make_venv "$candidate"; then
            python=$candidate
            return
        fi
    done
    [ "$python" ] || die "no Python 3.11 to 3.$newest here (python3 is:" \
        "$(python3 --version 2>/dev/null || echo missing)); install one, on Debian 12 and" \
        "Raspberry Pi OS: sudo apt-get install -y python3 python3-venv"
    get_venv_module
}

# Debian and Ubuntu split the module `venv` off their Python.
get_venv_module() {
    package=$python-venv
    command -v apt-get >/dev/null ||
        die "$python cannot make a virtual environment: the modules venv and ensurepip are" \
            "missing; install them with your system's package manager, then run this again."
    [ "$(id -u)" = 0 ] ||
        die "$python cannot make a virtual environment. Run this, then try again:" \
            "sudo apt-get update && sudo apt-get install -y $package"
    say "installing $package, which Debian leaves out"
    act apt-get update -qq || die "apt-get update failed; check the network, then run this again."
    act env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$package" ||
        die "$package could not be installed; see above, cure it, then run this again."
    [ "$dry_run" ] || can_make_venv "$python" ||
        die "$python cannot make a virtual environment even with $package; is it the system's" \
            "own Python? Put that first in PATH, then run this again."
}

# --- the virtual environment ---

# False for one that was never finished, was moved or copied here, or has lost its Python.
venv_is_sound() {
    [ ! -e "$unfinished" ] &&
        grep -qsF "$venv/bin/python" "$venv/bin/pip" &&
        is_supported "$venv/bin/python" &&
        "$venv/bin/python" -Ic 'import pip' 2>/dev/null
}

make_venv() {
    find_python
    if [ -e "$venv" ] || [ -L "$venv" ]; then
        say "removing a $venv_name that is incomplete, moved, or of another Python"
        act rm -rf "$venv"
    fi
    say "making $venv_name with $("$python" --version)"
    act mkdir "$venv" ||
        die "nothing can be made in ${venv%/*}; run this as the user whom it belongs to."
    act touch "$unfinished"
    act "$python" -m venv "$venv" ||
        die "the $venv_name could not be made; see above. Is the disk full? Then run this again."
}

# What the packages depend on: if that is unchanged, they are right, and no network is asked. A
# service has a copy of the program, too.
inputs_sum() {
    {
        cat pyproject.toml constraints.txt install.sh
        if [ "$is_service" ]; then
            find voiced configs -type f ! -name '*.py[co]' | LC_ALL=C sort | xargs cat
            cat "$packages" 2>/dev/null || true
        fi
    } | cksum | tr ' ' -
}

# Sets $installed_sum and $installed_extras. A cut stamp reads as none.
read_stamp() {
    [ ! -f "$stamp" ] || read -r installed_sum installed_extras <"$stamp" || installed_sum=
}

has_extra() {
    case " $installed_extras " in
    *" $1 "*) ;;
    *) return 1 ;;
    esac
}

is_installed() {
    [ "$installed_sum" = "$(inputs_sum)" ] || return 1
    for wanted in $extras_wanted; do
        has_extra "$wanted" || return 1
    done
    "$venv/bin/python" -Ic 'import voiced' 2>/dev/null
}

pip_install() {
    # The constraints by environment, since only so do they hold for the build tools too; pip
    # has two names for that, by age.
    # shellcheck disable=SC2086
    act env PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
        "$venv/bin/python" -m pip install $quiet --disable-pip-version-check --no-input "$@"
}

install_packages() {
    extras=$installed_extras
    for wanted in $extras_wanted; do
        has_extra "$wanted" || extras="$extras $wanted"
    done
    # shellcheck disable=SC2086  # the words are wanted apart
    set -- $extras
    target=.
    [ $# = 0 ] || target=".[$(
        IFS=,
        echo "$*"
    )]"
    quiet=
    [ -t 1 ] || quiet=--quiet
    size='100 MB'
    cpu_torch=
    hint=
    if [ "$torch" ]; then
        size='400 MB'
        # The usual build for Linux would bring CUDA, which is gigabytes.
        cpu_torch=$(sed -n 's/^torch==.*/&+cpu/p' constraints.txt)
        hint=" A package index that has $cpu_torch is needed: PyTorch has one of CPU builds,
which PIP_EXTRA_INDEX_URL may name."
    fi
    say "installing packages (some $size the first time; minutes on a Raspberry Pi)"
    # Wheels only: a missing one fails at once instead of compiling for an hour.
    forms=--only-binary=:all:
    case " $* " in
    *" test "*) forms="$forms --no-binary=forbiddenfruit" ;; # pure Python, without a wheel
    esac
    editable=--editable
    # pip's cache would be left in root's home.
    [ -z "$is_service" ] || editable=--no-cache-dir
    # shellcheck disable=SC2086
    pip_install $forms --use-pep517 $editable "$target" $cpu_torch ||
        die "the packages could not be installed; see above. Check the network and the free" \
            "space on the disk, then run this again.$hint"
    # Without what it names: that would bring spaCy, and download a language model.
    [ -z "$torch" ] || pip_install --only-binary=:all: --no-deps kokoro ||
        die "the package kokoro could not be installed; see above, cure it, then run this again."
    [ "$dry_run" ] || echo "$(inputs_sum) $*" >"$stamp"
    act rm -f "$unfinished"
}

# Makes the environment hold voiced with $extras_wanted; at once and without a network where it
# does already.
set_up() {
    refuse_32_bit
    installed_sum=
    installed_extras=
    if venv_is_sound; then
        read_stamp
    else
        make_venv
    fi
    if is_installed; then
        say "$venv_name is up to date"
    else
        install_packages
    fi
}

# --- what people ask for ---

run_daemon() {
    set_up
    # Where the user stands: a path among the arguments is theirs.
    cd "$started_in"
    say "starting the daemon; Ctrl-C ends it"
    act exec "$venv/bin/voiced" serve "$@"
}

check() {
    name=$1
    shift
    say "test: $name"
    act "$@" || die "$name failed; see above."
}

run_gate() {
    extras_wanted='test'
    set_up
    # pytest and hypothesis go other ways under CI; a gate has one result.
    unset CI BUILD_NUMBER
    PATH=$venv/bin:$PATH
    check "ruff check" ruff check
    check "ruff format" ruff format --check
    check "mypy" mypy
    check "import-linter" lint-imports
    say "test: pytest"
    # Last, and by exec, so that its summary ends the output.
    # Two at a time, as most of them wait; a file's tests stay together.
    act exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
}

# Beside the gate: what is tested there needs packages of a gigabyte.
run_torch_tests() {
    extras_wanted='test torch'
    set_up
    unset CI BUILD_NUMBER
    say "test: pytest, with PyTorch"
    act exec env VOICED_TEST_TORCH=1 "$venv/bin/python" -m pytest -k torch \
        tests/backends/kokoro/test_torch.py tests/conformance/test_backends.py "$@"
}

# --- the service ---

refuse_elsewhere() {
    id=unknown
    VERSION_ID=0
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || id=$(. /etc/os-release && echo "$ID $VERSION_ID")
    case $id in
    'debian 12'* | 'debian 13'*) ;;
    *)
        die "the service is for Debian 12 and 13 and the 64-bit Raspberry Pi OS of these; here is" \
            "$id. ./install.sh --run works wherever there is a Python, and docs/operations.md has" \
            "a unit for a user's own service."
        ;;
    esac
    [ -d /run/systemd/system ] ||
        die "systemd does not run here, as in most containers; ./install.sh --run needs none."
}

# When this run does not come to its end: takes back what it made, and brings back what it replaced.
undo() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP PIPE # a second Ctrl-C, or a terminal that has gone, changes nothing
    set +e
    [ "$status" != 0 ] && [ -z "$dry_run" ] || exit "$status"
    [ -z "$made$old$is_unit_put" ] || say "taking back what was done"
    if [ "$old" ]; then
        use_release "$old"
    elif [ "$is_unit_put" ]; then
        systemctl --quiet disable --now voiced
    fi
    if [ "$old_unit" ]; then
        [ -z "$is_unit_put" ] || install -m 644 "$old_unit" "$unit"
        rm -f "$old_unit"
    fi
    # shellcheck disable=SC2086  # our own names, without spaces
    rm -rf $made
    [ -z "$is_unit_put" ] || systemctl daemon-reload
    if [ "$old" ] && systemctl restart voiced; then
        say "the old version runs again, with its settings"
    elif [ "$old" ]; then
        say "the old version does not start either: journalctl -u voiced"
    fi
    exit "$status"
}

# Makes a file with what a function prints, if there is none.
make_file() {
    [ ! -e "$1" ] || return 0
    if [ "$dry_run" ]; then
        say "would write: $1"
        return
    fi
    made="$1 $made"
    (umask 077 && "$3" >"$1")
    chmod "$2" "$1"
}

make_folder() {
    [ ! -d "$1" ] || return 0
    made="$1 $made"
    act install -d -m "$2" "$1"
}

config_text() {
    cat <<'TEXT'
# voiced, as ./install.sh set it up. `voiced config --defaults` shows every key, and
# `sudo systemctl reload voiced` or `restart voiced` has it read again.

[websocket]
host = "0.0.0.0"

[http]
host = "0.0.0.0"

# Home Assistant knows no token, so that only private networks may connect.
[wyoming]
host = "0.0.0.0"

[auth]
token_file = "/etc/voiced/credentials/token"

[cache]
disk_mb = 256
TEXT
}

token_text() { "$venv/bin/python" -Ic 'import secrets; print(secrets.token_urlsafe(24))'; }

# The newest release's number; 0 where there is none.
newest_release() {
    for folder in "$program"/releases/*; do
        [ ! -d "$folder" ] || echo "${folder##*/}"
    done | sort -n | tail -n 1 | grep . || echo 0
}

use_release() {
    act ln -sfn "$1" "$program/next"
    act mv -T "$program/next" "$program/current" # at once: there is always one of the two
}

is_same() { cmp -s "$1" "$2"; }

put_unit() {
    is_same systemd/voiced.service "$unit" && return
    if [ -e "$unit" ]; then
        old_unit=$(mktemp)
        cat "$unit" >"$old_unit"
    else
        made="$unit $made"
    fi
    is_unit_put=yes
    act install -m 644 systemd/voiced.service "$unit"
    act systemctl daemon-reload
}

last_words() {
    journalctl --no-pager --quiet --unit voiced --lines 15 --output cat >&2 || true
}

make_release() {
    venv=$program/releases/$(($(newest_release) + 1))
    venv_name="the program's environment"
    unfinished=$venv/voiced-unfinished
    stamp=$venv/voiced-installed
    made="$venv $made"
    installed_sum=
    installed_extras=
    make_venv
    install_packages
    [ ! -e "$packages" ] || pip_install --no-cache-dir --requirement "$packages" ||
        die "what $packages names could not be installed; see above, correct it, then run this again."
}

# Sets $venv to the release in use, and what is known of it.
look_at_current() {
    venv=$program/current
    stamp=$venv/voiced-installed
    installed_sum=
    installed_extras=
    read_stamp
}

is_current() { is_installed && is_same systemd/voiced.service "$unit"; }

fetch_models() {
    case $with in
    *kokoro*) ;;
    *) return 0 ;;
    esac
    act "$program/current/bin/voiced" models pull kokoro ||
        say "Kokoro's model did not come; the service runs without it. Try it again by" \
            "sudo voiced models pull kokoro"
}

# Prints a key of a section of the settings in force.
setting() { "$program/current/bin/voiced" config | sed -n "/^\[$1\]/,/^\[/s/^$2 = //p" | tr -d '"'; }

say_a_sentence() {
    host=$(setting websocket host)
    case $host in
    0.0.0.0 | ::) host=127.0.0.1 ;;
    *:*) host="[$host]" ;;
    esac
    spoken=$(mktemp --suffix=.wav)
    VOICED_TOKEN=$(cat "$(setting auth token_file)" 2>/dev/null) \
        "$program/current/bin/voiced" say --url "ws://$host:$(setting websocket port)/v1/ws" \
        "voiced is installed, and speaks." -o "$spoken" &&
        length=$("$program/current/bin/python" -Ic \
            'import sys, wave; w = wave.open(sys.argv[1]); print(round(w.getnframes() / w.getframerate(), 1))' \
            "$spoken") || length=
    rm -f "$spoken"
    [ "$length" ] && say "it spoke a sentence of $length s through its WebSocket"
}

tell_where() {
    cat <<TEXT

  program    $program, command: voiced
  settings   $settings/config.toml; voiced config --defaults shows every key
  keys       $secrets, a file for each, as OPENAI_API_KEY; restart after a change
  models     /var/lib/voiced/models; sudo voiced models pull kokoro
  phrases    /var/cache/voiced; sudo voiced cache stats
  log        journalctl -u voiced
  checks     sudo voiced check

Home Assistant finds it by itself. From here, with the token:
  VOICED_TOKEN=\$(sudo cat $secrets/token) voiced say "Good morning" -o morning.wav
TEXT
}

begin() {
    [ "$dry_run" ] || [ "$(id -u)" = 0 ] || die "this takes root: sudo ./install.sh $arguments"
    umask 022 # whatever the user has: a service of another user runs what is made here
    trap undo EXIT
    trap 'exit 1' INT TERM HUP
}

install_service() {
    begin
    refuse_32_bit
    refuse_elsewhere
    case $here/ in
    "$program"/*) die "a checkout may not lie in $program, which belongs to the service; move it." ;;
    esac
    look_at_current
    # Without a word of engines, those that are there are meant.
    [ -z "$installed_sum" ] || extras_wanted="$installed_extras $with"
    if is_current; then
        say "voiced is installed, and in this version"
        systemctl --quiet is-enabled voiced || act systemctl --quiet enable voiced
        systemctl --quiet is-active voiced || act systemctl start voiced ||
            die "the service does not start: systemctl status voiced; journalctl -u voiced"
        fetch_models
        tell_where
        return
    fi
    [ ! -e "$program/current" ] ||
        die "another version is installed, or with other engines; to replace it:" \
            "sudo ./install.sh --upgrade$(for name in $with; do echo " --with $name"; done)"
    case $(readlink "$command" || echo none) in
    none | "$program"/*) ;;
    *) die "$command is there, and not ours; move it, then run this again." ;;
    esac
    [ -L "$command" ] || [ ! -e "$command" ] ||
        die "$command is there, and not ours; move it, then run this again."
    make_folder "$program" 755
    make_folder "$program/releases" 755
    make_release
    make_folder "$settings" 755
    make_folder "$secrets" 700
    [ -e "$secrets/token" ] || is_new_token=yes
    [ -e "$settings/config.toml" ] || is_new_config=yes
    make_file "$secrets/token" 600 token_text
    make_file "$settings/config.toml" 644 config_text
    made="$program/current $command $made"
    use_release "$venv"
    act ln -sfn "$program/current/bin/voiced" "$command"
    put_unit
    for folder in $kept; do # which systemd makes
        [ -e "$folder" ] || made="$folder $made"
    done
    is_unit_put=yes
    act systemctl --quiet enable voiced
    say "starting the service"
    if ! act systemctl start voiced; then
        last_words
        die "the service did not get ready; its last words are above. Cure it, then run this again."
    fi
    if [ -z "$dry_run" ] && ! say_a_sentence; then
        [ -z "$is_new_config" ] ||
            die "the service started and did not speak; see above. Cure it, then run this again."
        say "the service runs and did not speak here; see above, and: sudo voiced check"
    fi
    commit
    say "voiced runs, and will after every boot"
    tell_where
    [ -z "$is_new_token" ] || [ "$dry_run" ] || say "the token for clients: $(cat "$secrets/token")"
    fetch_models
}

# From here on nothing is taken back.
commit() {
    [ -z "$old_unit" ] || rm -f "$old_unit"
    made=
    old=
    old_unit=
    is_unit_put=
}

upgrade_service() {
    begin
    refuse_32_bit
    refuse_elsewhere
    [ -e "$program/current" ] || die "voiced is not installed; sudo ./install.sh does that."
    [ -e "$unit" ] || die "$unit is missing; sudo ./install.sh --uninstall, then install."
    look_at_current
    extras_wanted="$installed_extras $with" # what was installed stays
    if is_current; then
        say "this version is installed already"
        fetch_models
        return
    fi
    running=$(readlink -f "$program/current")
    make_release
    [ ! -e "$settings/config.toml" ] ||
        act "$venv/bin/voiced" config --check --config "$settings/config.toml" ||
        die "the new version does not take $settings/config.toml; see above. The installed version" \
            "runs on. Change the settings, then run this again."
    old=$running
    use_release "$venv"
    put_unit
    say "starting the new version"
    if ! act systemctl restart voiced; then
        last_words
        die "the new version did not get ready; its last words are above."
    fi
    commit
    [ "$dry_run" ] || say_a_sentence ||
        say "the new version runs and did not speak here; see above, and: sudo voiced check"
    for folder in "$program"/releases/*; do
        [ "$folder" = "$venv" ] || act rm -rf "$folder"
    done
    fetch_models
    say "the new version runs"
}

uninstall_service() {
    begin
    act systemctl --quiet disable --now voiced 2>/dev/null || true
    act rm -f "$unit" /etc/systemd/system/multi-user.target.wants/voiced.service
    if [ -d /run/systemd/system ]; then
        act systemctl daemon-reload
        act systemctl --quiet reset-failed voiced 2>/dev/null || true
    fi
    case $(readlink "$command" || true) in
    "$program"/*) act rm -f "$command" ;;
    esac
    act rm -rf "$program/releases" "$program/current" "$program/next"
    [ ! -d "$program" ] || act rmdir "$program" || say "$program has more in it, which stays"
    if [ "$purge" ]; then
        # shellcheck disable=SC2086  # the words are wanted apart
        act rm -rf "$settings" "$unit.d" $kept
        say "voiced is gone"
    else
        say "voiced is gone; $settings, /var/lib/voiced and /var/cache/voiced stay. To remove these:" \
            "sudo ./install.sh --uninstall --purge"
    fi
}

arguments=$*
mode=
minimal=
torch=
purge=
with=
dry_run=
while [ $# -gt 0 ]; do
    argument=$1
    shift
    case $argument in
    --run | --test | --upgrade | --uninstall)
        [ "${mode:-$argument}" = "$argument" ] || misused "$mode or $argument, not both."
        mode=$argument
        ;;
    --minimal) minimal=yes ;;
    --torch) torch=yes ;;
    --purge) purge=yes ;;
    --with)
        case ${1:-} in
        kokoro | piper) with="$with $1" ;;
        *) misused "--with takes kokoro or piper." ;;
        esac
        shift
        ;;
    --dry-run) dry_run=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    --) break ;;
    *) misused "there is no option $argument; arguments for voiced or pytest go after --." ;;
    esac
done

[ -z "$torch" ] || [ "$mode" = --test ] || misused "--torch goes with --test."
[ -z "$purge" ] || [ "$mode" = --uninstall ] || misused "--purge goes with --uninstall."
case $minimal$with in
yes*kokoro*) misused "--with kokoro or --minimal, not both." ;;
esac
case $mode in
--run | --test) is_service= ;;
*)
    is_service=yes
    [ $# = 0 ] || misused "arguments after -- go with --run or --test."
    ;;
esac
case $mode in
--test | --uninstall) [ -z "$with$minimal" ] || misused "--with and --minimal go with installing." ;;
--upgrade) [ -z "$minimal" ] || misused "--minimal goes with installing." ;;
--run) [ -z "$with" ] || misused "--with goes with the service; here: .venv/bin/voiced models pull." ;;
esac

started_in=$(pwd)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv_name=.venv${torch:+-torch}
newest=13 # as `requires-python` in pyproject.toml says
[ -z "$torch" ] || newest=12 # as the package kokoro says
venv=$here/$venv_name
unfinished=$venv/voiced-unfinished
stamp=$venv/voiced-installed
program=/opt/voiced
settings=/etc/voiced
secrets=$settings/credentials
packages=$settings/packages.txt # what a user adds, as plug-ins
unit=/etc/systemd/system/voiced.service
command=/usr/local/bin/voiced
# A dynamic user's folders are links into private ones.
kept='/var/lib/voiced /var/lib/private/voiced /var/cache/voiced /var/cache/private/voiced'
made= # by this run, the latest first
old= # the release that this run replaces
old_unit= # a copy of the unit that it replaces
is_unit_put=
is_new_token=
is_new_config=
extras_wanted="kokoro$with"
[ -z "$minimal" ] || extras_wanted=$with
cd "$here"

case $mode in
--run) run_daemon "$@" ;;
--test) if [ "$torch" ]; then run_torch_tests "$@"; else run_gate "$@"; fi ;;
--upgrade) upgrade_service ;;
--uninstall) uninstall_service ;;
*) install_service ;;
esac
