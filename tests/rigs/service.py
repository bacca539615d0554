"""usage: sudo .venv/bin/python tests/rigs/service.py [--release bookworm|trixie] [--bind DIR ...]

Installs this checkout in a bare Debian that boots a real systemd in a container, and tries what a
service lives through. Prints what it checked, with what was measured, and ends with 1 where one
failed. Takes some minutes and 2 GB; the bare Debian is kept for the next time in VOICED_RIGS, or
/var/tmp/voiced-rigs.

Needs root, debootstrap and systemd-container (Debian), a network, the ports 8765, 8880 and 10210
free here, as the container shares the network, and the environment of ./install.sh --test.
PIP_ variables hold in the container, too; --bind shows it a folder that they name.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import aiohttp
import numpy as np

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
sys.path[:0] = [str(TESTS), str(REPOSITORY / "benchmarks")]

from random_kokoro import make as write_random_kokoro  # noqa: E402
from tiny_piper import VOICE, write_tiny_piper  # noqa: E402

from voiced.client import Client, connect  # noqa: E402
from voiced.errors import VoicedError  # noqa: E402

URL = "ws://127.0.0.1:8765/v1/ws"
HEALTH = "http://127.0.0.1:8880/healthz"
CONFIG = "/etc/voiced/config.toml"
CERTIFICATES = "/srv/certificates.pem"
STORY = "Once upon a time there was a small machine that could speak. " * 3
WATCHED = "/etc /opt /usr/local /var/lib /var/cache /root"  # where nothing may be left

ENGINES = """
[backends.local_kokoro_default_onnx]
model_path = "/srv/kokoro/kokoro.onnx"
voices_path = "/srv/kokoro/voices.bin"

[backends.local_piper]
voices_path = "/srv/piper"

[backends.itself]
type = "openai"
base_url = "http://127.0.0.1:8880/v1"
model = "espeak"
voices = ["en-us"]
api_key_file = "/etc/voiced/credentials/token"
"""

FAULTS = '''
import ctypes
import time
from collections.abc import AsyncGenerator, Sequence

from voiced.backends.base import Emit, TTSBackendBase
from voiced.speech import PcmChunk, Segment, Voice


class Blocks(TTSBackendBase):
    """Holds the event loop for ever."""

    is_local = True

    async def initialize(self) -> None: ...

    def voices(self) -> Sequence[Voice]:
        return [Voice("one", "One", ("en",), 16000)]

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        time.sleep(3600)
        yield PcmChunk(None)

    async def close(self) -> None: ...


class Kills(Blocks):
    """Ends the thread of the lane that it is called on."""

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        async for chunk in self.lane.stream(segment, self._synthesize):
            yield chunk

    def _synthesize(self, segment: Segment, emit: Emit) -> None:
        ctypes.CDLL(None).pthread_exit(None)
'''


FAULTS_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "rig-faults"
version = "1"

[project.entry-points."voiced.backends"]
blocks = "rig_faults:Blocks"
kills = "rig_faults:Kills"

[tool.hatch.build]
include = ["rig_faults.py"]
"""


class FailedError(Exception):
    """A check did not hold."""


class Machine:
    """A Debian in a container, which shares this machine's network."""

    def __init__(self, root: Path, binds: list[str]) -> None:
        self.root = root
        self._binds = binds
        self._container: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Start it, and wait until its services run."""
        self._container = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}"),
                *("--machine=voiced-rig", "--register=no", "--keep-unit", "--console=pipe"),
                *("--resolv-conf=copy-host", "--capability=all", "--system-call-filter=bpf keyctl"),
                *(f"--bind-ro={folder}" for folder in self._binds),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        self.wait_until_up()

    def wait_until_up(self) -> None:
        states = ("running", "degraded")
        within(60, lambda: self.run("systemctl is-system-running", check=False).strip() in states)

    def run(self, command: str, *, check: bool = True) -> str:
        """Run a command in it; return what it printed, errors too."""
        ran = self.tried(command)
        if check and ran.returncode:
            raise FailedError(f"{command}: status {ran.returncode}\n{ran.stdout}")
        return ran.stdout

    def tried(self, command: str) -> subprocess.CompletedProcess[str]:
        assert self._container is not None
        found = subprocess.run(
            ["pgrep", "--parent", str(self._container.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if not found:  # between two boots
            return subprocess.CompletedProcess(command, 1, "")
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        if "PIP_CERT" in pip:
            pip["PIP_CERT"] = CERTIFICATES
        environ = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
            "HOME": "/root",
        } | pip
        return subprocess.run(
            ["nsenter", "--target", found[0], "--all", "sh", "-c", f"cd /src && {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=environ,
        )

    def reboot(self) -> None:
        """Let it go down to boot anew, which the container's host is left to do."""
        assert self._container is not None
        self.tried("systemctl reboot")
        self._container.wait(30)
        self.boot()

    def off(self) -> None:
        if self._container is not None and self._container.poll() is None:
            self.tried("systemctl poweroff")
            try:
                self._container.wait(20)
            except subprocess.TimeoutExpired:
                self._container.kill()

    # ---------------------------------------------------------------------------- the service

    def shown(self, name: str) -> str:
        return self.run(f"systemctl show --property={name} --value voiced").strip()

    @property
    def pid(self) -> str:
        return self.shown("MainPID")

    @property
    def token(self) -> str:
        return (self.root / "etc/voiced/credentials/token").read_text().strip()

    def edit(self, file: str, change: Callable[[str], str]) -> str:
        """Change a file; return what it was."""
        path = self.root / file.lstrip("/")
        before = path.read_text()
        path.write_text(change(before))
        return before

    def listing(self) -> set[str]:
        return set(
            self.run(f"find {WATCHED} -xdev ! -name '*.pyc' ! -name __pycache__").splitlines()
        )


def within(seconds: float, is_so: Callable[[], bool]) -> float:
    """Wait until something is so; return how long that took."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > seconds:
            raise FailedError(f"not within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - began


def claim(what: object, otherwise: str) -> None:
    if not what:
        raise FailedError(otherwise)


async def say(client: Client, text: str, **fields: object) -> float:
    """Speak; return the seconds of it. Silence is a failure."""
    async with client.speak(text, **fields) as speech:
        pcm = np.frombuffer(b"".join([part async for part in speech]), np.int16)
    claim(pcm.size and np.abs(pcm).max() > 1000, f"{fields}: it spoke nothing")
    claim(speech.ended and speech.ended.reason == "complete", f"{fields}: it ended otherwise")
    return pcm.size / 24000


async def is_healthy() -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1)) as web,
            web.get(HEALTH) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def back_after(machine: Machine, pid: str, seconds: float) -> str:
    """Wait until another process serves; say when it did."""
    began = time.monotonic()
    while not (await is_healthy() and machine.pid not in (pid, "0")):
        claim(time.monotonic() - began < seconds, f"not back within {seconds:g} s")
        await asyncio.sleep(0.05)
    async with connect(URL, token=machine.token) as client:
        await say(client, "I am back.")
    took_s = time.monotonic() - began
    claim(took_s <= seconds, f"it spoke again after {took_s:.1f} s, to be {seconds:g} at most")
    return f"it spoke again after {took_s:.1f} s, to be {seconds:g} at most"


# ----------------------------------------------------------------------------------- the checks


async def installs(machine: Machine) -> str:
    began = time.monotonic()
    out = machine.run("./install.sh --with piper")
    took_s = time.monotonic() - began
    claim("it spoke a sentence" in out, out)
    claim(machine.token in out, "the token was not shown")
    return f"from a bare Debian to the first sentence in {took_s:.0f} s"


async def a_second_run_changes_nothing(machine: Machine) -> str:
    before, pid = machine.run(f"find {WATCHED} -xdev -printf '%p %T@\\n'"), machine.pid
    machine.run("./install.sh --with piper")
    after = machine.run(f"find {WATCHED} -xdev -printf '%p %T@\\n'")
    changed = {line for line in before.splitlines() if "phrases.sqlite" not in line}
    changed ^= {line for line in after.splitlines() if "phrases.sqlite" not in line}
    claim(not changed, f"changed: {sorted(changed)[:5]}")
    claim(pid == machine.pid, "the daemon was started again")
    return "no file changed, the same process"


async def is_sandboxed(machine: Machine) -> str:
    verified = machine.run("systemd-analyze verify --man=no /etc/systemd/system/voiced.service")
    claim(not verified, verified)
    machine.run("systemd-analyze security --threshold=12 voiced.service")
    score = machine.run("systemd-analyze security voiced.service | grep 'Overall exposure'")
    return score.strip(" \n→").replace("voiced.service", "").strip()


async def every_engine_speaks_in_it(machine: Machine) -> str:
    before = machine.edit(CONFIG, lambda text: text + ENGINES)
    machine.run("systemctl restart voiced")
    told = []
    async with connect(URL, token=machine.token) as client:
        for model in ("espeak", "local_kokoro_default_onnx", "local_piper", "itself"):
            options = {"strict": True}
            seconds = await say(client, "Hello.", model=model, model_specific_options=options)
            told.append(f"{model} {seconds:.1f} s")
    machine.edit(CONFIG, lambda _: before)
    machine.run("systemctl restart voiced")
    return ", ".join(told)


async def a_model_is_pulled(machine: Machine) -> str:
    """Does it as root, while the daemon runs, which has to find what came."""
    pid = machine.pid
    async with connect(URL, token=machine.token) as client:
        wanted = {"model": "local_piper", "model_specific_options": {"strict": True}}
        with suppress(VoicedError):
            await say(client, "Not yet.", **wanted)
            raise FailedError("it spoke before it was pulled")
        machine.run(f"voiced models pull piper --voice {VOICE} --from /srv/mirror")
        await asyncio.sleep(2)  # it looks once a second, when somebody asks
        with suppress(VoicedError):
            await say(client, "Now I look.", **wanted)
        await asyncio.sleep(0.5)
        await say(client, "Now I have it.", **wanted)
    claim(pid == machine.pid, "the daemon was started again")
    where = machine.run("find /var/lib/voiced/models/ -name '*.onnx'").strip()
    return f"{where}; the same process speaks with it"


async def reloads(machine: Machine) -> str:
    pid, rounds = machine.pid, 100
    async with connect(URL, token=machine.token) as client:
        session = client.greeting["session"]
        spoken = 0
        reloading = asyncio.create_task(
            asyncio.to_thread(
                machine.run, f"for i in $(seq {rounds}); do systemctl reload voiced || exit 1; done"
            )
        )
        while not reloading.done():
            await say(client, f"Number {spoken}. {STORY}")
            spoken += 1
        await reloading
        claim(client.greeting["session"] == session, "the session was lost")
    claim(pid == machine.pid, "the daemon was started again")
    return f"{rounds} in a row; a session and its {spoken} speeches went on"


async def a_bad_reload_is_refused(machine: Machine) -> str:
    good = machine.edit(CONFIG, lambda text: text.replace("disk_mb", "disk_bm"))
    try:
        refused = machine.tried("systemctl reload voiced")
        claim(refused.returncode, "a faulty configuration was taken")
        machine.run("kill -HUP $(systemctl show --property=MainPID --value voiced)")
        within(5, lambda: "not reloaded: cache.disk_bm" in machine.shown("StatusText"))
        async with connect(URL, token=machine.token) as client:
            await say(client, "I go on.")
    finally:
        machine.edit(CONFIG, lambda _: good)
    machine.run("systemctl reload voiced")
    within(5, lambda: machine.shown("StatusText").startswith("clients"))
    return "systemctl says so, the daemon goes on and says why"


async def stops_in_good_order(machine: Machine) -> str:
    async with connect(URL, token=machine.token) as client, client.speak(STORY) as speech:
        parts = aiter(speech)
        await anext(parts)
        stopping = asyncio.create_task(asyncio.to_thread(machine.run, "systemctl stop voiced"))
        async for _ in parts:
            pass
        claim(speech.ended and speech.ended.reason == "complete", "the speech was cut off")
    await stopping
    claim(machine.shown("Result") == "success", machine.shown("Result"))
    claim(machine.shown("ExecMainStatus") == "0", "not status 0")
    machine.run("systemctl start voiced")
    return "SIGTERM in mid-speech: spoken to its end, status 0"


async def comes_back_after_kill(machine: Machine) -> str:
    pid = machine.pid
    machine.run(f"kill -KILL {pid}")
    return await back_after(machine, pid, 4)


async def comes_back_when_blocked(machine: Machine) -> str:
    with faults(machine):
        told = await back_after(machine, await strike(machine, "blocks"), 13)
    log = machine.run("journalctl --unit voiced --output cat --lines 200")
    claim("rig_faults.py" in log, "the log does not say where it hung")
    return f"{told}; the log says in which line it hung"


async def comes_back_without_a_worker(machine: Machine) -> str:
    with faults(machine):
        return await back_after(machine, await strike(machine, "kills"), 3)


async def strike(machine: Machine, model: str) -> str:
    """Ask for a speech that harms the daemon; return the process it was."""
    pid = machine.pid
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(0.3)) as web:
        headers = {"Authorization": f"Bearer {machine.token}"}
        body = {"model": model, "input": "One.", "model_specific_options": {"strict": True}}
        try:
            url = "http://127.0.0.1:8880/v1/audio/speech"
            await web.post(url, json=body, headers=headers)
        except (aiohttp.ClientError, TimeoutError):
            return pid
    raise FailedError(f"{model} did no harm")


async def a_broken_configuration_is_not_tried_again(machine: Machine) -> str:
    good = machine.edit(CONFIG, lambda text: text.replace("disk_mb", "disk_bm"))
    try:
        claim(machine.tried("systemctl restart voiced").returncode, "it started")
        await asyncio.sleep(5)
        claim(machine.shown("ExecMainStatus") == "78", "not status 78")
        claim(machine.shown("ActiveState") == "failed", "it is tried again")
        claim(machine.shown("NRestarts") == "0", "it was tried again")
    finally:
        machine.edit(CONFIG, lambda _: good)
    machine.run("systemctl restart voiced")
    return "status 78, and nothing more after 5 s"


async def upgrades(machine: Machine) -> str:
    config, token, pid = (machine.root / CONFIG[1:]).read_text(), machine.token, machine.pid
    machine.edit("/src/voiced/__init__.py", lambda text: f"{text}# a later version\n")
    refused = machine.tried("./install.sh")
    claim("--upgrade" in refused.stdout, "it does not say how to upgrade")
    machine.run("./install.sh --upgrade")
    claim(machine.pid != pid, "the old process runs")
    claim(config == (machine.root / CONFIG[1:]).read_text(), "the settings changed")
    claim(token == machine.token, "the token changed")
    claim(len(list((machine.root / "opt/voiced/releases").iterdir())) == 1, "the old one is left")
    return "another process, the same settings and token, nothing left of the old one"


async def a_failing_upgrade_comes_back(machine: Machine) -> str:
    release = (machine.root / "opt/voiced/current").readlink()
    good = machine.edit("/src/voiced/daemon.py", lambda text: f"{text}\nraise RuntimeError\n")
    try:
        failed = machine.tried("./install.sh --upgrade")
    finally:
        machine.edit("/src/voiced/daemon.py", lambda _: good)
    claim(failed.returncode == 1, "it says that all is well")
    claim("the old version runs again" in failed.stdout, failed.stdout)
    return await serves_as_before(machine, release)


async def an_interrupted_upgrade_comes_back(machine: Machine) -> str:
    """Ends it while it waits for a new version that hangs."""
    release = (machine.root / "opt/voiced/current").readlink()
    hangs = "import time\ntime.sleep(3600)\n"
    good = machine.edit("/src/voiced/daemon.py", lambda text: f"{text}\n{hangs}")
    log = machine.root / "srv/upgrade.log"
    try:
        upgrading = "setsid ./install.sh --upgrade >/srv/upgrade.log 2>&1"
        machine.run(f"{upgrading} & echo $! >/srv/upgrade.pid")
        within(300, lambda: "starting the new version" in log.read_text())
        await asyncio.sleep(2)
        machine.run("kill -TERM -$(cat /srv/upgrade.pid)")  # all of it, as Ctrl-C would
        within(60, lambda: "the old version runs again" in log.read_text())
    finally:
        machine.edit("/src/voiced/daemon.py", lambda _: good)
    return await serves_as_before(machine, release)


async def serves_as_before(machine: Machine, release: Path) -> str:
    claim((machine.root / "opt/voiced/current").readlink() == release, "another release is in use")
    claim(len(list((machine.root / "opt/voiced/releases").iterdir())) == 1, "the new one is left")
    async with connect(URL, token=machine.token) as client:
        await say(client, "I am still here.")
    return "the old version serves, nothing left of the new one"


async def a_failing_installation_leaves_nothing(machine: Machine) -> str:
    before = machine.listing()
    good = machine.edit("/src/voiced/daemon.py", lambda text: f"{text}\nraise RuntimeError\n")
    try:
        failed = machine.tried("./install.sh --minimal")
    finally:
        machine.edit("/src/voiced/daemon.py", lambda _: good)
    claim(failed.returncode == 1, "it says that all is well")
    left = machine.listing() ^ before
    claim(not left, f"left: {sorted(left)[:5]}")
    return "status 1, the machine is as it was"


async def survives_a_reboot(machine: Machine) -> str:
    machine.reboot()
    return await back_after(machine, "0", 30)


async def is_removed(machine: Machine) -> str:
    machine.run("./install.sh --uninstall")
    claim((machine.root / CONFIG[1:]).exists(), "the settings are gone")
    token = machine.token
    machine.run("./install.sh --minimal")
    claim(token == machine.token, "the token is another one after it was installed again")
    machine.run("./install.sh --uninstall --purge")
    left = machine.run("find / -xdev -iname '*voiced*' ! -path '/src*' ! -path '/tmp/*'")
    claim(not left, f"left: {left}")
    return "settings and token stay; with --purge no file of its name is left"


async def runs_without_root(machine: Machine) -> str:
    """Does what docs/operations.md says to a user without root."""
    # What every Debian with a desktop, and Raspberry Pi OS, has.
    machine.run("apt-get -qq update; apt-get -qq install -y dbus-user-session libpam-systemd")
    machine.run("useradd --create-home home && loginctl enable-linger home && cp -r /src /home/src")
    machine.run("chown -R home /home/src")
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Without root")
    for command in section.split("```")[1].removeprefix("text").strip().splitlines():
        if not command.startswith("loginctl"):  # which root did, before anybody was logged in
            user = f"cd /home/src && XDG_RUNTIME_DIR=/run/user/$(id -u) {command}"
            machine.run(f"su home --command {shlex.quote(user)}")
    async with connect(URL) as client:
        await say(client, "No root was needed.")
    machine.run("loginctl disable-linger home && loginctl terminate-user home")
    within(20, lambda: machine.tried("pgrep -u home voiced").returncode != 0)
    machine.run("userdel --remove home; rm -rf /home/src")
    return "a user's service speaks"


CHECKS: dict[str, Callable[[Machine], Awaitable[str]]] = {
    "install": installs,
    "install again": a_second_run_changes_nothing,
    "sandbox": is_sandboxed,
    "every engine": every_engine_speaks_in_it,
    "models": a_model_is_pulled,
    "reload": reloads,
    "bad reload": a_bad_reload_is_refused,
    "stop": stops_in_good_order,
    "kill -9": comes_back_after_kill,
    "blocked loop": comes_back_when_blocked,
    "dead worker": comes_back_without_a_worker,
    "bad configuration": a_broken_configuration_is_not_tried_again,
    "upgrade": upgrades,
    "failing upgrade": a_failing_upgrade_comes_back,
    "interrupted": an_interrupted_upgrade_comes_back,
    "reboot": survives_a_reboot,
    "uninstall": is_removed,
    "failing install": a_failing_installation_leaves_nothing,
    "without root": runs_without_root,
}


# ------------------------------------------------------------------------------------- the rig


def bare_debian(release: str) -> Path:
    """Return a Debian with systemd and Python, made once."""
    kept = Path(os.environ.get("VOICED_RIGS", "/var/tmp/voiced-rigs")) / release
    if not kept.exists():
        print(f"making a bare Debian {release} in {kept}", flush=True)
        part = kept.with_suffix(".part")
        packages = "systemd,systemd-sysv,dbus,python3,iproute2,procps"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", release, part],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        part.rename(kept)
    return kept


def furnish(root: Path) -> None:
    """Put the checkout, models and the faulty backends into it."""
    source = root / "src"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).exists():
            shutil.copy2(REPOSITORY / name, source / name)
    for name in ("kokoro", "piper"):
        (root / "srv" / name).mkdir(parents=True)
    write_random_kokoro(root / "srv/kokoro")
    write_tiny_piper(root / "srv/piper", VOICE)
    write_mirror(root / "srv/mirror")
    (root / "srv/faults").mkdir()
    (root / "srv/faults/rig_faults.py").write_text(FAULTS)
    (root / "srv/faults/pyproject.toml").write_text(FAULTS_PROJECT)
    (root / "etc/voiced").mkdir()
    (root / "etc/voiced/packages.txt").write_text("/srv/faults\n")
    if certificates := os.environ.get("PIP_CERT"):
        shutil.copy(certificates, root / CERTIFICATES[1:])


def write_mirror(folder: Path) -> None:
    """Write a catalogue as Piper's project publishes it, with one small voice."""
    code, name, quality = VOICE.split("-")
    place = folder / code[:2] / code / name / quality
    place.mkdir(parents=True)
    write_tiny_piper(place, VOICE)
    files = {
        str(file.relative_to(folder)): {
            "size_bytes": file.stat().st_size,
            "md5_digest": hashlib.md5(file.read_bytes()).hexdigest(),
        }
        for file in place.iterdir()
    }
    language = {"code": code, "family": code[:2], "name_english": "English"}
    entry = {
        "key": VOICE,
        "name": name,
        "language": language | {"country_english": "United States"},
        "quality": quality,
        "num_speakers": 1,
        "speaker_id_map": {},
        "files": files,
        "aliases": [],
    }
    (folder / "voices.json").write_text(json.dumps({VOICE: entry}))


@contextmanager
def faults(machine: Machine) -> Iterator[None]:
    """Have the backends that do harm."""
    sections = "[backends.blocks]\ntype = 'blocks'\n[backends.kills]\ntype = 'kills'\n"
    before = machine.edit(CONFIG, lambda text: text + sections)
    machine.run("systemctl restart voiced")
    try:
        yield
    finally:
        machine.edit(CONFIG, lambda _: before)
        machine.run("systemctl restart voiced")


@dataclass
class Result:
    name: str
    detail: str
    is_good: bool


async def check(machine: Machine, wanted: list[str]) -> list[Result]:
    results = []
    for name, function in CHECKS.items():
        if wanted and name not in wanted:
            continue
        try:
            result = Result(name, await function(machine), is_good=True)
        except (FailedError, VoicedError, TimeoutError, OSError) as error:
            log = machine.run("journalctl --unit voiced --output cat --lines 20", check=False)
            result = Result(name, f"{type(error).__name__}: {error}\n{log}", is_good=False)
        results.append(result)
        print(f"{'ok' if result.is_good else 'FAILED':<7} {name:<18} {result.detail}", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", default="bookworm", choices=("bookworm", "trixie"))
    parser.add_argument("--bind", action="append", default=[], metavar="DIR")
    parser.add_argument("--only", action="append", default=[], choices=[*CHECKS])
    args = parser.parse_args()
    for tool in ("debootstrap", "systemd-nspawn", "nsenter"):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is missing: apt-get install debootstrap systemd-container")
    if os.geteuid() != 0:
        parser.error("this takes root")
    work = Path(mkdtemp(prefix="voiced-rig-", dir="/var/tmp"))
    machine = Machine(work / "root", args.bind)
    try:
        subprocess.run(["cp", "-a", bare_debian(args.release), machine.root], check=True)
        furnish(machine.root)
        machine.boot()
        results = asyncio.run(check(machine, args.only))
    finally:
        machine.off()
        shutil.rmtree(work, ignore_errors=True)
    failed = [result.name for result in results if not result.is_good]
    print(f"{len(results) - len(failed)} of {len(results)} held on {args.release}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
