"""A second proof of the same studies, which another bundle can read.

Pseudonyms follow from a proof's key, so the second shares the first's: else no study of the one is
known in the other. Its outcomes and images are its own. So are its sample and its decisions: people
were asked by what the first bundle said, so that their answers are no random sample of what the
second bundle says; a comparison takes the decisions of both.
"""

import os
import shutil

from node.archive.proof import Proof
from node.disk import make_private
from node.errors import BadConfiguration, Permanent


def begin_again(old: Proof, new: Proof) -> list[str]:
    """Leave a whole second proof, in which nothing was read yet, or none; return what it has.

    Raises
    ------
    BadConfiguration
        If the first is no proof, has no catalogue, or the second folder is not empty.
    Permanent
        If it cannot be written.
    """
    old.pseudonyms()
    if not old.catalogue.exists():
        raise BadConfiguration(f"{old.root} has no catalogue: run `ichnode archive find` first")
    if new.root.exists() and (not new.root.is_dir() or any(new.root.iterdir())):
        raise BadConfiguration(f"{new.root} is there already: name a new folder")
    unfinished = new.root.with_name(f".{new.root.name}.{os.getpid()}")
    files = [file for file in (old.catalogue, old.limits) if file.exists()]
    try:
        make_private(unfinished, "NEW")
        shutil.copytree(
            old.secret, unfinished / "secret", ignore=shutil.ignore_patterns("*.lock", "*.partial")
        )
        for file in files:
            shutil.copy2(file, unfinished)
        unfinished.replace(new.root)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise Permanent(f"{new.root} cannot be written: {error}") from error
    return ["secret", *(file.name for file in files)]
