"""A proof's folder: its secret, and pseudonyms that only its key gives."""

import hashlib
import hmac
from pathlib import Path

import pytest

from node.archive.proof import Proof, Pseudonyms
from node.errors import BadConfiguration


def test_a_proof_keeps_its_key_to_its_owner(tmp_path: Path) -> None:
    proof = Proof(tmp_path / "proof")
    proof.make()
    (key,) = proof.secret.iterdir()
    assert (key.name, key.stat().st_size) == ("key", 32)
    assert key.stat().st_mode & 0o777 == 0o600
    assert proof.secret.stat().st_mode & 0o777 == 0o700


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    proof.make()
    before = proof.pseudonyms()
    proof.make()
    assert proof.pseudonyms() == before


def test_two_proofs_give_one_study_two_pseudonyms(tmp_path: Path) -> None:
    one, other = Proof(tmp_path / "one"), Proof(tmp_path / "other")
    one.make()
    other.make()
    assert one.pseudonyms().study("1.2.3") != other.pseudonyms().study("1.2.3")


def test_a_pseudonym_is_the_hmac_of_its_kind_and_value() -> None:
    names, key = Pseudonyms(b"k" * 32), b"k" * 32
    for kind, given, value in [
        ("study", names.study("1.2"), "1.2"),
        ("series", names.series("1.2"), "1.2"),
        ("patient", names.patient("P1", "ward"), "P1\0ward"),
        ("accession", names.accession(" A1 "), "A1"),
    ]:
        whole = hmac.new(key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()
        assert given == whole[:16]


def test_what_has_no_name_has_no_pseudonym() -> None:
    names = Pseudonyms(b"k" * 32)
    assert (names.accession("  "), names.patient("", "ward")) == ("", "")


def test_a_folder_without_a_key_is_no_proof_and_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="is no proof.*ichnode archive find"):
        Proof(tmp_path).pseudonyms()


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    proof.make()
    (tmp_path / "secret" / "key").write_bytes(b"short")
    proof.make()
    with pytest.raises(BadConfiguration, match="has 5 bytes and not 32"):
        proof.pseudonyms()
