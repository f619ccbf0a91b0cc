"""Identifiers that must not be in a log, and objects, queries and messages that hold them."""

import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import quote

from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.config import disable_value_validation
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from tests.support.builder import HEAD, encoded


@dataclass(frozen=True)
class Patient:
    """One patient as a scanner writes it; `parts` are the words of the name."""

    charset: str | list[str]
    name: str
    parts: tuple[str, ...]
    number: int

    @property
    def patient_id(self) -> str:
        return f"PIDQX77{self.number}"

    @property
    def accession(self) -> str:
        return f"ACCQX88{self.number}"

    @property
    def birth_date(self) -> str:
        return f"194{self.number}0713"

    @property
    def words(self) -> tuple[str, ...]:
        """What a log must not have."""
        year = self.birth_date[:4]
        dates = (self.birth_date, f"{year}-07-13", f"13.07.{year}")
        return (*self.parts, self.patient_id, self.accession, *dates)


PATIENTS = (
    Patient("ISO_IR 100", "Zyxgård^Qwélyn", ("Zyxg", "gård", "Qwélyn"), 1),
    Patient(["", "ISO 2022 IR 87"], "Yamadaqx^Taro=山田^太郎", ("Yamadaqx", "山田", "太郎"), 2),
    Patient("ISO_IR 192", "Ξενοφωνq^Ωρ", ("Ξενοφωνq",), 3),
    Patient("GB18030", "Wangqx^XD=王^小东", ("Wangqx", "小东"), 4),
    Patient(["", "ISO 2022 IR 149"], "Hongqx^GD=洪^吉洞", ("Hongqx", "吉洞"), 5),
    Patient("ISO_IR 127", "قباني^لنزار", ("قباني",), 6),
)
ENCODINGS = ("utf-8", "latin-1", "iso2022_jp", "shift_jis", "gb18030", "euc_kr", "iso8859_6")


def forms(word: str) -> Iterator[bytes]:
    """Yield each way in which a log may show a word: encoded, escaped, quoted for a URL."""
    escaped = word.encode("unicode_escape")
    yield from (escaped, escaped.upper(), quote(word).encode())
    yield word.encode("ascii", "backslashreplace")
    for encoding in ENCODINGS:
        try:
            raw = word.encode(encoding)
        except UnicodeEncodeError:
            continue
        yield raw
        yield repr(raw)[2:-1].encode()
        yield raw.decode("latin-1").encode()  # decoded as what it is not


def found_in(log: bytes, patients: tuple[Patient, ...] = PATIENTS) -> list[str]:
    """Return the words of the patients that stand in a log."""
    words = {word for patient in patients for word in patient.words}
    lower = log.lower()
    return sorted(w for w in words if any(form.lower() in lower for form in forms(w)))


def images(patient: Patient, number: int = 3) -> list[Dataset]:
    """Return some images of a study of the patient."""
    study, series = generate_uid(), generate_uid()
    made = HEAD.build()[:number]
    for ds in made:
        ds.SpecificCharacterSet = patient.charset
        ds.PatientName = ds.ReferringPhysicianName = ds.OtherPatientNames = patient.name
        ds.PatientID = ds.OtherPatientIDs = patient.patient_id
        ds.AccessionNumber, ds.PatientBirthDate = patient.accession, patient.birth_date
        ds.StudyID, ds.PatientAddress = patient.accession, patient.parts[0]
        ds.StudyDescription = ds.SeriesDescription = f"Head of {patient.parts[0]}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = generate_uid()
    return made


FIELDS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "StudyDate"),
    *("StudyTime", "PatientBirthDate", "PatientID", "InstanceNumber", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "AcquisitionDate", "Modality"),
    *("SeriesNumber", "SliceThickness", "PatientAge", "KVP", "AcquisitionNumber", "ImageType"),
    *("SpecificCharacterSet", "FrameOfReferenceUID", "WindowCenter", "ConvolutionKernel"),
)
"""Attributes in whose place a broken sender may put a patient."""


def bad_objects(patient: Patient) -> list[bytes]:
    """Return objects that hold the patient where no patient belongs, or that are damaged."""
    found = []
    for keyword in FIELDS:
        (ds,) = images(patient, 1)
        for text in (patient.patient_id, patient.parts[0]):
            found.append(_implicit(ds, keyword, text))
    whole = encoded(images(patient, 1)[0])
    found += [whole[:cut] for cut in (200, 600, 900, 1200, len(whole) - 1000)]
    randomly = random.Random(patient.number)
    for _ in range(20):
        at = randomly.randrange(132, 1500)
        found.append(whole[:at] + bytes([randomly.randrange(256)]) + whole[at + 1 :])
    found.append(patient.patient_id.encode() * 50)
    found.append(b"\0" * 128 + b"DICM" + patient.patient_id.encode() * 50)
    return found


def _implicit(ds: Dataset, keyword: str, text: str) -> bytes:
    """Return an object whose attribute is any text: Implicit VR names no VR that would fit."""
    copied = dcmread(BytesIO(encoded(ds)))
    copied.remove_private_tags()
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a character set that is none
        tag = Dataset()
        setattr(tag, keyword, None)
        (element,) = tag
        copied[element.tag] = DataElement(element.tag, "UT", text)
        copied.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        out = BytesIO()
        dcmwrite(out, copied, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return out.getvalue()
