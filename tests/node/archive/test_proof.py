"""A proof's folder: its secret, and pseudonyms that only its key gives."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.archive.finding import Store
from node.archive.finding.series import FoundSeries
from node.archive.proof import Proof, Pseudonyms
from node.archive.reading import Reading
from node.archive.reading.orders import Order, orders_of
from node.archive.reading.outcomes import Outcomes, outcome
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


def found(proof: Proof) -> None:
    """Have the proof a catalogue of one study."""
    store = Store(proof)
    store.add("day", [FoundSeries("1.2", "1.2.1", "pacs", taken=True)])
    store.write_catalogue(lambda rows: rows[0])
    store.close()


def test_another_key_than_the_catalogue_s_is_told(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    found(proof)
    proof.pseudonyms()
    (proof.secret / "key").write_bytes(b"k" * 32)
    with pytest.raises(BadConfiguration, match="is not the key that .*catalogue.parquet was made"):
        proof.pseudonyms()


def test_a_lost_key_is_not_made_anew_beside_a_catalogue(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    found(proof)
    (proof.secret / "key").unlink()
    with pytest.raises(BadConfiguration, match="put .*secret back as it was"):
        proof.make()
    assert not (proof.secret / "key").exists()


def test_damaged_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    found(proof)
    kept = proof.secret / "found" / "00000001.parquet"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-20])
    for _ in range(2):  # the lock is let go
        with pytest.raises(BadConfiguration, match="00000001.parquet is damaged"):
            Store(proof)
    proof.outcomes.mkdir()
    (proof.outcomes / "00000001.parquet").write_bytes(whole[:-20])
    for _ in range(2):
        with pytest.raises(BadConfiguration, match="take it away and have its studies read again"):
            Outcomes(proof)


def test_a_catalogue_and_names_of_two_searches_are_not_put_together(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    found(proof)
    older = proof.where.read_bytes()
    store = Store(proof)
    store.add("next day", [FoundSeries("1.3", "1.3.1", "pacs", taken=True)])
    store.write_catalogue(lambda rows: rows[0])
    store.close()
    assert len(orders_of(proof)) == 2
    proof.where.write_bytes(older)
    with pytest.raises(BadConfiguration, match="one of them is older"):
        orders_of(proof)


def test_a_line_of_the_journal_that_is_damaged_costs_its_study_alone(tmp_path: Path) -> None:
    proof = Proof(tmp_path)
    proof.make()
    proof.outcomes.mkdir()
    order = Order("a", "p", "n", "1.2", "pacs")
    row = outcome(order, Reading("NO_FINDING"), proof.pseudonyms(), datetime.now(UTC))
    journal = proof.outcomes / "_journal.jsonl"
    journal.write_bytes(b'\x00\xff{"study":\n{"study": "b"}\n' + json.dumps(row).encode() + b"\n")
    again = Outcomes(proof)
    again.close()
    assert again.done == {"a"}
