"""The images of one study that name nobody: from the stages of the node to files."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from models.faces import without_face
from models.findings import Unreadable
from models.volume import Volume
from node.archive.corridor import case_folder
from node.archive.proof import Pseudonyms
from node.cases.pipeline import Node
from node.dicom.read.makers import makers
from node.dicom.write.ct import Deidentified, write_deidentified
from node.disk import make_private
from node.errors import BadObject, Refused
from node.worklist import Row

IMAGES = "images"
"""Below the folder of an export; a folder a study."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the slices that the node read of a study, as they are and without whose they are.

    Attributes
    ----------
    out
        The folder of the export.
    faces
        Whether faces stay.
    """

    out: Path
    names: Pseudonyms
    faces: bool

    def written(self, study: str) -> int:
        """Return how many images of a study are there, by its pseudonym: all of them, or 0."""
        return len(list(self._place(study).glob("*.dcm")))

    def write(self, row: Row, node: Node, patient: str) -> str:
        """Write the images of a study that went through the stages; return why there are none.

        Parameters
        ----------
        patient
            The pseudonym; "" where the study has no patient number.

        Raises
        ------
        OSError
            If the disk is full or fails.
        """
        plan = case_folder(row, node).read_plan_as_read()
        if plan is None:
            return row.reason or "no series of it could be read"
        try:
            first = makers(node.root / plan.slices[0].path)
            volume = node.decode(plan, node.root)
            if not self.faces:
                slabs, canvas = node.detector().preprocess(volume)
                volume = replace(volume, hu=without_face(volume, slabs, canvas))
        except (BadObject, OSError, Refused, Unreadable) as error:
            return str(error)
        study = self.names.study(row.study_instance_uid)
        head = Deidentified(
            patient=patient or study,
            study_instance_uid=self.names.exported(row.study_instance_uid),
            manufacturer=first.manufacturer,
            model=first.model,
            kernel=first.kernel,
            lossy=first.lossy,
            faceless=not self.faces,
        )
        self._write(volume, head, self._place(study))
        return ""

    def _write(self, volume: Volume, head: Deidentified, place: Path) -> None:
        """Write all slices into a folder that is renamed when it is whole."""
        make_private(place.parent, "OUT")
        unfinished = place.with_name(f".{place.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        for _ in write_deidentified(volume, head, unfinished):
            pass
        unfinished.rename(place)

    def _place(self, study: str) -> Path:
        return self.out / IMAGES / study
