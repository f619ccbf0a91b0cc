"""What a proof holds of each study, as `ichnode archive find`, `read` and `label` write it."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from node.archive.evidence import Result, read_head, read_joined
from node.archive.proof import Proof
from node.archive.reading import Material
from node.archive.reading.orders import orders_of
from node.archive.reading.outcomes import Outcomes, outcome
from node.settings import Settings
from tests.support.archived import HEADS, catalogued, predicted, write_heads
from tests.support.proofs import write_labels

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def proof_of_heads(folder: Path) -> Proof:
    """Find, read and picture the heads of tests."""
    write_heads(folder / "ct", *HEADS)
    proof = catalogued(folder / "ct", folder / "proof")
    names, rows = proof.pseudonyms(), Outcomes(proof)
    with predicted(Settings()) as read:
        for order in orders_of(proof):
            reading = read(Material(order.study_instance_uid, order.paths))
            rows.add(outcome(order, reading, names, NOW))
            if reading.picture is not None:
                proof.image(order.study).parent.mkdir(exist_ok=True)
                proof.image(order.study).write_bytes(reading.picture)
    rows.close()
    return proof


def test_what_find_read_and_label_write_is_put_together(tmp_path: Path) -> None:
    proof = proof_of_heads(tmp_path)
    where = {row["accession_number"]: row for row in pq.read_table(proof.where).to_pylist()}
    (first,) = set(where) - {"A2", "A3"}
    owner = where[first]["patient_id"]
    write_labels(
        proof,
        [
            (first, "bleeds", "A clot.", "present", "en", owner),
            ("A2", "none", "No clot.", "absent", "en", owner),
            ("A3", "none", "No clot.", "absent", "en", f"not {owner}"),
        ],
    )
    joined = read_joined(proof)
    assert joined.found is not None and joined.found.studies == {
        row["study"]: True for row in where.values()
    }
    found = {study.name: study for study in joined.studies}
    bleeds, plain, short = (found[where[number]["study"]] for number in (first, "A2", "A3"))
    assert (bleeds.outcome.result, bleeds.says) == (Result.SUSPECTED, "bleeds")
    assert (plain.outcome.result, plain.says) == (Result.NO_FINDING, "none")
    assert (short.outcome.result, short.says) == (Result.NOT_ANALYSED, "no label")
    assert "is another patient's" in "".join(joined.remarks)
    assert bleeds.label is not None and bleeds.label.sentence == "A clot."
    assert bleeds.outcome.read_at == NOW
    head = read_head(proof, bleeds.name)
    assert head is not None and head.hu.shape == head.mask.shape
    assert head.mask[head.key(bleeds.outcome.key_slice)].any()
    assert read_head(proof, "../secret/key") is None
