"""Where model files come from: a server, or a folder.

A source gives a file from an offset on. A `DownloadFailed` of one may pass, and its message is the
beginning of a sentence; all else that a source raises is final.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from voiced import __version__
from voiced.errors import DownloadFailed, FileRejected, StoreError
from voiced.models.published import PublishedFile

CHUNK_BYTES = 1 << 18
_STALL_S = 30  # without a byte, until the connection counts as broken
_CURE = "name another source by --from"
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # RFC 9110, 8470 and 6585
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a file from `offset` on, which is what was asked for, or 0."""

    offset: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Something that has files under their published names."""

    @property
    def label(self) -> str:
        """What messages call it."""

    def open(self, file: PublishedFile, offset: int) -> AbstractContextManager[Body]:
        """Give the file from the offset on; blocks, and so do the chunks.

        Raises:
            DownloadFailed: it may work when it is tried again; also from the chunks.
            FileRejected: it says itself that it has another file.
            StoreError: it will not work.
        """

    def read(self, name: str, most_bytes: int) -> bytes:
        """Give a whole small file of which nobody knows the size; blocks.

        Raises:
            DownloadFailed: it may work when it is tried again.
            StoreError: it will not work, or it is larger.
        """


class FolderSource:
    """A folder, for machines without a network."""

    label = "the folder of --from"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self, file: PublishedFile, offset: int) -> Iterator[Body]:
        """Read the file."""
        path = self._folder / file.name
        if not path.exists():  # else it was copied with the publisher's folders
            path = self._folder / file.folder / file.name
        with self._opened(path) as opened:
            _check_size(os.fstat(opened.fileno()).st_size, file, self.label)
            opened.seek(offset)
            yield Body(offset, self._chunks(opened, file))

    def _chunks(self, opened: IO[bytes], file: PublishedFile) -> Iterator[bytes]:
        try:
            while chunk := opened.read(CHUNK_BYTES):
                yield chunk
        except OSError as error:
            raise self._unreadable(file.name, error) from None

    def read(self, name: str, most_bytes: int) -> bytes:
        """Read it."""
        with self._opened(self._folder / name) as opened:
            try:
                return _limited(opened.read(most_bytes + 1), most_bytes, name, self.label)
            except OSError as error:
                raise self._unreadable(name, error) from None

    def _opened(self, path: Path) -> IO[bytes]:
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise StoreError(f"There is no {path.name} in {self.label}; put it there.") from None
        except OSError as error:
            raise self._unreadable(path.name, error) from None

    def _unreadable(self, name: str, error: OSError) -> StoreError:
        return StoreError(f"Cannot read {name} in {self.label}: {error.strerror}.")


class HttpSource:
    """A server. One that was asked by https is never left for one without."""

    def __init__(self, url: str) -> None:
        self.label = urlsplit(url).hostname or url
        self._url = url.rstrip("/")
        self._opener = build_opener(_Redirects)

    @contextmanager
    def open(self, file: PublishedFile, offset: int) -> Iterator[Body]:
        """Ask for the rest; a server that gives something else is asked for the whole."""
        path = f"{file.folder}{file.name}"
        response = self._get(path, offset)
        if _offset(response) not in (0, offset):
            response.close()
            response = self._get(path, 0)
        with closing(response):
            begins_at = _offset(response)
            if begins_at not in (0, offset):
                raise StoreError(
                    f"{self.label} sends another part of {file.name} than was asked for; {_CURE}."
                )
            _check_size(_announced_bytes(response), file, self.label)
            yield Body(begins_at, self._chunks(response))

    def read(self, name: str, most_bytes: int) -> bytes:
        """Ask for it."""
        with closing(self._get(name, 0)) as response:
            try:
                return _limited(response.read(most_bytes + 1), most_bytes, name, self.label)
            except (OSError, HTTPException) as error:
                raise self._broken(error) from None

    def _get(self, path: str, offset: int) -> HTTPResponse:
        headers = {"User-Agent": f"voiced/{__version__}"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = Request(f"{self._url}/{quote(path)}", headers=headers)  # noqa: S310  # see pick
        try:
            response: HTTPResponse = self._opener.open(request, timeout=_STALL_S)
        except HTTPError as error:
            with error:
                raise self._refused(error.code, path.rpartition("/")[2]) from None
        except (OSError, HTTPException, ValueError) as error:
            raise self._broken(error) from None
        return response

    def _chunks(self, response: HTTPResponse) -> Iterator[bytes]:
        try:
            while chunk := response.read1(CHUNK_BYTES):
                yield chunk
        except (OSError, HTTPException) as error:
            raise self._broken(error) from None

    def _refused(self, status: int, name: str) -> StoreError:
        if status in _PASSING:
            return DownloadFailed(f"{self.label} answers {status}")
        if status == 416:  # what is here already goes beyond the end there
            return FileRejected(f"{self.label} has a shorter {name}; {_CURE}.")
        return StoreError(f"{self.label} does not give {name} (HTTP {status}); {_CURE}.")

    def _broken(self, error: Exception) -> StoreError:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return StoreError(
                f"The certificate of {self.label} is not valid here; check this machine's clock "
                "and its CA certificates."
            )
        if isinstance(reason, OSError):
            why = reason.strerror or str(reason)
            return DownloadFailed(f"The connection to {self.label} failed ({why})")
        return DownloadFailed(f"The answer of {self.label} broke off")


class _Redirects(HTTPRedirectHandler):
    """Follows to other hosts, as GitHub wants it, but not from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        schemes = ("https",) if req.type == "https" else ("https", "http")
        if urlsplit(newurl).scheme not in schemes:
            fp.close()
            raise StoreError(
                f"{urlsplit(req.full_url).hostname} sends us on to an unprotected address; {_CURE}."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def pick(given: str | None, url: str) -> Source:
    """Return the source that `--from` names: a URL or a folder; without it the publisher's `url`.

    Raises:
        StoreError: it is neither.
    """
    if given is None:
        return HttpSource(url)
    if "://" in given:
        if not _is_plain(given):
            raise StoreError(
                "--from takes http://HOST/FOLDER or https://HOST/FOLDER, without a password and "
                "without a query."
            )
        return HttpSource(given)
    if not Path(given).is_dir():
        raise StoreError("--from names no folder of this machine; a URL begins with https://.")
    return FolderSource(Path(given))


def _is_plain(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_clean = url.isascii() and url.isprintable() and not {" ", "@", "?", "#"} & set(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and has_port and is_clean


def _offset(response: HTTPResponse) -> int | None:
    """Return where the body begins in the file; None where that cannot be told."""
    if response.status != 206:
        return 0
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _announced_bytes(response: HTTPResponse) -> int | None:
    """Return the size of the whole file as the server has it, if it says so."""
    if response.status != 206:
        return response.length
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[2]) if found and found[2] != "*" else None


def _check_size(size_bytes: int | None, file: PublishedFile, label: str) -> None:
    if size_bytes is not None and size_bytes != file.size_bytes:
        raise FileRejected(
            f"{label} has another {file.name} of {size_bytes:,} bytes; the published one has "
            f"{file.size_bytes:,}. Name another source by --from."
        )


def _limited(content: bytes, most_bytes: int, name: str, label: str) -> bytes:
    if len(content) > most_bytes:
        raise StoreError(f"{label} has a {name} of more than {most_bytes:,} bytes; {_CURE}.")
    return content
