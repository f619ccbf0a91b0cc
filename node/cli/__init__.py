"""The command line: one file a group of commands; each parses and calls."""

from node.cli.app import app

__all__ = ["app"]
