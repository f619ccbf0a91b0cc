"""The command line: `app` has every command; each command parses its arguments and calls."""

from node.cli.app import app

__all__ = ["app"]
