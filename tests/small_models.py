"""A model store in small: files of some kilobytes, and a server of them that misbehaves on demand.

As a program it is `voiced models` with these files published instead of the true ones.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from voiced.cli.models import add_arguments, run
from voiced.errors import VoicedError
from voiced.models.published import PublishedFile, PublishedModel

FP32, INT8, VOICES = "fp32.onnx", "int8.onnx", "voices.bin"
CONTENTS = {
    name: random.Random(name).randbytes(size_bytes)
    for name, size_bytes in ((FP32, 200_000), (INT8, 70_000), (VOICES, 30_000))
}


def _published(name: str) -> PublishedFile:
    content = CONTENTS[name]
    return PublishedFile(name, len(content), hashlib.sha256(content).hexdigest())


SMALL = PublishedModel(
    name="kokoro",
    url="https://127.0.0.1:9",  # nobody's
    variants={"fp32": (_published(FP32),), "int8": (_published(INT8),)},
    shared=(_published(VOICES),),
)


@dataclass(frozen=True)
class Answer:
    """How the server answers one request for a file; as it should, but for what is set."""

    status: int = 0
    body: bytes | None = None
    cut_at: int | None = None  # bytes of the body, then the connection is reset
    stalls_at: int | None = None  # bytes of the body, then nothing until the server ends
    length: int | None = None
    is_length_told: bool = True
    content_range: str = ""
    has_ranges: bool = True
    location: str = ""


@dataclass
class Mirror:
    """A running server: what it was asked, and how it answers."""

    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of each request."""

    script: list[Answer] = field(default_factory=list)
    """For the next requests; then `always`."""

    always: Answer = Answer()
    has_ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ranges(self, name: str) -> list[str]:
        """What was asked of a file, in order; an empty string is the whole."""
        return [wanted for path, wanted in self.asked if path == f"/{name}"]


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        mirror, wanted = self.mirror, self.headers.get("Range", "")
        mirror.asked.append((self.path, wanted))
        answer = mirror.script.pop(0) if mirror.script else mirror.always
        body = CONTENTS.get(unquote(self.path[1:])) if answer.body is None else answer.body
        status = answer.status or (200 if body is not None else 404)
        body, total = body or b"", len(body or b"")
        start = 0
        if wanted and answer.has_ranges and status == 200:
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            body = body[start:]
        self.send_response(status)
        if status == 206:
            said = answer.content_range or f"bytes {start}-{total - 1}/{total}"
            self.send_header("Content-Range", said)
        if answer.location:
            self.send_header("Location", answer.location + self.path)
        if answer.is_length_told:
            length = len(body) if answer.length is None else answer.length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body[: answer.cut_at if answer.stalls_at is None else answer.stalls_at])
        if answer.stalls_at is not None:
            self.wfile.flush()
            mirror.has_ended.wait(20)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no trouble."""


@contextmanager
def running_mirror() -> Iterator[Mirror]:
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        handler.mirror = mirror = Mirror(server.server_port)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield mirror
        finally:
            mirror.has_ended.set()
            server.shutdown()
            thread.join()


def main() -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    try:
        return run(args, SMALL)
    except VoicedError as error:
        sys.stderr.write(f"voiced: {error.message}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def folder_of_files(folder: Path) -> Path:
    """Write the files as somebody would carry them over; return the folder."""
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


if __name__ == "__main__":
    sys.exit(main())
