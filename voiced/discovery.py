"""Being found: the advertisement over zeroconf, and the search for others."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from zeroconf import (  # type: ignore[attr-defined]
    DNSService,  # not in `__all__`
    InterfaceChoice,
    IPVersion,
    NonUniqueNameException,
    RecordUpdate,
    RecordUpdateListener,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf import Error as ZeroconfError
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from voiced.config import is_loopback

log = logging.getLogger(__name__)

SERVICE = "_voiced._tcp.local."
_ANSWER_MS = 2000  # for a service that was seen to tell its address
_PUBLISH_S = 10
_WITHDRAW_S = 1
_ADDRESSES_EVERY_S = 15  # interfaces come and go; zeroconf itself would keep the old addresses
_LONGEST_LABEL = 63  # bytes, by DNS


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What `_voiced._tcp` tells about a daemon."""

    server_id: str
    name: str
    version: str
    needs_token: bool
    websocket_host: str
    websocket_port: int
    http_port: int

    def txt(self) -> dict[str, str]:
        """Return the TXT record."""
        return {
            "txtvers": "1",
            "proto": "1",
            "id": self.server_id,
            "path": "/v1/ws",
            "ver": self.version,
            "auth": "token" if self.needs_token else "none",
            "http": str(self.http_port),
            "oai": "/v1",
        }


class Advertiser:
    """Keeps the advertisement true while the daemon runs. It never makes the daemon fail."""

    def __init__(
        self,
        advertisement: Advertisement,
        *,
        find_addresses: Callable[[str], list[str]] | None = None,
    ) -> None:
        """Advertise on the addresses that `find_addresses` tells for the bound host."""
        self._advertisement = advertisement
        self._find_addresses = find_addresses or real_addresses
        self._zeroconf: AsyncZeroconf | None = None
        self._published: AsyncServiceInfo | None = None
        self._has_rival = asyncio.Event()
        self._number = 1
        self._complaint = ""

    async def run(self) -> None:
        """Publish until cancelled, then withdraw; again when the addresses or the name change."""
        host = self._advertisement.websocket_host
        if is_loopback(host):
            return
        known: list[str] | None = None
        try:
            while True:
                addresses = await self._addresses(host)
                if addresses != known and await self._publish(addresses):
                    known = addresses
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ADDRESSES_EVERY_S):
                        await self._has_rival.wait()
                    self._number += 1
                    known = None
        finally:
            await self._withdraw()

    async def _addresses(self, host: str) -> list[str]:
        try:
            return await asyncio.to_thread(self._find_addresses, host)
        except OSError:
            return []

    def _complain(self, reason: str) -> None:
        """Say once what keeps us from being found, however often it is tried again."""
        if reason != self._complaint:
            log.warning("not advertised (%s); the daemon serves on", reason)
        self._complaint = reason

    async def _publish(self, addresses: list[str]) -> bool:
        await self._withdraw()
        self._has_rival.clear()
        if not addresses:
            self._complain("no network interface has an address")
            return False
        try:
            async with asyncio.timeout(_PUBLISH_S):
                self._zeroconf = AsyncZeroconf(interfaces=addresses)
                info = self._info(addresses)
                rivals = _Rivals(info, self._has_rival)
                self._zeroconf.zeroconf.async_add_listener(rivals, None)
                await (await self._zeroconf.async_register_service(info, allow_name_change=True))
                self._published = info
        except (OSError, ZeroconfError, TimeoutError, NonUniqueNameException) as error:
            self._complain(type(error).__name__)
            await self._withdraw()
            return False
        self._complaint = ""
        log.info("advertised as %r on %s", info.get_name(), ", ".join(addresses))
        return True

    async def _withdraw(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        published, self._published = self._published, None
        if zeroconf is None:
            return
        if published is not None and self._has_rival.is_set():
            # Without a goodbye, which would be for the name, and so for the rival, too.
            zeroconf.zeroconf.registry.async_remove(published)
            published = None
        try:
            async with asyncio.timeout(_WITHDRAW_S):
                if published is not None:
                    await (await zeroconf.async_unregister_service(published))
        except (OSError, ZeroconfError, TimeoutError) as error:
            log.warning("not withdrawn (%s)", type(error).__name__)
        await zeroconf.async_close()

    def _info(self, addresses: list[str]) -> AsyncServiceInfo:
        advertisement = self._advertisement
        number = f"-{self._number}" if self._number > 1 else ""
        name = advertisement.name.replace(".", " ").encode()[: _LONGEST_LABEL - len(number)]
        return AsyncServiceInfo(
            SERVICE,
            f"{name.decode(errors='ignore')}{number}.{SERVICE}",
            port=advertisement.websocket_port,
            properties=advertisement.txt(),
            server=f"voiced-{advertisement.server_id[:8]}.local.",
            parsed_addresses=addresses,
        )


class _Rivals(RecordUpdateListener):
    """Hears another daemon of the same name that keeps it, having the lower id.

    Whoever comes second takes another name, by probing; but two that probe at the same moment, as
    when the power comes back, do not hear each other.
    """

    def __init__(self, info: AsyncServiceInfo, heard: asyncio.Event) -> None:
        self._info = info
        self._heard = heard

    def async_update_records(
        self,
        zc: Zeroconf,  # noqa: ARG002  # zeroconf's signature
        now: float,  # noqa: ARG002
        records: list[RecordUpdate],
    ) -> None:
        assert self._info.server is not None
        for record in (update.new for update in records):
            if (
                isinstance(record, DNSService)
                and record.key == self._info.key
                and record.server < self._info.server
            ):
                self._heard.set()


def real_addresses(host: str) -> list[str]:
    """Return the addresses by which others reach a socket bound to `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return sorted({str(entry[4][0]) for entry in found})
    if not address.is_unspecified:
        return [host]
    import ifaddr  # noqa: PLC0415  # zeroconf's own dependency; only for a wildcard bind

    found_addresses = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            candidate = ipaddress.ip_address(text)
            if candidate.is_loopback or candidate.is_link_local:
                continue
            if candidate.version == 4 or address.version == 6:
                found_addresses.append(text)
    return sorted(found_addresses)


@dataclass(frozen=True, slots=True)
class Found:
    """A daemon that answered."""

    name: str
    server_id: str
    url: str
    http_url: str
    needs_token: bool
    version: str
    txt: Mapping[str, str] = field(default_factory=dict)


async def discover(
    seconds: float, *, interfaces: Sequence[str] | None = None
) -> AsyncGenerator[Found, None]:
    """Yield each daemon on the network once, as it is found, for so long.

    `interfaces` are addresses of this machine to ask from; all of them by default.
    """
    seen: asyncio.Queue[str] = asyncio.Queue(maxsize=1000)

    def on_change(
        zeroconf: Zeroconf,  # noqa: ARG001  # zeroconf passes by name
        service_type: str,  # noqa: ARG001
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        if state_change is ServiceStateChange.Added and not seen.full():
            seen.put_nowait(name)

    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    asked = InterfaceChoice.All if interfaces is None else list(interfaces)
    async with AsyncZeroconf(interfaces=asked) as zeroconf:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[on_change])
        try:
            while (left := deadline - loop.time()) > 0:
                try:
                    async with asyncio.timeout(left):
                        name = await seen.get()
                except TimeoutError:
                    return
                info = AsyncServiceInfo(SERVICE, name)
                if await info.async_request(zeroconf.zeroconf, _ANSWER_MS):
                    yield _found(info)
                elif not seen.full():  # a packet got lost: asked again after the others
                    seen.put_nowait(name)
        finally:
            await browser.async_cancel()


def _found(info: AsyncServiceInfo) -> Found:
    txt = {
        key.decode(errors="replace"): (value or b"").decode(errors="replace")
        for key, value in info.properties.items()
    }
    addresses = info.parsed_addresses(IPVersion.V4Only) or info.parsed_addresses()
    host = addresses[0] if addresses else (info.server or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    return Found(
        name=info.name.removesuffix(f".{SERVICE}"),
        server_id=txt.get("id", ""),
        url=f"ws://{host}:{info.port}{txt.get('path', '/v1/ws')}",
        http_url=f"http://{host}:{txt.get('http', '')}{txt.get('oai', '/v1')}",
        needs_token=txt.get("auth") == "token",
        version=txt.get("ver", ""),
        txt=txt,
    )
