"""`python -m node.cli` is `ichnode`."""

import sys

from node.cli import app

sys.exit(app())
