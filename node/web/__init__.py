"""The triage page: on loopback unless a proxy with a login stands before it."""

from node.web.app import app
from node.web.pictures import Pictures
from node.web.server import serve_page

__all__ = ["Pictures", "app", "serve_page"]
