"""What is wrong with settings that the file alone does not show: files, variables, names.

Neither network nor database is touched, so that it can be asked before a node is started.
"""

import os
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from node.settings import Caller, Oidc, Settings, Triage, is_this_machine, sections, values

FILES = ("certificate", "key", "ca", "ca_file", "secret_file")
"""Settings that name a file; of a caller, a certificate is a subject."""
SECRET_FILES = ("key", "secret_file")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a setting, and what to do about it.

    Attributes
    ----------
    bad
        Whether something will not work, or is open to others; else a person should consider it.
    """

    key: str
    what: str
    remedy: str
    bad: bool = True

    def __str__(self) -> str:
        return f"{self.key}: {self.what}: {self.remedy}"


def faults(settings: Settings) -> list[Fault]:
    """Return what is wrong with settings on this machine, for who runs this process."""
    found: list[Fault] = []
    for key, section in sections(settings):
        if not (isinstance(section, Oidc) and not section.issuer):
            found += _of_variables(key, values(section))
        if not isinstance(section, Caller):
            found += _of_files(key, values(section))
    return [*found, *_of_names(settings), *_of_places(settings)]


def _of_variables(key: str, given: Mapping[str, object]) -> Iterator[Fault]:
    for name, value in given.items():
        if name.endswith("_variable") and value and not os.environ.get(str(value)):
            remedy = "set it in /etc/ichnode/ichnode.env, or in the environment, and restart"
            yield Fault(f"{key}.{name}", f"the variable {value} is not set", remedy)


def _of_files(key: str, given: Mapping[str, object]) -> Iterator[Fault]:
    named = {name: Path(str(value)) for name, value in given.items() if value}
    named = {name: path for name, path in named.items() if name in FILES}
    unread = [fault for name, path in named.items() for fault in _unread(f"{key}.{name}", path)]
    yield from unread
    for name in SECRET_FILES:
        if name not in named or any(_unread(key, named[name])):
            continue
        if named[name].stat().st_mode & 0o007:
            what = f"others may use {named[name]}"
            yield Fault(f"{key}.{name}", what, f"chmod o= {named[name]}")
    if not unread:
        yield from _of_certificates(key, named)


def _unread(key: str, path: Path) -> Iterator[Fault]:
    if not _is(path.is_file):
        yield Fault(key, f"{path} is no file", "put it there, or name another")
    elif not os.access(path, os.R_OK):
        remedy = "let the node's user read it: chgrp ichnode, chmod 640"
        yield Fault(key, f"{path} cannot be read", remedy)


def _is(kind: Callable[[], bool]) -> bool:
    """Return whether a path is of a kind; True if it is out of sight, False if it cannot be one."""
    try:
        return kind()
    except PermissionError:
        return True
    except OSError:  # a name that is too long
        return False


def _of_certificates(key: str, named: dict[str, Path]) -> Iterator[Fault]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "certificate" in named:
            context.load_cert_chain(named["certificate"], named["key"], password="")
    except (OSError, ValueError) as error:
        remedy = "both in PEM, the key not encrypted and the certificate's own"
        yield Fault(f"{key}.certificate", f"it cannot be used with its key ({error})", remedy)
    for name in ("ca", "ca_file"):
        try:
            if name in named:
                context.load_verify_locations(named[name])
        except OSError as error:
            remedy = "a file of certificates in PEM"
            yield Fault(f"{key}.{name}", f"it holds no authority ({error})", remedy)


def _of_names(settings: Settings) -> Iterator[Fault]:
    deliver, web = settings.deliver, settings.web
    for key, names in (
        ("deliver.destinations", [one.name for one in deliver.destinations]),
        ("pull.sources", [one.name for one in settings.pull.sources]),
        ("web.tokens", [one.name for one in web.tokens]),
        ("web.viewers", [one.name for one in web.viewers]),
    ):
        for name in _several(names):
            yield Fault(key, f"several are called {name}", "give each a name of its own")
    for where in _several(one.where for one in deliver.archives):
        what = f"several are {where}, which gets every object of each"
        yield Fault("deliver.destinations", what, "leave one", bad=False)


def _several(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _of_places(settings: Settings) -> Iterator[Fault]:
    if not _is(settings.triage.bundle.is_dir):
        what, remedy = f"{settings.triage.bundle} is no folder", "name a bundle, or its folder"
        yield Fault("triage.bundle", what, remedy)
    elif settings.triage.operating_point != "balanced":  # which every bundle has
        yield from _of_operating_point(settings.triage)
    if settings.shadow.bundle and not _is(settings.shadow.folder.is_dir):
        what, remedy = f"{settings.shadow.folder} is no folder", "name a bundle, or its folder"
        yield Fault("shadow.bundle", what, remedy)
    for address in settings.receive.adt.allowed_addresses:
        try:
            ip_address(address)
        except ValueError:
            what, remedy = f"{address!r} is no address, and admits nobody", "an address, no network"
            yield Fault("receive.adt.allowed_addresses", what, remedy)
    for one in settings.deliver.archives:
        if not one.tls.is_on and not is_this_machine(one.host):
            what = f"patients' images go to {one.name} in clear"
            key = f"deliver.destinations {one.name}.tls.ca"
            yield Fault(key, what, "set it where the peer has TLS", bad=False)


def _of_operating_point(triage: Triage) -> Iterator[Fault]:
    from models.bundle import BundleError, operating_points

    try:
        offered = operating_points(triage.bundle)
    except BundleError as error:
        yield Fault("triage.bundle", str(error), "name a bundle, or its folder")
        return
    if triage.operating_point not in offered:
        what = f"{triage.bundle} offers no {triage.operating_point!r}"
        yield Fault("triage.operating_point", what, f"choose of {', '.join(offered)}")
