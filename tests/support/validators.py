"""Independent judges of what the node writes: dciodvfy and PixelMed's SR validator."""

import re
import subprocess
from pathlib import Path

from pydicom import dcmread

from tests.conftest import require, require_program

PIXELMED = Path("/usr/share/java/pixelmed.jar")

# Java 17 limits XPath expressions, which the validator's style sheets exceed.
JAVA = (
    "java",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-Djdk.xml.xpathExprGrpLimit=0",
)

PROCEDURE_GAP = 'Code (303653007,SCT,"Computed tomography of head") not found in context group 100'
"""CID 100 is extensible (PS3.16), and of plain CT it names "unspecified body region" alone."""

GROUP_GAP = re.compile(
    r"Error: Template (?P<tid>1410|1411) .*\[Row (5|7|10)\].*: within (?P<path>[\d.]+): "
    r".*Missing conditional content item"
)
"""As soon as one measurement group is a planar (volumetric) one, the validator of 2022 asks all
groups for a region (a segment). Allowed where the group declares to be of another template."""


def dciodvfy_errors(path: Path) -> list[str]:
    """Return what dciodvfy calls an error in a DICOM file."""
    require_program("dciodvfy")
    run = subprocess.run(
        ["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (run.stdout + run.stderr).splitlines()
    assert lines, "dciodvfy names the object's kind, so silence means that it did not run"
    return [line for line in lines if line.startswith("Error")]


def sr_validator_errors(path: Path, template: str = "TID_1500") -> list[str]:
    """Return what PixelMed's DicomSRValidator calls an error, but for the two gaps named above."""
    require_program("java")
    require(PIXELMED.exists(), f"{PIXELMED} (libpixelmed-java)")
    run = subprocess.run(
        [
            *JAVA,
            *("-cp", PIXELMED, "com.pixelmed.validate.DicomSRValidator"),
            *("-checktemplateid", "-checkcontentitemorder", path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    output = run.stdout + run.stderr
    assert "IOD validation complete" in output, output
    assert f"Found Root Template {template}" in output, output
    lines = [line for line in output.splitlines() if line.startswith("Error")]
    return [line for line in lines if PROCEDURE_GAP not in line and not _of_other_group(line, path)]


def _of_other_group(line: str, path: Path) -> bool:
    match = GROUP_GAP.fullmatch(line)
    if not match:
        return False
    item = dcmread(path)
    for number in match["path"].split(".")[1:]:
        item = item.ContentSequence[int(number) - 1]
    return bool(item.ContentTemplateSequence[0].TemplateIdentifier != match["tid"])
