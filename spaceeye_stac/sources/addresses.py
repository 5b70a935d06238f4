"""Where the host of an address is: on this machine, in a private network, or public; names are looked up.

A look-up is the resolver's own, as of whatever reads the address afterwards. It is bounded in time, alone and all
together, and done once a host. A name that has no address says nothing here: who reads it will say so.
"""

import re
import socket
from collections.abc import Iterable
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from time import monotonic
from urllib.parse import urlsplit

from spaceeye_stac.sources.deadline import within

LOOKUP_SECONDS = 5.0
ALL_LOOKUPS_SECONDS = 20.0
METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
METADATA_ADDRESSES = frozenset({ip_address("100.100.100.200"), ip_address("fd00:ec2::254")})
NAMES_OF_THIS_MACHINE = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
NAT64 = IPv6Network("64:ff9b::/96")
THIS_HOST = IPv4Network("0.0.0.0/8")
# user and password, a name or an address in numbers, a port: what every reader takes apart alike
NETLOC = re.compile(r"(?:[^@\[\]]*@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{0,5})?")

Address = IPv4Address | IPv6Address


def host_of(href: str) -> str | None:
    """The host of an address in small letters; None where readers could disagree which it is."""
    try:
        parts = urlsplit(href)
    except ValueError:
        return None
    if NETLOC.fullmatch(parts.netloc) is None:
        return None
    return (parts.hostname or "").removesuffix(".") or None


def address_in_numbers(host: str) -> Address | None:
    """The address that a host is in numbers, in whatever spelling (0x7f.1, 2130706433); None for a name."""
    try:
        return _inner(ip_address(host))
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None


class Hosts:
    """Which kind of place hosts are, each looked up once; look-ups are bounded in time, each and all together."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        self._spent = 0.0

    def kind(self, host: str) -> str | None:
        """Return "loopback", "link-local", "private" or "unknown" (no time is left to look up); None where public.

        A name is of the worst kind of its addresses. One that has no address is None.
        """
        if host not in self._known:
            self._known[host] = self._found(host)
        return self._known[host]

    def _found(self, host: str) -> str | None:
        literal = address_in_numbers(host)
        if literal is not None:
            return self._worst([literal])
        if host in NAMES_OF_THIS_MACHINE or host.endswith(".localhost"):
            return "loopback"
        if host in METADATA_NAMES:
            return "link-local"
        if self._spent >= ALL_LOOKUPS_SECONDS:
            return "unknown"
        start = monotonic()
        addresses = _looked_up(host)
        self._spent += monotonic() - start
        return self._worst(addresses)

    @cached_property
    def _own(self) -> frozenset[Address]:
        """The addresses that this machine's own name stands for, which may be public ones."""
        return frozenset(_looked_up(socket.gethostname()))

    def _worst(self, addresses: Iterable[Address]) -> str | None:
        kinds = {"loopback" if address in self._own else _kind(address) for address in addresses}
        return next((kind for kind in ("link-local", "loopback", "private") if kind in kinds), None)


def _kind(address: Address) -> str | None:
    if address.is_link_local or address in METADATA_ADDRESSES:
        return "link-local"
    if address.is_loopback or address.is_unspecified or address in THIS_HOST:
        return "loopback"
    local = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return "private" if local or not address.is_global else None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only carries, else the address."""
    if not isinstance(address, IPv6Address):
        return address
    carried = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    return carried or (IPv4Address(address.packed[12:]) if address in NAT64 else address)


def _looked_up(name: str) -> tuple[Address, ...]:
    """Ask the resolver, which has no time limit of its own."""
    try:
        return within(LOOKUP_SECONDS, lambda: _asked(name))
    except TimeoutError:
        return ()


def _asked(name: str) -> tuple[Address, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return tuple({_inner(ip_address(str(answer[4][0]).partition("%")[0])) for answer in found})
    except (OSError, ValueError):  # no such name; a label that is too long
        return ()
