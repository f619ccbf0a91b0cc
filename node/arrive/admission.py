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

UNKNOWN_CALLER = Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED
UNKNOWN_CALLED = Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED
LOCAL_LIMIT = Rejection.LOCAL_LIMIT_EXCEEDED


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may associate with us, and under which AE title.

    Attributes
    ----------
    callers
        AE title and network of each known caller; None is any address. Empty admits this machine
        alone.
    """

    ae_title: str
    callers: tuple[tuple[str, IPv4Network | IPv6Network | None], ...]

    @classmethod
    def of(cls, ae_title: str, allowed: Iterable[str]) -> Self:
        """Read `receive.allowed_callers`: "AE_TITLE" or "AE_TITLE@ADDRESS" (or a network).

        Raises
        ------
        BadConfiguration
            If the text after "@" is not an address or network.
        """
        callers = []
        for caller in allowed:
            title, at, address = caller.partition("@")
            try:
                callers.append((title.strip(), ip_network(address) if at else None))
            except ValueError as error:
                raise BadConfiguration(f"receive.allowed_callers: {caller!r}: {error}") from error
        return cls(ae_title.strip(), tuple(callers))

    def knows_address(self, address: str) -> bool:
        """Return whether any caller may connect from this address."""
        ip = _ip(address)
        if not self.callers:
            return ip.is_loopback
        return any(network is None or ip in network for _, network in self.callers)

    def refusal(self, calling: str, called: str, address: str) -> Rejection | None:
        """Return why the association is rejected, or None to accept it."""
        if called.strip() != self.ae_title:
            return UNKNOWN_CALLED
        ip = _ip(address)
        if not self.callers:
            return None if ip.is_loopback else UNKNOWN_CALLER
        for title, network in self.callers:
            if title == calling.strip() and (network is None or ip in network):
                return None
        return UNKNOWN_CALLER


def _ip(address: str) -> IPv4Address | IPv6Address:
    """Return the address; that of an IPv4 peer at an IPv6 socket as IPv4."""
    ip = ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
