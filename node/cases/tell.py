"""What becomes of news: it is left in the case's folder, and owed to whom the settings name."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from node.case_folder import CaseFolder, case_folder
from node.depot import depot_of
from node.errors import Outage
from node.news import News, What
from node.records import Parcel
from node.settings import Destination, Settings
from node.worklist import Tell


def teller(settings: Settings) -> Tell | None:
    """Return what writes and addresses news; None where nobody gets messages."""
    wanted = settings.deliver.messaged
    if not wanted:
        return None
    depot = depot_of(settings)

    def tell(said: News, may_know: frozenset[str]) -> Sequence[tuple[str, Parcel]]:
        folder = CaseFolder(depot.root, case_folder(said.case_id))
        try:
            folder.write_message(PurePosixPath(said.path).name, said.to_bytes())
        except OSError as error:
            raise Outage(f"cannot write to {folder.path}: {error.strerror}") from error
        depot.keep(said.path)
        return [(one.name, said.parcel(one.how)) for one in wanted if concerns(one, said, may_know)]

    return tell


def concerns(destination: Destination, said: News, may_know: frozenset[str]) -> bool:
    """Return whether a destination gets an news.

    A suspicion is taken back where it may be known, and nowhere else. So is what a person withdrew,
    whatever messages a destination asks for: it must not stand anywhere.
    """
    if said.withdrawn is not None:
        return destination.name in may_know
    if said.what is What.RETRACT:
        return destination.name in may_know and said.what.value in destination.events
    before = () if said.before is None else (said.before,)
    return destination.wants(said.what.value, (said.priority, *before), prior=said.prior)
