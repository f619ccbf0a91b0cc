"""Associations by TLS: who is served, who is told why not, and that nobody delays another."""

import hashlib
import logging
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.arrive.storage_scp import ASSOCIATE_TIMEOUT_S, Receiver
from node.dicom.net.tls import CIPHERS
from node.errors import BadConfiguration
from node.settings import Caller, Receive, ServerTls, Settings
from node.worklist import Worklist
from tests.conftest import require_program
from tests.support.associating import ABORTED, ACCEPTED, REJECTED, echo_request, pdu
from tests.support.certificates import Authority, Pair
from tests.support.databases import new_database
from tests.support.peers import ct_series, storescu, wait_until
from training.datasets.series import Identity

Log = Callable[[], list[str]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Pair:
    return authority.pair("ichnode")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Pair:
    return authority.pair("CT1")


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """Each warning of the node; none is a traceback."""
    caplog.set_level(logging.INFO)
    yield lambda: [
        r.getMessage()
        for r in caplog.records
        if r.name.startswith("node") and r.levelno > logging.INFO
    ]
    assert not any(record.exc_info for record in caplog.records)


@dataclass
class Node:
    receiver: Receiver
    worklist: Worklist

    @property
    def port(self) -> int:
        return self.receiver.port

    @property
    def images(self) -> int:
        series = self.worklist.arrivals.study(Identity.of("a").study_instance_uid)
        return sum(len(each.instances) for each in series)


@contextmanager
def receiving(
    folder: Path, ours: Pair, ca: str = "", callers: tuple[Caller, ...] = (), **tls: str
) -> Iterator[Node]:
    """Run a receiver that speaks TLS alone, with a certificate of ours."""
    tls |= {"certificate": ours.certificate, "key": ours.key, "ca": ca}
    chosen = {"host": "127.0.0.1", "port": 0, "min_free_mb": 0, "callers": callers}
    settings = Settings(data_dir=folder / "data", receive=Receive(**chosen, tls=ServerTls(**tls)))
    settings.data_dir.mkdir(parents=True)
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        handles = (worklist.arrivals, worklist.announcements)
        with Receiver(settings, *handles, lambda: datetime.now(UTC)) as receiver:
            yield Node(receiver, worklist)


def client(authority: Authority, shown: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


@contextmanager
def secured(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as line,
    ):
        yield line


def by_dcmtk(authority: Authority, shown: Pair | None) -> tuple[str, ...]:
    """Return the options of a tool of DCMTK that trusts the authority, and shows this."""
    keys = ("+tls", shown.key, shown.certificate) if shown else ("+tla",)
    return (*keys, "+cf", authority.ca)


def echoscu(port: int, *options: str) -> "subprocess.CompletedProcess[str]":
    require_program("echoscu")
    return subprocess.run(
        ["echoscu", "-v", *options, "-aec", "ICHNODE", "127.0.0.1", str(port)],
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )


# What is taken


@pytest.mark.peer
@pytest.mark.parametrize(
    ("profile", "minimum"),
    [("+py", "1.2"), ("+px", "1.2"), ("+pz", "1.2"), ("+py", "1.3")],  # +pz has no TLS 1.3
)
def test_dcmtk_sends_by_tls_in_each_of_its_profiles(
    tmp_path: Path, authority: Authority, ours: Pair, theirs: Pair, profile: str, minimum: str
) -> None:
    files = ct_series(tmp_path / "ct", 4, size=256)  # several records to an object
    with receiving(tmp_path, ours, authority.ca, minimum_version=minimum) as node:
        sent = storescu(files, node.port, *by_dcmtk(authority, theirs), profile)
        assert (sent.returncode, node.images) == (0, 4), sent.stdout


@pytest.mark.peer
def test_nobody_needs_a_certificate_where_no_authority_is_set(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    with receiving(tmp_path, ours) as node:
        answer = echoscu(node.port, *by_dcmtk(authority, None))
        assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(("version", "taken"), [("TLSv1_1", False), ("TLSv1_2", True)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_before_1_2_is_refused(
    tmp_path: Path, authority: Authority, ours: Pair, version: str, taken: bool
) -> None:
    context = client(authority)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ALL:@SECLEVEL=0")
    with receiving(tmp_path, ours) as node:
        try:
            with secured(node.port, context) as line:
                assert taken and line.version() == "TLSv1.2"
        except ssl.SSLError:
            assert not taken


def test_only_the_cipher_suites_of_rfc_9325_are_taken(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    context = client(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    names = [cipher["name"] for cipher in context.get_ciphers()]
    others = [name for name in names if name not in CIPHERS and "ECDSA" in name]
    assert others, "this machine's OpenSSL offers others"
    with receiving(tmp_path, ours) as node:
        context.set_ciphers(":".join(others))
        with pytest.raises(ssl.SSLError), secured(node.port, context):
            pass
        context.set_ciphers(":".join((*others, *CIPHERS)))
        with secured(node.port, context) as line:
            assert line.cipher()[0] in CIPHERS


# Who is told why not: one line each


@pytest.mark.peer
@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("none", "it shows no certificate"),
        ("unknown", "its certificate is from an authority that we do not trust"),
        ("expired", "its certificate has expired"),
        ("early", "its certificate is not valid yet"),
        ("clear", "it speaks no TLS"),
    ],
)
def test_caller_without_a_good_certificate_is_refused_and_the_log_says_why(
    tmp_path: Path,
    authority: Authority,
    ours: Pair,
    theirs: Pair,
    said: Log,
    shown: str,
    words: str,
) -> None:
    stranger = Authority(tmp_path / "stranger", "stranger").pair("CT1")
    options = {
        "none": by_dcmtk(authority, None),
        "unknown": by_dcmtk(authority, stranger),
        "expired": by_dcmtk(authority, authority.pair("CT2", days=(-9, -1))),
        "early": by_dcmtk(authority, authority.pair("CT3", days=(1, 9))),
        "clear": (),
    }
    with receiving(tmp_path, ours, authority.ca) as node:
        assert echoscu(node.port, *options[shown]).returncode != 0
        wait_until(said)
        assert echoscu(node.port, *by_dcmtk(authority, theirs)).returncode == 0
    (line,) = said()
    assert line == f"association lost: no TLS: {words}"


def test_caller_that_does_not_trust_us_is_logged_as_such(
    tmp_path: Path, ours: Pair, said: Log
) -> None:
    other = Authority(tmp_path / "other", "other")
    with receiving(tmp_path, ours) as node:
        with pytest.raises(ssl.SSLCertVerificationError), secured(node.port, client(other)):
            pass
        wait_until(said)
    assert said() == [
        "association lost: no TLS: it does not trust the authority of our certificate"
    ]


def test_caller_without_a_certificate_gets_an_alert_that_says_so(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    with (
        receiving(tmp_path, ours, authority.ca) as node,
        pytest.raises(ssl.SSLError, match="(?i)certificate required"),
        secured(node.port, client(authority)) as line,
    ):
        line.sendall(echo_request())
        line.recv(1)


def test_a_title_is_known_with_its_own_certificate_alone(
    tmp_path: Path, authority: Authority, ours: Pair, theirs: Pair, said: Log
) -> None:
    pacs = authority.pair("PACS")
    callers = (
        Caller(ae_title="CT1", certificate=theirs.subject),
        Caller(ae_title="PACS", certificate=f"sha256:{pacs.sha256}"),
    )
    with receiving(tmp_path, ours, authority.ca, callers=callers) as node:

        def answer(title: bytes, shown: Pair) -> int:
            with secured(node.port, client(authority, shown)) as line:
                line.sendall(echo_request(calling=title))
                return pdu(line)[0]

        assert answer(b"CT1", theirs) == answer(b"PACS", pacs) == ACCEPTED
        assert answer(b"PACS", theirs) == answer(b"CT1", pacs) == REJECTED
    rejected = [line for line in said() if "rejected" in line]
    assert rejected[0] == (
        "association rejected: PACS is in receive.callers, but not with the certificate "
        f"{theirs.subject} (sha256:{theirs.sha256})"
    )


# A connection by TLS is served as one in clear is


def test_node_that_stops_aborts_by_tls_and_ends_handshakes(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    with (
        socket.socket() as silent,
        receiving(tmp_path, ours) as node,
        secured(node.port, client(authority)) as line,
    ):
        silent.connect(("127.0.0.1", node.port))
        line.sendall(echo_request())
        assert pdu(line)[0] == ACCEPTED
        wait_until(lambda: node.receiver.connections == 2)
        node.receiver.stop()
        kind, body = pdu(line)
        assert (kind, body[2]) == (ABORTED, 2)
        silent.settimeout(10)
        assert silent.recv(100) == b""
        node.receiver.start()  # what stops it again


def test_garbage_within_tls_is_aborted_within_tls(
    tmp_path: Path, authority: Authority, ours: Pair
) -> None:
    with receiving(tmp_path, ours) as node, secured(node.port, client(authority)) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert pdu(line)[0] == ABORTED


def test_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(
    tmp_path: Path, authority: Authority, said: Log
) -> None:
    def shown(node: Node) -> str:
        with secured(node.port, client(authority)) as line:
            return hashlib.sha256(line.getpeercert(binary_form=True) or b"").hexdigest()

    old = authority.pair("old", file="renewed")
    with receiving(tmp_path, old) as node:
        assert shown(node) == old.sha256
        Path(old.certificate).write_text("half a certific")
        assert shown(node) == old.sha256
        new = authority.pair("new", file="renewed")
        assert shown(node) == new.sha256 != old.sha256
    (line,) = [line for line in said() if "renewed" in line]
    assert line.startswith("certificate not renewed: receive.tls: certificate ")


# Nobody delays another

HALF_OPEN = 200


@contextmanager
def hostile(port: int, authority: Authority) -> Iterator[ssl.SSLSocket]:
    """Hold an idle connection, 200 half-open ones and a sender that is slow; yield the slow one.

    Of the half-open ones every second has said half of a ClientHello. The slow sender has an
    association, and announced more of an object than it sends.
    """
    with ExitStack() as held:

        def connect() -> socket.socket:
            return held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))

        connect()
        slow = held.enter_context(secured(port, client(authority)))
        slow.sendall(echo_request())
        assert pdu(slow)[0] == ACCEPTED
        slow.sendall(struct.pack(">BxL", 4, 1000) + b"\0")
        for number in range(HALF_OPEN):
            half = connect()
            if number % 2:
                half.sendall(bytes.fromhex("16 03 01 02 00 01 00"))
        yield slow


@pytest.mark.peer
def test_idle_half_open_and_slow_peers_do_not_delay_another_sender(
    tmp_path: Path,
    authority: Authority,
    ours: Pair,
    theirs: Pair,
    said: Log,
) -> None:
    files = ct_series(tmp_path / "ct", 4)
    times = {}
    with receiving(tmp_path, ours) as node:

        def send(what: str) -> None:
            begun = time.monotonic()
            sent = storescu(files, node.port, *by_dcmtk(authority, theirs))
            times[what] = time.monotonic() - begun
            assert sent.returncode == 0, sent.stdout

        send("alone")
        with hostile(node.port, authority) as slow:
            send("among hostile peers")
            assert node.images == 4
            slow.sendall(b"\0")  # its association is still served, byte by byte
            slow.settimeout(0.2)
            with pytest.raises(TimeoutError):
                slow.recv(1)
        assert len(said()) <= HALF_OPEN + 3, "a line each at most"
    logging.getLogger(__name__).info("seconds of four images: %s", times)
    # None of the peers is silent for long enough to be given up meanwhile: nothing waited for that.
    assert times["among hostile peers"] < ASSOCIATE_TIMEOUT_S


# Settings


def test_certificate_that_cannot_be_used_is_a_wrong_setting(
    tmp_path: Path, ours: Pair, theirs: Pair
) -> None:
    mixed = Pair(ours.certificate, theirs.key, "", "")
    with pytest.raises(BadConfiguration, match=r"receive\.tls: certificate .* cannot be used"):
        receiving(tmp_path / "a", mixed).__enter__()
    with pytest.raises(BadConfiguration, match=r"receive\.tls: ca .*nowhere.* cannot be used"):
        receiving(tmp_path / "b", ours, "/nowhere.pem").__enter__()


@pytest.mark.parametrize("half", [{"certificate": "a"}, {"key": "a"}, {"ca": "a"}])
def test_half_of_a_tls_setting_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="certificate and key"):
        ServerTls(**half)
