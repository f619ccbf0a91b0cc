"""DICOM objects as the node writes them: SEG, structured and plain report, capture."""
