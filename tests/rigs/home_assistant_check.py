"""The part of home_assistant.sh that runs in Home Assistant's Python.

usage: home_assistant_check.py needs          what pip is to install besides homeassistant
       home_assistant_check.py check FOLDER   start Home Assistant with this folder, and check
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, NoReturn

ROOTS = ("frontend", "media_source", "tts", "wyoming", "zeroconf")
CONFIGURATION = """\
media_source:
tts:
zeroconf:
ffmpeg:
  ffmpeg_bin: {ffmpeg}
"""
TEXT = "The kettle is on, and supper will be ready at 7:30."
STORY = "The kettle is on. Supper is ready. Please come to the table now, before it is cold."
WORD_S = 0.2
WAIT_S = 30


def say(text: str) -> None:
    print(f"home_assistant: {text}", flush=True)


def expect(fact: object, text: str) -> None:
    """Say that something holds, or end."""
    if not fact:
        fail(f"not so: {text}")
    say(text)


def fail(text: str) -> NoReturn:
    say(text)
    sys.exit(1)


def print_needs() -> None:
    """Print what the manifests of integrations ask for that are loaded here."""
    spec = importlib.util.find_spec("homeassistant")
    assert spec is not None
    assert spec.origin is not None
    domains = list(ROOTS)
    needs: set[str] = set()
    for domain in domains:
        path = Path(spec.origin).parent / "components" / domain / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        needs.update(manifest.get("requirements", ()))
        domains += [name for name in manifest.get("dependencies", ()) if name not in domains]
    print("\n".join(sorted(needs)))


async def until(find: Callable[[], Any], what: str) -> Any:
    """Return what is found as soon as it is."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := find():
            return found
        await asyncio.sleep(0.2)
    fail(f"not so within {WAIT_S} s: {what}")


async def fetch(hass: Any, url: str) -> tuple[bytes, float]:
    """Fetch audio as a loudspeaker does; return it and when its first sound came."""
    from homeassistant.helpers.aiohttp_client import async_get_clientsession  # noqa: PLC0415

    first, audio = math.inf, b""
    address = f"http://127.0.0.1:{hass.http.server_port}{url}"
    async with async_get_clientsession(hass).get(address) as response:
        assert response.status == 200, response.status
        async for part in response.content.iter_any():
            audio += part
            if len(audio) > 1000:  # more than a header
                first = min(first, time.monotonic())
    return audio, first


async def heard(hass: Any, audio: bytes) -> float:
    """Return how many seconds of speech there are; end where it is silence."""
    binary = hass.data["ffmpeg"].binary
    arguments = "-v error -i pipe:0 -f s16le -ac 1 -ar 16000 pipe:1".split()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(binary, *arguments, stdin=pipe, stdout=pipe)
    samples = array("h", (await process.communicate(audio))[0])
    windows = [samples[start : start + 1600] for start in range(0, len(samples), 1600)]
    loud = [window for window in windows if sum(abs(value) for value in window) > 200 * len(window)]
    if len(loud) < len(windows) * 0.6:
        fail(f"{len(loud)} of {len(windows)} tenths of a second are speech")
    return len(samples) / 16000


async def check_discovery(hass: Any) -> Any:
    """Add what was discovered; return the entry."""
    flows = hass.config_entries.flow

    def found() -> Any:
        return flows.async_progress_by_handler("wyoming")

    (flow,) = await until(found, "something with Wyoming is discovered")
    context = flow["context"]
    name = context["title_placeholders"]["name"]
    expect(
        context["source"] == "zeroconf" and name == "voiced",
        f"discovered by {context['source']}: {name!r}, {context['unique_id']}",
    )
    result = await flows.async_configure(flow["flow_id"], {})
    entry = result["result"]
    expect(entry.state.value == "loaded", f"added: {entry.title!r} at {dict(entry.data)}")
    return entry


def check_entity(hass: Any, entry: Any) -> str:
    """Look at the languages and the voices of the entity; return its name."""
    from homeassistant.components.tts.helper import get_engine_instance  # noqa: PLC0415
    from homeassistant.helpers import entity_registry  # noqa: PLC0415

    registry = entity_registry.async_get(hass)
    entities = entity_registry.async_entries_for_config_entry(registry, entry.entry_id)
    names: list[str] = [entity.entity_id for entity in entities]
    expect(len(names) == 1 and names[0].startswith("tts."), f"entities: {', '.join(names)}")
    engine = get_engine_instance(hass, names[0])
    languages = sorted(engine.supported_languages)
    voices = {
        language: [voice.voice_id for voice in engine.async_get_supported_voices(language)]
        for language in languages
    }
    expect({"en-GB", "de"} <= set(languages), f"languages: {', '.join(languages)}")
    expect(all(voices.values()), f"voices: {voices}")
    return names[0]


async def check_speech(hass: Any, engine: str, **options: Any) -> None:
    """Have `tts.speak` give a loudspeaker something to play, and hear it."""
    from homeassistant.components.media_source import async_resolve_media  # noqa: PLC0415

    played: asyncio.Queue[str] = asyncio.Queue()

    async def play(call: Any) -> None:
        played.put_nowait(call.data["media_content_id"])

    hass.services.async_register("media_player", "play_media", play)
    target = {"entity_id": engine, "media_player_entity_id": "media_player.none", "cache": False}
    await hass.services.async_call(
        "tts", "speak", {"message": TEXT, **target, **options}, blocking=True
    )
    media = await async_resolve_media(hass, await played.get(), None)
    seconds = await heard(hass, (await fetch(hass, media.url))[0])
    expect(2 < seconds < 8, f"tts.speak{options or ''}: {seconds:.1f} s of {media.mime_type}")


async def check_stream(hass: Any, engine: str) -> None:
    """Write a text word by word, and hear its beginning before its end is written."""
    from homeassistant.components import tts  # noqa: PLC0415

    stream = tts.async_create_stream(hass, engine, options={"preferred_format": "wav"})
    if not getattr(stream, "supports_streaming_input", False):
        say("this release speaks no text that is still written: not checked")
        return
    started = time.monotonic()
    ended = math.inf

    async def words() -> AsyncGenerator[str, None]:
        nonlocal ended
        for word in STORY.split():
            yield f"{word} "
            await asyncio.sleep(WORD_S)
        ended = time.monotonic()

    stream.async_set_message_stream(words())
    audio, first = await fetch(hass, stream.url)
    seconds = await heard(hass, audio)
    expect(
        first < ended and 3 < seconds < 12,
        f"streamed: {seconds:.1f} s, the first after {first - started:.1f} s, "
        f"of a text that took {ended - started:.1f} s to write",
    )


async def check(folder: Path) -> None:
    from homeassistant import bootstrap, const, runner  # noqa: PLC0415
    from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415

    configuration = CONFIGURATION.format(ffmpeg=get_ffmpeg_exe())
    (folder / "configuration.yaml").write_text(configuration)
    log = str(folder / "log")
    config = runner.RuntimeConfig(config_dir=str(folder), skip_pip=True, log_file=log)
    hass = await bootstrap.async_setup_hass(config)
    assert hass is not None
    await hass.async_start()
    running = not hass.config.recovery_mode
    expect(running, f"Home Assistant {const.__version__} runs, Python {sys.version.split()[0]}")
    engine = check_entity(hass, await check_discovery(hass))
    await check_speech(hass, engine)
    await check_speech(hass, engine, language="de", options={"voice": "de"})
    await check_stream(hass, engine)
    await hass.async_stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["needs"]:
        print_needs()
    else:
        asyncio.run(check(Path(sys.argv[2])))
