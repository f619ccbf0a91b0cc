"""What queries are answered with: studies, series and objects, received and made.

They are filled from the files by whoever is queried first, old ones too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    for table, default in (("instance", sa.false()), ("case", sa.true())):
        column: sa.Column[bool] = sa.Column(
            "catalogued", sa.Boolean(), nullable=False, server_default=default
        )
        op.add_column(table, column)
    op.execute('UPDATE "case" SET catalogued = false WHERE reported_at IS NOT NULL')
    for table in ("instance", "case"):
        op.create_index(
            f"ix_{table}_uncatalogued",
            table,
            ["id"],
            sqlite_where=sa.text("catalogued = 0"),  # as queries say it: else it is not used
            postgresql_where=sa.text("NOT catalogued"),
        )
    _create_study()
    _create_series()
    _create_object()


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _create_study() -> None:
    op.create_table(
        "archived_study",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        *_texts("patient_name", "patient_name_key", "patient_id", "patient_birth_date"),
        *_texts("patient_sex", "study_date", "study_time", "accession_number", "study_id"),
        *_texts("study_description", "referring_physician_name", "referring_physician_name_key"),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_archived_study")),
    )
    for name in ("patient_id", "patient_name_key", "study_date", "accession_number"):
        op.create_index(op.f(f"ix_archived_study_{name}"), "archived_study", [name])


def _create_series() -> None:
    op.create_table(
        "archived_series",
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        *_texts("modality", "series_description", "body_part_examined", "protocol_name"),
        *_texts("series_date", "series_time", "performed_procedure_step_start_date"),
        *_texts("performed_procedure_step_start_time"),
        sa.Column("series_number", sa.Integer()),
        sa.Column("objects", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("series_instance_uid", name=op.f("pk_archived_series")),
    )
    op.create_index(
        op.f("ix_archived_series_study_instance_uid"), "archived_series", ["study_instance_uid"]
    )


def _create_object() -> None:
    numbers = ("instance_number", "rows", "columns", "bits_allocated", "number_of_frames")
    op.create_table(
        "archived_object",
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Integer()) for name in numbers),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.Integer()),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_archived_object")),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_archived_object_case_id")),
    )
    for name in ("series_instance_uid", "case_id"):
        op.create_index(op.f(f"ix_archived_object_{name}"), "archived_object", [name])
