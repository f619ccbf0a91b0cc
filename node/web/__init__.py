"""The triage page, read-only and on loopback unless a proxy stands before it; and DICOMweb."""

from node.web.app import app
from node.web.dicomweb import dicomweb_service
from node.web.server import serve_page

__all__ = ["app", "dicomweb_service", "serve_page"]
