"""All coded concepts that the node writes, in one table.

A test compares them with pydicom's copy of the standard's dictionary (PS3.16). The subtypes are
SNOMED CT disorders that the dictionary does not list. The code of the intraventricular one could
not be confirmed, so two codes of the dictionary express it: "hemorrhage" (morphology) and "brain
ventricle" (site).

Some numbers have names of our own, since viewers show a number under its name alone: five numbers
that are all called "Probability" cannot be told apart.
"""

from dataclasses import dataclass

from pydicom.sr.coding import Code

from models.side import Side


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found and where: `Finding` and `Finding Site` of a measurement group; its number."""

    finding: Code
    site: Code
    probability: Code


OURS = "99ICHNODE"
"""Our coding scheme (PS3.16 8.2); a document that uses it says whose it is."""

MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
INTRACRANIAL_HEMORRHAGE = Code("1386000", "SCT", "Intracranial hemorrhage")
HEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
BRAIN = Code("12738006", "SCT", "Brain")
BRAIN_VENTRICLE = Code("35764002", "SCT", "Brain ventricle")

SUBTYPES = {
    "epidural": Finding(
        Code("82999001", "SCT", "Epidural hemorrhage"),
        BRAIN,
        Code("PROB_EDH", OURS, "Probability, epidural"),
    ),
    "intraparenchymal": Finding(
        Code("274100004", "SCT", "Cerebral hemorrhage"),
        BRAIN,
        Code("PROB_IPH", OURS, "Probability, intraparenchymal"),
    ),
    "intraventricular": Finding(
        HEMORRHAGE,
        BRAIN_VENTRICLE,
        Code("PROB_IVH", OURS, "Probability, intraventricular"),
    ),
    "subarachnoid": Finding(
        Code("21454007", "SCT", "Subarachnoid hemorrhage"),
        BRAIN,
        Code("PROB_SAH", OURS, "Probability, subarachnoid"),
    ),
    "subdural": Finding(
        Code("35486000", "SCT", "Subdural hemorrhage"),
        BRAIN,
        Code("PROB_SDH", OURS, "Probability, subdural"),
    ),
}
"""One entry for each of `models.findings.SUBTYPES`."""

IMAGES_NOT_ANALYSED = Code("N_NOT_ANALYSED", OURS, "NOT ANALYSED, read as usual; images received")
SLICES_IN_PART = Code("N_READ_IN_PART", OURS, "READ IN PART, not a negative; slices seen")

SIDES = {
    Side.LEFT: Code("7771000", "SCT", "Left"),
    Side.RIGHT: Code("24028007", "SCT", "Right"),
    Side.BOTH: Code("51440002", "SCT", "Bilateral"),
}
"""CID 244; it has no code for a lesion in the middle, which is told in words alone."""

SUSPECTED = Code("415684004", "SCT", "Suspected")
NOT_SUSPECTED = Code("428263003", "SCT", "NOT suspected")

CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
UNCERTAIN = Code("64957009", "SCT", "Uncertain")

PRIORITY = Code("260870009", "SCT", "Priority")
ACTIONABLE_WITHIN_MINUTES = Code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding")
"""CID 7035; category 1 is to be communicated within minutes (doi 10.1016/j.jacr.2013.12.016)."""

SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
SUCCEEDED = Code("111222", "DCM", "Succeeded")
PARTIALLY_SUCCEEDED = Code("111223", "DCM", "Partially Succeeded")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")

MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
CONCLUSION = Code("121077", "DCM", "Conclusion")
COMMENT = Code("121106", "DCM", "Comment")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
CONCLUSIONS = Code("121076", "DCM", "Conclusions")
FINDINGS = Code("121070", "DCM", "Findings")
FINDING = Code("121071", "DCM", "Finding")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
REJECTED = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
"""CID 7011: the title of a rejection note. An archive that follows IHE's Imaging Object Change
Management (RAD TF-3, 4.66) may go on to show what was (113001, "Rejected for Quality Reasons"), and
must not show this."""
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
CT_OF_HEAD = Code("303653007", "SCT", "Computed tomography of head")

PROBABILITY = Code("122157", "DCM", "Probability")
VOLUME = Code("118565006", "SCT", "Volume")
NO_UNITS = Code("1", "UCUM", "no units")
MILLILITRE = Code("mL", "UCUM", "mL")
MILLIMETRE = Code("mm", "UCUM", "mm")
PIXELS = Code("{pixels}", "UCUM", "pixels")
IMAGES = Code("{images}", "UCUM", "images")
SLICES = Code("{slices}", "UCUM", "slices")

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")

IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
COMPUTED_TOMOGRAPHY = Code("CT", "DCM", "Computed Tomography")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
VERTICAL_PIXEL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
HORIZONTAL_PIXEL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
SLICE_THICKNESS = Code("112225", "DCM", "Slice Thickness")
