"""DICOM over the network: associations that come in and go out, and DICOMweb."""
