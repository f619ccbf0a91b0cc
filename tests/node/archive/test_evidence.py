"""What a proof holds of each study, as `ichnode archive find`, `read` and `label` write it."""

import base64
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from node.archive.acceptance import key_pictures
from node.archive.evidence import Result, read_head, read_joined, read_outcomes
from node.archive.proof import Proof
from node.archive.reading import Material
from node.archive.reading.orders import orders_of
from node.archive.reading.outcomes import Outcomes, outcome
from node.errors import Permanent
from node.settings import Settings
from tests.support.archived import HEADS, catalogued, predicted, write_each, write_heads
from tests.support.builder import HEAD
from tests.support.proofs import write_labels

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def proof_of_heads(folder: Path) -> Proof:
    """Find, read and picture the heads of tests."""
    write_heads(folder / "ct", *HEADS)
    return proof_of(folder)


def proof_of(folder: Path) -> Proof:
    """Find, read and picture what lies in the folder `ct`."""
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


@pytest.mark.parametrize(
    "orientation",
    [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0)],
    ids=["as radiologists look", "turned round", "in a mirror"],
)
def test_the_edge_at_which_the_clot_of_the_left_side_lies_says_so(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    scan = HEAD(study="bleeds", orientation=orientation, rows=224, columns=200, spacing_mm=(1, 1))
    write_each(tmp_path / "ct", {"bleeds": scan.build()})
    proof = proof_of(tmp_path)
    ((study, outcome),) = read_outcomes(proof).items()
    head = read_head(proof, study)
    assert head is not None and head.mask.any()
    of_clot = np.flatnonzero(head.mask.any((0, 1))).mean()
    at, opposite = ("left", "right") if of_clot < head.mask.shape[2] / 2 else ("right", "left")
    assert (head.sides[at], head.sides[opposite]) == ("L", "R")
    for url in key_pictures(proof, {study: outcome.key_slice})[study]:
        picture = decoded(url)
        assert (letter(picture, at), letter(picture, opposite)) == ("L", "R")


def decoded(url: str) -> np.ndarray:
    jpeg = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"))


def letter(picture: np.ndarray, edge: str) -> str:
    """Return which of L and R stands at an edge, over air: the upper right of an L is empty."""
    middle = len(picture) // 2
    rows = picture[middle - 16 : middle + 16]
    ink = (rows[:, :27] if edge == "left" else rows[:, -27:]) > 150
    ys, xs = np.nonzero(ink)
    glyph = ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    corner = glyph[: len(glyph) // 2, glyph.shape[1] // 2 :]
    return "R" if corner.mean() > 0.25 else "L"


def test_images_that_were_kept_without_their_sides_have_none(tmp_path: Path) -> None:
    proof = Proof(tmp_path / "proof")
    file = proof.image("abc")
    file.parent.mkdir(parents=True)
    kept = {"hu": np.zeros((3, 8, 8), np.int16), "mask": np.zeros((3, 8, 8), bool)}
    kept |= {"spacing_mm": np.ones(3), "probability": np.zeros(3)}
    np.savez(file, **kept)  # type: ignore[arg-type]
    head = read_head(proof, "abc")
    assert head is not None and head.sides == {}
    assert len(key_pictures(proof, {"abc": None})["abc"]) == 1
    np.savez(file, **kept, orientation=np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(Permanent, match="how its slices lie"):
        read_head(proof, "abc")
