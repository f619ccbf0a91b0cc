"""The images of one study that name nobody: from what the node reads to files."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from models.faces import without_face
from models.findings import Unreadable
from models.volume import Volume
from node.archive.exporting.chosen import images_read
from node.archive.proof import Pseudonyms
from node.archive.reading import Filed
from node.dicom.read.makers import makers
from node.dicom.write.ct import Deidentified, write_deidentified
from node.disk import sync_file, sync_folder
from node.errors import BadObject, Refused

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

    def write(self, study: Filed, patient: str) -> str:
        """Write the images of a study; return why there are none, "" if there are.

        Parameters
        ----------
        patient
            The pseudonym; "" where the study has no patient number.

        Raises
        ------
        OSError, IchnodeError
            If the disk is full or fails; nothing of the study is left then.
        """
        node, uid = study.node, study.study_instance_uid
        try:
            images = images_read(study)
            first = makers(node.root / images.plan.slices[0].path)
            volume = images.volume
            if not self.faces:
                slabs, canvas = node.detector().preprocess(volume)
                volume = replace(volume, hu=without_face(volume, slabs, canvas))
        except (BadObject, Refused, Unreadable) as error:
            return str(error)
        name = self.names.study(uid)
        head = Deidentified(
            patient=patient or name,
            study_instance_uid=self.names.exported(uid),
            manufacturer=first.manufacturer,
            model=first.model,
            kernel=first.kernel,
            lossy=first.lossy,
            faceless=not self.faces,
        )
        self._write(volume, head, self._place(name))
        return ""

    def _write(self, volume: Volume, head: Deidentified, place: Path) -> None:
        """Write all slices into a folder that is renamed when it is whole and on the disk."""
        place.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        try:
            for file in write_deidentified(volume, head, unfinished):
                sync_file(file)
            sync_folder(unfinished)
            unfinished.rename(place)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_folder(place.parent)

    def _place(self, study: str) -> Path:
        return self.out / IMAGES / study
