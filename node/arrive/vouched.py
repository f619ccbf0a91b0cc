"""Which objects of the archive may leave: a result goes only while it is its patient's.

Deliveries have the same check (`node.deliver.channels.dicom`). Until a report is made anew under
the identity that its images have now, it stays here.
"""

import logging
from collections.abc import Sequence

from node.arrive.spool import StoredBytes
from node.dicom.read.identity import strange_in
from node.errors import BadObject
from node.identity import Identity
from node.log import event
from node.worklist import Archive, ArchivedObject

logger = logging.getLogger(__name__)


def vouched(
    found: Sequence[ArchivedObject], archive: Archive, stored_bytes: StoredBytes
) -> list[ArchivedObject]:
    """Return the objects that may leave, in their order: all that were received, and results.

    A result names the patient and study whose the images are now.
    """
    sources = {one.case_id: archive.identities(one.case_id) for one in found if one.case_id}
    return [
        one
        for one in found
        if one.case_id is None or _is_of(one, sources[one.case_id], stored_bytes)
    ]


def _is_of(one: ArchivedObject, sources: frozenset[Identity], stored_bytes: StoredBytes) -> bool:
    try:
        other = strange_in(stored_bytes.locate(one.path), one.sop_instance_uid, sources)
    except BadObject:
        return True  # gone or damaged, which is said where its bytes are read
    if not other:
        return True
    words = "a result is not that of the images in the worklist any more: replay it from assemble"
    logger.warning("withheld: %s", words, extra=event("withheld", case=one.case_id))
    return False
