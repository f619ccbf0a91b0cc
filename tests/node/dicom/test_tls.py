"""Peers that we call by TLS: DCMTK and Orthanc as hospitals have them, well and badly set up."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.arrive.archive import open_archive
from node.cli.doctor import check_destinations, check_sources
from node.dicom.net.association import Status
from node.dicom.net.store_scu import echo, send_files
from node.errors import Retryable
from node.settings import ClientTls, Deliver, Destination, Pull, Settings, Source, is_this_machine
from tests.support.certificates import Authority, Pair
from tests.support.peers import ct_series, mute_peer, orthanc, peer, storescp

SETTINGS = Settings(deliver=Deliver(timeout_s=10))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Pair:
    return authority.pair("PACS")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Pair:
    return authority.pair("ichnode")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return ct_series(tmp_path_factory.mktemp("ct"), 4, size=256)  # several records to an object


def as_server(shown: Pair, authority: Authority, wanted: str = "-ic") -> tuple[str, ...]:
    """Return storescp's options; `wanted` is -ic for no certificate of ours, -rc for one."""
    return ("+tls", shown.key, shown.certificate, "+cf", authority.ca, wanted)


def by_tls(
    to: Destination, authority: Authority, shown: Pair | None = None, **tls: object
) -> Destination:
    keys = {"certificate": shown.certificate, "key": shown.key} if shown else {}
    chosen = ClientTls.model_validate({"ca": authority.ca, **keys, **tls})
    return to.model_copy(update={"tls": chosen})


def refusal(to: Destination) -> str:
    """Return why a delivery to the peer does not get there."""
    with pytest.raises(Retryable) as said:
        echo(to, SETTINGS)
    return str(said.value)


@pytest.mark.peer
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
@pytest.mark.parametrize("wanted", ["-ic", "-rc"])
def test_objects_go_by_tls_in_each_of_dcmtks_profiles(
    tmp_path: Path,
    authority: Authority,
    ours: Pair,
    theirs: Pair,
    files: list[Path],
    profile: str,
    wanted: str,
) -> None:
    shown = ours if wanted == "-rc" else None
    with storescp(tmp_path / "scp", *as_server(theirs, authority, wanted), profile) as scp:
        results = list(send_files(files, by_tls(scp, authority, shown), SETTINGS))
        assert [(each.status, each.message) for each in results] == [(0, "")] * 4
    assert len(list((tmp_path / "scp").iterdir())) == 4


@pytest.fixture(scope="module")
def bad(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[dict[str, Pair]]:
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "stranger")
    yield {
        "unknown": stranger.pair("PACS"),
        "expired": authority.pair("expired", days=(-9, -1)),
        "early": authority.pair("early", days=(1, 9)),
        "elsewhere": authority.pair("elsewhere", "pacs.example", "192.0.2.7"),
    }


@pytest.mark.peer
@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("unknown", "its certificate is from an authority that we do not trust"),
        ("expired", "its certificate has expired"),
        ("early", "its certificate is not valid yet"),
        ("elsewhere", "its certificate is not for the address that we know it by"),
    ],
)
def test_peer_whose_certificate_is_bad_gets_nothing_and_is_told_of(
    tmp_path: Path,
    authority: Authority,
    bad: dict[str, Pair],
    files: list[Path],
    which: str,
    words: str,
) -> None:
    with storescp(tmp_path / "scp", *as_server(bad[which], authority)) as scp:
        (sent, *_) = send_files(files, by_tls(scp, authority), SETTINGS)
        assert sent.message == f"peer: no TLS with 127.0.0.1:{scp.port}: {words}"
        assert not sent.stored and not sent.refused
        pacs = by_tls(scp, authority)
        (check,) = check_destinations(Settings(deliver=Deliver(destinations=(pacs,))))
        assert (check.verdict, check.found) == ("bad", sent.message)
    assert list((tmp_path / "scp").iterdir()) == []


@pytest.mark.peer
def test_a_host_name_is_not_checked_where_that_is_set(
    tmp_path: Path, authority: Authority, bad: dict[str, Pair]
) -> None:
    with storescp(tmp_path / "scp", *as_server(bad["elsewhere"], authority)) as scp:
        assert echo(by_tls(scp, authority, verify_host=False), SETTINGS) == 0


@pytest.mark.peer
def test_peer_that_speaks_no_tls_is_told_of(tmp_path: Path, authority: Authority) -> None:
    with storescp(tmp_path / "scp") as scp:
        assert "within the handshake, and may speak no TLS" in refusal(by_tls(scp, authority))


def test_peer_that_answers_in_clear_is_told_of(authority: Authority) -> None:
    def abort() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(bytes.fromhex("07 00 00 00 00 04 00 00 02 01"))

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=abort)
        answering.start()
        port = server.getsockname()[1]
        assert refusal(by_tls(peer("CLEAR", port), authority)).endswith("it speaks no TLS")
        answering.join()


def test_peer_that_says_nothing_ends_the_handshake_in_time(authority: Authority) -> None:
    hasty = Settings(deliver=Deliver(timeout_s=1))
    with mute_peer() as mute, pytest.raises(Retryable, match="does not answer the handshake"):
        echo(by_tls(mute, authority), hasty)


@pytest.mark.peer
@pytest.mark.parametrize("profile", ["+py", "+pz"])  # TLS 1.3 and 1.2
def test_peer_that_wants_a_certificate_of_ours_says_so(
    tmp_path: Path, authority: Authority, theirs: Pair, profile: str
) -> None:
    with storescp(tmp_path / "scp", *as_server(theirs, authority, "-rc"), profile) as scp:
        assert "it wants a certificate of ours" in refusal(by_tls(scp, authority))


@pytest.mark.peer
def test_peer_that_wants_tls_is_hinted_at(
    tmp_path: Path, authority: Authority, theirs: Pair
) -> None:
    with storescp(tmp_path / "scp", *as_server(theirs, authority)) as scp:
        assert refusal(scp).endswith("if it speaks TLS alone, set tls.ca")


def test_file_that_cannot_be_used_keeps_deliveries_waiting(authority: Authority) -> None:
    with mute_peer() as mute:
        assert "ca /nowhere.pem cannot be used" in refusal(
            by_tls(mute, authority, ca="/nowhere.pem")
        )


@pytest.mark.peer
def test_orthanc_takes_objects_and_is_queried_by_tls(
    tmp_path: Path, authority: Authority, ours: Pair, theirs: Pair, files: list[Path]
) -> None:
    with orthanc(
        tmp_path / "pacs",
        DicomTlsEnabled=True,
        DicomTlsCertificate=theirs.certificate,
        DicomTlsPrivateKey=theirs.key,
        DicomTlsTrustedCertificates=authority.ca,
        DicomAlwaysAllowFind=True,
        DicomAlwaysAllowGet=True,
        DicomAlwaysAllowStore=True,
    ) as pacs:
        destination = by_tls(pacs.destination, authority, ours)
        assert [sent.status for sent in send_files(files, destination, SETTINGS)] == [0] * 4
        named = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.port}
        source = Source(name="pacs", **named, tls=destination.tls)
        settings = Settings(pull=Pull(timeout_s=20, sources=(source,)))
        assert [check.found for check in check_sources(settings)] == ["answers a query"]
        got: list[bytes] = []

        def take(file: bytes, _named: tuple[str, str]) -> Status:
            got.append(file)
            return Status.SUCCESS

        with open_archive(source, settings, take) as archive:
            (study,) = archive.studies("*")
            (series,) = archive.modalities(study)
            assert list(archive.fetch(study, series))[-1] == 4
        assert len(got) == 4


# Settings


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True)),
        *(("0.0.0.0", False), ("::", False), ("192.0.2.7", False), ("pacs.example", False)),
    ],
)
def test_no_network_carries_what_goes_to_loopback(host: str, here: bool) -> None:
    assert is_this_machine(host) is here


def test_tls_is_whole_and_for_dicom_alone() -> None:
    with pytest.raises(ValueError, match="both or none"):
        ClientTls(ca="a", certificate="b")
    with pytest.raises(ValueError, match="needs ca"):
        ClientTls(certificate="a", key="b")
    with pytest.raises(ValueError, match="tls is for"):
        Destination(name="ris", how="hl7", host="ris", port=1, tls=ClientTls(ca="a"))
    with pytest.raises(ValueError, match="tls is for"):
        Source(name="web", how="web", url="https://pacs/dicom-web", tls=ClientTls(ca="a"))
