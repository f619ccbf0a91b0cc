"""The tables that queries are answered with: an index of what the node holds. They hold names."""

import sqlalchemy as sa

from node.worklist.schema.columns import texts, uid
from node.worklist.schema.tables import case, metadata

archived_study = sa.Table(
    "archived_study",
    metadata,
    uid("study_instance_uid", primary_key=True),
    *texts("patient_name", "patient_name_key", "patient_id", "patient_birth_date", "patient_sex"),
    *texts("study_date", "study_time", "accession_number", "study_id", "study_description"),
    *texts("referring_physician_name", "referring_physician_name_key"),
)
"""What queries are answered with (`querying.archive`). It holds names, and what else of the
database people search by; a `_key` is the name as it is compared."""
for _name in ("patient_id", "patient_name_key", "study_date", "accession_number"):
    sa.Index(f"ix_archived_study_{_name}", archived_study.c[_name])

archived_series = sa.Table(
    "archived_series",
    metadata,
    uid("series_instance_uid", primary_key=True),
    uid("study_instance_uid", nullable=False, index=True),
    *texts("modality", "series_description", "body_part_examined", "protocol_name"),
    *texts("series_date", "series_time"),
    *texts("performed_procedure_step_start_date", "performed_procedure_step_start_time"),
    sa.Column("series_number", sa.Integer),
    sa.Column("objects", sa.Integer, nullable=False),
)

archived_object = sa.Table(
    "archived_object",
    metadata,
    uid("sop_instance_uid", primary_key=True),
    uid("series_instance_uid", nullable=False, index=True),
    uid("sop_class_uid", nullable=False),
    uid("transfer_syntax_uid", nullable=False),
    sa.Column("instance_number", sa.Integer),
    sa.Column("rows", sa.Integer),
    sa.Column("columns", sa.Integer),
    sa.Column("bits_allocated", sa.Integer),
    sa.Column("number_of_frames", sa.Integer),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("case_id", sa.Integer, sa.ForeignKey(case.c.id), index=True),
)
"""Each object that the node holds: received, or made for the case `case_id`."""
