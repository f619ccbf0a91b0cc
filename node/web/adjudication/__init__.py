"""The page on which one person adjudicates studies of a proof: on this machine alone."""

from node.web.adjudication.pages import adjudication_app
from node.web.adjudication.serving import serve_desk

__all__ = ["adjudication_app", "serve_desk"]
