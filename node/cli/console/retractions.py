"""What is withdrawn of a study, in lines."""

from collections.abc import Iterator

from node.worklist import Retraction, Taken


def told(done: Retraction) -> Iterator[str]:
    """Yield what was withdrawn, or would be; what was withdrawn before, where that is all."""
    for one in done.taken:
        yield _taken(one)
    if not done.taken:
        yield from (f"withdrawn already: {one}" for one in done.before)


def _taken(one: Taken) -> str:
    withdrawn = "is withdrawn by case" if one.by_case else "would be withdrawn"
    number = f" {one.by_case}" if one.by_case else ""
    has = f"; what it sent is at {', '.join(one.told)}" if one.told else "; it reached nobody"
    left = f"; {one.waiting} parcels had not left" if one.waiting else ""
    purged = f"; {one.shown.purged}" if one.shown.purged else ""
    return f"case {one.shown.case_id} ({one.shown.priority}) {withdrawn}{number}{has}{left}{purged}"
