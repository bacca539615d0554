#!/bin/sh
# Sets voiced up in this folder, or tests it. All it makes stands in .venv beside this script, and
# for the tests with PyTorch in .venv-torch.
set -eu

usage() {
    cat <<'TEXT'
usage: ./install.sh --run [--minimal] [--dry-run] [-- ARGUMENT...]
       ./install.sh --test [--torch] [--dry-run] [-- ARGUMENT...]

  --run      make .venv, install voiced and the kokoro engine, run the daemon in the foreground;
             arguments after -- go to `voiced serve`
  --test     make .venv, install what the tests need, run the whole gate: ruff, mypy,
             import-linter, pytest; arguments after -- go to pytest
  --torch    with --test: make .venv-torch, which has PyTorch for the CPU too (1.6 GB), and run
             the tests that need it, and no others
  --minimal  leave the kokoro engine out; espeak is always there
  --dry-run  print what would be done, do nothing
  --help     print this

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
        die "nothing can be made in $here; run this as the user whom it belongs to."
    act touch "$unfinished"
    act "$python" -m venv "$venv" ||
        die "the $venv_name could not be made; see above. Is the disk full? Then run this again."
}

# What the packages depend on: if that is unchanged, they are right, and no network is asked.
inputs_sum() { cat pyproject.toml constraints.txt install.sh | cksum | tr ' ' -; }

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
    # shellcheck disable=SC2086
    pip_install $forms --use-pep517 --editable "$target" $cpu_torch ||
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
    extras_wanted=kokoro
    [ -z "$minimal" ] || extras_wanted=
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

mode=
minimal=
torch=
dry_run=
while [ $# -gt 0 ]; do
    argument=$1
    shift
    case $argument in
    --run | --test)
        [ "${mode:-$argument}" = "$argument" ] || misused "--run or --test, not both."
        mode=$argument
        ;;
    --minimal) minimal=yes ;;
    --torch) torch=yes ;;
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

started_in=$(pwd)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv_name=.venv${torch:+-torch}
newest=13 # as `requires-python` in pyproject.toml says
[ -z "$torch" ] || newest=12 # as the package kokoro says
venv=$here/$venv_name
unfinished=$venv/voiced-unfinished
stamp=$venv/voiced-installed
cd "$here"

case $mode in
--run) run_daemon "$@" ;;
--test) if [ "$torch" ]; then run_torch_tests "$@"; else run_gate "$@"; fi ;;
*) misused "installing voiced as a service comes with a later version; today there is --run." ;;
esac
