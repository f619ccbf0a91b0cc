"""DICOM objects as the node reads them: headers, geometry, pixels, media."""
