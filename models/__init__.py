"""The detector: all steps from a Hounsfield volume to its findings. No DICOM, no sockets."""
