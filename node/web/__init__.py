"""The triage page, on loopback or with accounts and over HTTPS; DICOMweb; the adjudication page."""

from node.web.adjudication import serve_desk
from node.web.app import app
from node.web.dicomweb import dicomweb_service
from node.web.pictures import Pictures
from node.web.server import require_closed, serve_page

__all__ = ["Pictures", "app", "dicomweb_service", "require_closed", "serve_desk", "serve_page"]
