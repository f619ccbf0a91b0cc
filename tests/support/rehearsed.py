"""Reads a bleeding head as it is imported: what is forked afterwards reports at once.

The first report of a process loads the tables of DICOM and the writers of images, which takes
three times as long as the report.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from node.settings import Settings
from tests.support.working import Clock, Predictor, receive, work, working_node

with TemporaryDirectory() as _folder:
    _settings, _clock = Settings(data_dir=Path(_folder) / "data", database_url=""), Clock()
    with working_node(_settings, _clock, Predictor()) as _node:
        receive(_node)
        work(_node, _clock)
