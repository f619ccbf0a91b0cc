"""Hands on what was decided: images that name nobody, and what people said of them."""

from node.archive.exporting.export import Exported, write_export
from node.archive.exporting.truth import Known, settled_studies

__all__ = ["Exported", "Known", "write_export", "settled_studies"]
