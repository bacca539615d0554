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
    DNSAddress,
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
# It writes a traceback for each packet that an interface does not take which has just gone.
logging.getLogger("zeroconf").setLevel(logging.CRITICAL)

SERVICE = "_voiced._tcp.local."
_WYOMING = "_wyoming._tcp.local."
_ANSWER_MS = 2000  # for a service that was seen to tell its address
_PUBLISH_S = 10
_WITHDRAW_S = 1
_ADDRESSES_EVERY_S = 15  # interfaces come and go; zeroconf itself would keep the old addresses
_LONGEST_LABEL = 63  # bytes, by DNS


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What is told about a daemon, by `_voiced._tcp` and, for Home Assistant, `_wyoming._tcp`."""

    server_id: str
    name: str
    version: str
    needs_token: bool
    websocket: tuple[str, int]  # where it is bound: host and port
    http_port: int
    wyoming: tuple[str, int] | None = None

    def txt(self) -> dict[str, str]:
        """Return the TXT record of `_voiced._tcp`."""
        wyoming = {"wy": str(self.wyoming[1])} if self.wyoming else {}
        return {
            "txtvers": "1",
            "proto": "1",
            "id": self.server_id,
            "path": "/v1/ws",
            "ver": self.version,
            "auth": "token" if self.needs_token else "none",
            "http": str(self.http_port),
            "oai": "/v1",
        } | wyoming

    def services(self, number: int) -> list[_Service]:
        """Return what others can reach; the friendly name has a number after it, from 2 on."""
        services = [
            _Service(SERVICE, _label(self.name, number), *self.websocket, self.txt(), True),
        ]
        if self.wyoming:
            # To Home Assistant its name is part of what it is: it never changes.
            name = f"voiced-{self.server_id[:8]}"
            services.append(_Service(_WYOMING, name, *self.wyoming, {}, False))
        return [service for service in services if not is_loopback(service.host)]


@dataclass(frozen=True, slots=True)
class _Service:
    """A service that can be found."""

    type: str
    name: str
    host: str
    port: int
    txt: Mapping[str, str]
    may_be_renamed: bool


def _label(name: str, number: int) -> str:
    suffix = f"-{number}" if number > 1 else ""
    fitting = name.replace(".", " ").encode()[: _LONGEST_LABEL - len(suffix)]
    return f"{fitting.decode(errors='ignore')}{suffix}"


class Advertiser:
    """Keeps the advertisement true while the daemon runs. It never makes the daemon fail."""

    def __init__(
        self,
        advertisement: Advertisement,
        *,
        find_addresses: Callable[[str], list[str]] | None = None,
    ) -> None:
        """Advertise on the addresses that `find_addresses` tells for a bound host."""
        self._advertisement = advertisement
        self._find_addresses = find_addresses or real_addresses
        self._zeroconf: AsyncZeroconf | None = None
        self._published: list[AsyncServiceInfo] = []
        self._has_rival = asyncio.Event()
        self._has_twin = False
        self._number = 1
        self._complaint = ""

    async def run(self) -> None:
        """Publish until cancelled, then withdraw; again when the addresses or the name change."""
        known: list[list[str]] | None = None
        try:
            while services := self._advertisement.services(self._number):
                addresses = [await self._addresses(service.host) for service in services]
                if addresses != known:
                    known = addresses if await self._publish(services, addresses) else None
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

    def _tell_twin(self) -> None:
        """Say once that the id was copied, as with the card of a Raspberry Pi."""
        if not self._has_twin:
            self._has_twin = True
            log.warning("another daemon has the same id: stop this one and delete its file `id`")

    async def _publish(self, services: list[_Service], addresses: list[list[str]]) -> bool:
        await self._withdraw()
        self._has_rival.clear()
        interfaces = sorted({address for found in addresses for address in found})
        if not interfaces:
            self._complain("no network interface has an address")
            return False
        try:
            async with asyncio.timeout(_PUBLISH_S):
                self._zeroconf = AsyncZeroconf(interfaces=interfaces)
                for service, found in zip(services, addresses, strict=True):
                    await self._register(self._zeroconf, service, found, set(interfaces))
        except NonUniqueNameException:
            self._tell_twin()
        except (OSError, ZeroconfError, TimeoutError) as error:
            self._complain(type(error).__name__)
        else:
            self._complaint = ""
            names = ", ".join(repr(info.get_name()) for info in self._published)
            log.info("advertised as %s on %s", names, ", ".join(interfaces))
            return True
        await self._withdraw()
        return False

    async def _register(
        self, zeroconf: AsyncZeroconf, service: _Service, addresses: list[str], ours: set[str]
    ) -> None:
        info = AsyncServiceInfo(
            service.type,
            f"{service.name}.{service.type}",
            port=service.port,
            properties=dict(service.txt),
            server=f"voiced-{self._advertisement.server_id[:8]}.local.",
            parsed_addresses=addresses,
        )
        on_rival = self._has_rival.set if service.may_be_renamed else self._tell_twin
        listener = _Listener(info, ours, on_rival=on_rival, on_twin=self._tell_twin)
        zeroconf.zeroconf.async_add_listener(listener, None)
        announcing = await zeroconf.async_register_service(
            info, allow_name_change=service.may_be_renamed
        )
        self._published.append(info)
        await announcing

    async def _withdraw(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        published, self._published = self._published, []
        if zeroconf is None:
            return
        try:
            async with asyncio.timeout(_WITHDRAW_S):
                for info in published:
                    if info.type == SERVICE and self._has_rival.is_set():
                        # Without a goodbye, which would be for the name, and so for the rival, too.
                        zeroconf.zeroconf.registry.async_remove(info)
                    else:
                        await (await zeroconf.async_unregister_service(info))
        except (OSError, ZeroconfError, TimeoutError) as error:
            log.warning("not withdrawn (%s)", type(error).__name__)
        await zeroconf.async_close()


class _Listener(RecordUpdateListener):
    """Hears other daemons that have the name or the id of this one.

    Whoever comes second should take another name, by probing; but zeroconf's probes do not find
    everyone, and two that probe at the same moment, when the power is back, do not hear each other.
    """

    def __init__(
        self,
        info: AsyncServiceInfo,
        addresses: set[str],
        *,
        on_rival: Callable[[], None],
        on_twin: Callable[[], None],
    ) -> None:
        """Call `on_rival` for one that keeps the name, `on_twin` for one with the same id.

        `addresses` are all of this machine that are told.
        """
        self._info = info
        self._on_rival = on_rival
        self._on_twin = on_twin
        self._addresses = {ipaddress.ip_address(address).packed for address in addresses}

    def async_update_records(
        self,
        zc: Zeroconf,  # noqa: ARG002  # zeroconf's signature
        now: float,  # noqa: ARG002
        records: list[RecordUpdate],
    ) -> None:
        """Look at what came in a packet; our own are among it."""
        ours = self._info
        assert ours.server is not None
        for record in (update.new for update in records):
            if isinstance(record, DNSService) and record.key == ours.key:
                if record.server < ours.server:
                    self._on_rival()
                elif record.server == ours.server and record.port != ours.port:
                    self._on_twin()
            elif isinstance(record, DNSAddress) and self._is_foreign(record):
                self._on_twin()

    def _is_foreign(self, record: DNSAddress) -> bool:
        return record.key == self._info.server_key and record.address not in self._addresses


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
