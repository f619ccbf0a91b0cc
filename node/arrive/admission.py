"""Who may associate with the node, by AE title and address."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Self

from node.dicom.net.association import Rejection
from node.errors import BadConfiguration
from node.settings import Caller

UNKNOWN_CALLER = Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED
UNKNOWN_CALLED = Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED
STORE = frozenset({"store"})
LOCAL_LIMIT = Rejection.LOCAL_LIMIT_EXCEEDED


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may associate with us, and under which AE title.

    Attributes
    ----------
    callers
        AE title, network and rights of each known caller; None is any address. Empty admits this
        machine alone, to store.
    """

    ae_title: str
    callers: tuple[tuple[str, IPv4Network | IPv6Network | None, frozenset[str]], ...]

    @classmethod
    def of(cls, ae_title: str, allowed: Iterable[str], callers: Iterable[Caller] = ()) -> Self:
        """Read `receive.allowed_callers` and `receive.callers`.

        Parameters
        ----------
        allowed
            "AE_TITLE" or "AE_TITLE@ADDRESS" (or a network) of each caller that may store.

        Raises
        ------
        BadConfiguration
            If the text after "@", or an address, is not an address or network.
        """
        known = []
        for text in allowed:
            title, at, address = text.partition("@")
            network = _network(address, f"allowed_callers: {text!r}") if at else None
            known.append((title.strip(), network, STORE))
        for caller in callers:
            where = f"callers: {caller.ae_title}"
            network = _network(caller.address, where) if caller.address else None
            known.append((caller.ae_title.strip(), network, frozenset(caller.may)))
        return cls(ae_title.strip(), tuple(known))

    def knows_address(self, address: str) -> bool:
        """Return whether any caller may connect from this address."""
        ip = _ip(address)
        if not self.callers:
            return ip.is_loopback
        return any(network is None or ip in network for _, network, _ in self.callers)

    def rights(self, calling: str, address: str) -> frozenset[str]:
        """Return what a caller may do, of all entries that fit it: "store", "find" and so on."""
        ip = _ip(address)
        if not self.callers:
            return STORE if ip.is_loopback else frozenset()
        return frozenset(
            right
            for title, network, may in self.callers
            if title == calling.strip() and (network is None or ip in network)
            for right in may
        )

    def refusal(self, calling: str, called: str, address: str) -> Rejection | None:
        """Return why the association is rejected, or None to accept it."""
        if called.strip() != self.ae_title:
            return UNKNOWN_CALLED
        ip = _ip(address)
        if not self.callers:
            return None if ip.is_loopback else UNKNOWN_CALLER
        for title, network, _ in self.callers:
            if title == calling.strip() and (network is None or ip in network):
                return None
        return UNKNOWN_CALLER


def _network(address: str, where: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(address)
    except ValueError as error:
        raise BadConfiguration(f"receive.{where}: {error}") from error


def _ip(address: str) -> IPv4Address | IPv6Address:
    """Return the address; that of an IPv4 peer at an IPv6 socket as IPv4."""
    ip = ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
