"""`voiced say`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from voiced.cli.session import add_server_arguments, connect_by
from voiced.cli.settings import add_config_argument
from voiced.cli.typed import say_typed
from voiced.errors import VoicedError

if TYPE_CHECKING:
    from rich.progress import Progress

    from voiced.client import Client, Speech

HELP = "speak a text: play it as it arrives, or write it to a file"
EXAMPLE = "voiced say 'Good morning' -o morning.mp3; llm 'Tell me a story' | voiced say -"

_FORMATS = {
    ".wav": "wav",
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".flac": "flac",
    ".pcm": "pcm",
    ".raw": "pcm",
}
_FIELDS = ("model", "voice", "language", "speed", "priority")
_RATE = 24000  # Hz of what is played and written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "text", nargs="+", help="the text; - says standard input as it comes, word by word"
    )
    parser.add_argument("-o", "--output", type=Path, help=f"write {', '.join(_FORMATS)}")
    parser.add_argument("--model", help="the model (default: the daemon's)")
    parser.add_argument("--voice", help="the voice (default: the model's)")
    parser.add_argument("--language", help="the language, as de or pt-br")
    parser.add_argument("--speed", type=float, help="0.25 to 4")
    parser.add_argument("--priority", choices=("normal", "high"))
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be said; needs no daemon"
    )
    parser.add_argument("--phonemes", action="store_true", help="with --dry-run, the phonemes too")
    add_config_argument(parser)
    add_server_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Speak."""
    if args.dry_run:
        from voiced.cli.dry import show_reading

        show_reading(args, " ".join(args.text))
        return 0
    output: Path | None = args.output
    if output is not None and output.suffix.lower() not in _FORMATS:
        raise VoicedError(f"Cannot tell the format of {output.name}; end it in .wav or .mp3, say.")
    asyncio.run(_say(args, " ".join(args.text), output))
    return 0


async def _say(args: argparse.Namespace, text: str, output: Path | None) -> None:
    wanted = {key: getattr(args, key) for key in _FIELDS}
    fields: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    fields["response_format"] = _FORMATS[output.suffix.lower()] if output else "pcm"
    async with connect_by(args) as client:
        if text == "-":
            notices = await _say_standard_input(client, output, fields)
        else:
            async with client.speak(text, **fields) as speech:
                with _progress(len(text), is_shown=output is not None) as progress:
                    await _hear(_watched(speech, len(text), progress), output)
            notices = speech.notices
    for notice in notices:
        print(f"voiced: {notice['message']}", file=sys.stderr)


async def _say_standard_input(
    client: Client, output: Path | None, fields: dict[str, Any]
) -> list[dict[str, Any]]:
    if sys.stdin is None:
        raise VoicedError("Standard input is closed; give the text as an argument.")
    idle_s = client.greeting["limits"]["idle_text_ms"] / 2000
    async with client.open_speech(**fields) as speech:
        saying = asyncio.create_task(say_typed(speech, sys.stdin.fileno(), idle_s=idle_s))
        try:
            await _hear(speech, output)
        finally:
            saying.cancel()
            (outcome,) = await asyncio.gather(saying, return_exceptions=True)
        if isinstance(outcome, VoicedError):
            raise outcome
    return speech.notices


async def _hear(audio: AsyncIterable[bytes], output: Path | None) -> None:
    from voiced.cli.player import play

    if output is None:
        await play(audio, rate=_RATE)
    else:
        await _write(audio, output)


async def _write(audio: AsyncIterable[bytes], output: Path) -> None:
    try:
        with output.open("wb") as file:
            try:
                async for part in audio:
                    file.write(part)
            finally:  # also what was interrupted is a file
                if output.suffix.lower() == ".wav":
                    _correct_sizes(file)
    except OSError as error:
        raise VoicedError(f"Cannot write {output.name}: {error.strerror}.") from None


def _correct_sizes(file: BinaryIO) -> None:
    """Put the sizes into the header, which the stream could not know."""
    from voiced.audio.writer import WAV_HEADER_BYTES, wav_header

    data_bytes = max(0, file.tell() - WAV_HEADER_BYTES)
    file.seek(0)
    file.write(wav_header(_RATE, data_bytes))


def _progress(total: int, *, is_shown: bool) -> AbstractContextManager[Progress | None]:
    """Show how far a long text is, on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not (is_shown and console.is_terminal):
        return nullcontext()
    progress = Progress(console=console, transient=True)
    progress.add_task("speaking", total=total)
    return progress


async def _watched(speech: Speech, total: int, progress: Progress | None) -> AsyncIterator[bytes]:
    async for part in speech:
        if progress is not None and speech.segments:
            done = speech.segments[-1]["text_start"]
            progress.update(progress.task_ids[0], completed=min(done, total))
        yield part
