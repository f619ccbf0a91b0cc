"""A codec that crashes, hangs or eats memory costs one answer."""

import os
import time
from collections.abc import Iterator

import pytest

from node.dicom.archive.apart import Apart
from node.errors import BadObject
from node.settings import Decode


@pytest.fixture
def apart() -> Iterator[Apart]:
    found = Apart(Decode(timeout_s=1.0, memory_mb=64))
    yield found
    found.close()


def refuse(why: str) -> None:
    raise BadObject(why)


def test_a_fault_costs_its_call_and_no_other(apart: Apart) -> None:
    assert apart.run(os.getpid) != os.getpid()
    for function, *arguments in ((os.abort,), (time.sleep, 30), (bytes, 1 << 28)):
        with pytest.raises(BadObject, match="decoding the pixels"):
            apart.run(function, *arguments)
        assert apart.run(len, "abc") == 3
    with pytest.raises(BadObject, match="^this one$"):
        apart.run(refuse, "this one")
