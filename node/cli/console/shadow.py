"""The shadow on the terminal."""

from collections.abc import Iterator

from node.shadow.standing import Standing
from node.wording import Flip
from node.worklist import Release, ShadowResult


def lines(found: Standing) -> Iterator[str]:
    """Yield how the shadow stands, line by line."""
    yield f"live: {found.live or 'none: see `ichnode doctor`'}"
    for one in found.decided:
        yield _decision(one)
    if found.trouble:
        yield found.trouble
        return
    if found.is_live:
        yield "shadow.bundle is what reads live: set shadow.on = false, or name the next one"
        return
    if found.other is None:
        yield "nothing reads in shadow: set shadow.bundle and shadow.on"
        return
    yield f"in shadow: {found.other}{'' if found.on else ' (shadow.on is not set)'}"
    yield f"read {found.read} of {found.wanted} studies: {_state(found)}"
    yield from _compared(found)


def _state(found: Standing) -> str:
    if found.is_done:
        return "done; see `ichnode shadow report`, then promote it or set shadow.on = false"
    if not found.on:
        return "it is off"
    if found.waiting:
        return f"{found.waiting} live cases go first"
    return "it reads what is reported from now on"


def _compared(found: Standing) -> Iterator[str]:
    if not found.results:
        return
    yield f"both analysed {found.analysed} cases, and say the same of {found.agree}"
    for flip in Flip:
        if found.flips.get(flip):
            yield f"{flip}: {found.flips[flip]}"
    for result in (ShadowResult.FAILED, ShadowResult.KILLED, ShadowResult.PURGED):
        if found.results.get(result):
            yield f"{result.lower()} in shadow: {found.results[result]}"
    live, other = (f"{s:.1f} s" if s is not None else "unknown" for s in found.seconds)
    yield f"a reading takes {live} live, {other} in shadow (medians)"


def _decision(one: Release) -> str:
    at = f"{one.at.astimezone():%Y-%m-%d %H:%M}"
    return f"{at} {one.what.words}: {one.bundle}, by {one.who}: {one.why}"
