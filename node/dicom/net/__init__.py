"""DICOM over the network: incoming and outgoing associations, and DICOMweb."""
