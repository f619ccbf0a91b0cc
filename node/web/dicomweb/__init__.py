"""DICOMweb (PS3.18): QIDO-RS, WADO-RS and STOW-RS on the port of the page, under `/dicom-web`.

Callers show bearer tokens. Cookies are not looked at, so that no page elsewhere can use a
browser's login here.
"""

from node.web.dicomweb.service import dicomweb_service

__all__ = ["dicomweb_service"]
