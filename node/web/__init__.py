"""The triage page: on loopback, or with accounts and over HTTPS."""

from node.web.app import app
from node.web.pictures import Pictures
from node.web.server import require_closed, serve_page

__all__ = ["Pictures", "app", "require_closed", "serve_page"]
