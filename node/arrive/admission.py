"""Who may associate with the node, by AE title, address and certificate."""

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
from typing import NamedTuple, Self

from node.dicom.net.association import Rejection
from node.dicom.net.tls import Certificate
from node.errors import BadConfiguration
from node.settings import Caller

UNKNOWN_CALLER = Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED
UNKNOWN_CALLED = Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED
STORE = frozenset({"store"})
LOCAL_LIMIT = Rejection.LOCAL_LIMIT_EXCEEDED


class Refusal(NamedTuple):
    """Why an association is rejected: what the peer is told, and what the log says."""

    rejection: Rejection
    words: str

    @classmethod
    def of(cls, rejection: Rejection) -> Self:
        """Return a refusal in the rejection's own words."""
        return cls(rejection, rejection.name.lower().replace("_", " "))


@dataclass(frozen=True, slots=True)
class Known:
    """One caller that is known; a network of None is any address, a certificate of "" any."""

    title: str
    network: IPv4Network | IPv6Network | None
    certificate: str
    may: frozenset[str]

    def is_at(self, ip: IPv4Address | IPv6Address) -> bool:
        """Return whether the caller may come from this address."""
        return self.network is None or ip in self.network

    def shows(self, shown: Certificate | None) -> bool:
        """Return whether this is the caller's certificate."""
        if not self.certificate:
            return True
        if shown is None:
            return False
        kind, _, digits = self.certificate.partition(":")
        if kind.lower() == "sha256":
            return digits.replace(":", "").strip().lower() == shown.sha256
        return _subject(self.certificate) == _subject(shown.subject)


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may associate with us, and under which AE title.

    Attributes
    ----------
    callers
        Each known caller. Empty admits this machine alone, to store.
    """

    ae_title: str
    callers: tuple[Known, ...]

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
            known.append(Known(title.strip(), network, "", STORE))
        for caller in callers:
            where = f"callers: {caller.ae_title}"
            network = _network(caller.address, where) if caller.address else None
            title, may = caller.ae_title.strip(), frozenset(caller.may)
            known.append(Known(title, network, caller.certificate.strip(), may))
        return cls(ae_title.strip(), tuple(known))

    def knows_address(self, address: str) -> bool:
        """Return whether any caller may connect from this address."""
        ip = _ip(address)
        if not self.callers:
            return ip.is_loopback
        return any(caller.is_at(ip) for caller in self.callers)

    def rights(
        self, calling: str, address: str, shown: Certificate | None = None
    ) -> frozenset[str]:
        """Return what a caller may do, of all entries that fit it: "store", "find" and so on."""
        ip = _ip(address)
        if not self.callers:
            return STORE if ip.is_loopback else frozenset()
        fitting = [
            caller
            for caller in self.callers
            if caller.title == calling.strip() and caller.is_at(ip) and caller.shows(shown)
        ]
        return frozenset(right for caller in fitting for right in caller.may)

    def refusal(
        self, calling: str, called: str, address: str, shown: Certificate | None = None
    ) -> Refusal | None:
        """Return why the association is rejected, or None to accept it.

        Parameters
        ----------
        shown
            The certificate that the caller showed, if it was asked for one.
        """
        if called.strip() != self.ae_title:
            return Refusal.of(UNKNOWN_CALLED)
        words = self._stranger(calling.strip(), address, shown)
        return Refusal(UNKNOWN_CALLER, words) if words else None

    def _stranger(self, title: str, address: str, shown: Certificate | None) -> str:
        """Return why a caller is not known; "" if it is."""
        ip = _ip(address)
        if not self.callers:
            return "" if ip.is_loopback else f"{title} calls from {ip}; set allowed_callers"
        named = [caller for caller in self.callers if caller.title == title]
        if not named:
            return f"{title or 'a caller without a title'} is not in allowed_callers"
        here = [caller for caller in named if caller.is_at(ip)]
        if not here:
            return f"{title} is in allowed_callers, but not at {ip}"
        if any(caller.shows(shown) for caller in here):
            return ""
        with_this = f"with the certificate {shown}" if shown else "without a certificate"
        return f"{title} is in receive.callers, but not {with_this}"


def _subject(text: str) -> list[str]:
    """Return the parts of a subject, without the blanks between them."""
    return [part.strip() for part in text.split(",")]


def _network(address: str, where: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(address)
    except ValueError as error:
        raise BadConfiguration(f"receive.{where}: {error}") from error


def _ip(address: str) -> IPv4Address | IPv6Address:
    """Return the address; that of an IPv4 peer at an IPv6 socket as IPv4."""
    ip = ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
