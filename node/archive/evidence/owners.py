"""Whose each study is: the PatientID that the secret part of a proof holds."""

from collections.abc import Mapping

from node.archive.proof import Proof
from node.errors import Permanent


def read_owners(proof: Proof) -> Mapping[str, str]:
    """Return each study's PatientID, by the study's pseudonym; empty where it is not held.

    Raises
    ------
    Permanent
        If the file cannot be read.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    if not proof.where.exists():
        return {}
    try:
        rows = read_table(proof.where, columns=["study", "patient_id"]).to_pylist()
    except (ArrowException, OSError, KeyError) as error:
        raise Permanent(
            f"{proof.where} cannot be read ({error}): ichnode archive find, called as before, "
            "writes it anew"
        ) from error
    return {str(row["study"]): str(row["patient_id"] or "") for row in rows}
