"""DICOM as the node reads, sends and writes it."""
