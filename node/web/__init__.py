"""The triage page: read-only, on loopback unless a proxy with a login stands before it."""

from node.web.app import app
from node.web.server import serve_page

__all__ = ["app", "serve_page"]
