"""The triage page, on loopback or with accounts and over HTTPS; and DICOMweb beside it."""

from node.web.app import app
from node.web.dicomweb import dicomweb_service
from node.web.pictures import Pictures
from node.web.server import require_closed, serve_page

__all__ = ["Pictures", "app", "dicomweb_service", "require_closed", "serve_page"]
