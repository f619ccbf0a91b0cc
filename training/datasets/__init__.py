"""Public head CT data sets, loaded case by case, and the writer of CT series."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.datasets.case import DataSet

KINDS = {
    "physionet": ("physionet", "open_jpg"),
    "physionet-nifti": ("nifti", "open_physionet"),
    "rsna": ("rsna", "open_rsna"),
    "cq500": ("cq500", "open_cq500"),
    "bhsd": ("nifti", "open_bhsd"),
    "instance": ("nifti", "open_instance"),
    "near_east": ("near_east", "open_near_east"),
    "phe_sich": ("phe_sich", "open_phe_sich"),
    "adapter": ("adapter", "open_adapter"),
}
"""The module and the function that open each kind; imported when asked for, as they are large."""


def open_dataset(kind: str, root: Path, **options: Any) -> "DataSet":
    """Open the data set of this kind at `root`.

    Parameters
    ----------
    kind
        One of `KINDS`.
    root
        The folder that the data set was unpacked into.
    options
        For "rsna" and "cq500" `cache`, the file that keeps the index of DICOM headers; for "cq500"
        also `series`; for "adapter" `mapping`. See the functions in `KINDS`.

    Raises
    ------
    ValueError
        If there is no such kind.
    FileNotFoundError
        If the data set's table or folder of images is not at `root`.
    """
    if kind not in KINDS:
        raise ValueError(f"no data set {kind!r}; there are {', '.join(KINDS)}")
    module, function = KINDS[kind]
    opened: DataSet = getattr(import_module(f"{__name__}.{module}"), function)(root, **options)
    return opened
