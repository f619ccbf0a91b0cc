"""The readers: everything between a Hounsfield volume and its findings. No DICOM, no network."""
