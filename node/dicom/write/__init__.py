"""DICOM objects as the node writes them: SEG, structured report, capture."""
