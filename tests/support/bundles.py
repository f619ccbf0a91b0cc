"""Bundles that differ from the shipped one, or that are nothing but a name."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from models.bundle import METADATA, SUMS


def named(folder: Path, name: str, version: str) -> Path:
    """Write a bundle that has a name and nothing to read with."""
    (folder / METADATA).parent.mkdir(parents=True)
    (folder / METADATA).write_text(json.dumps({"name": name, "version": version}))
    (folder / SUMS).write_text(f"{_digest(folder / METADATA)}  {METADATA}\n")
    return folder


def another(bundle: Path, folder: Path, version: str, **reader: Any) -> Path:
    """Write the same networks under another version, with other settings of the reader."""
    shutil.copytree(bundle, folder, copy_function=os.link)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["version"] = version
    metadata["reader"] |= reader
    for path, text in (
        (METADATA, json.dumps(metadata)),
        (SUMS, (bundle / SUMS).read_text()),
    ):
        (folder / path).unlink()
        (folder / path).write_text(text)
    lines = (folder / SUMS).read_text().splitlines()
    sealed = [
        f"{_digest(folder / METADATA)}  {METADATA}" if line.endswith(METADATA) else line
        for line in lines
    ]
    (folder / SUMS).write_text("\n".join(sealed) + "\n")
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
