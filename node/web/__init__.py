"""The triage page: read-only, on loopback unless a proxy with a login stands before it."""

from node.web.page import app, serve_page

__all__ = ["app", "serve_page"]
