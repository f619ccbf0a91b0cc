"""WADO-RS (PS3.18 10.4): objects, metadata, frames, bulk data and pictures."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.arrive.spool import StoredBytes
from node.arrive.vouched import vouched
from node.depot import depot_of
from node.dicom.archive import frames as pixels
from node.dicom.archive.apart import Apart
from node.dicom.archive.frames import NoFrame
from node.dicom.archive.json_model import HERE, bulk_data
from node.dicom.archive.rendered import LARGEST, Wish, picture
from node.errors import BadObject
from node.settings import Settings
from node.web.dicomweb.answers import AS_STORED, Part, accepted, multipart
from node.web.dicomweb.metadata import Metadata
from node.worklist import Archive, ArchivedObject

P = ParamSpec("P")
T = TypeVar("T")

DICOM, OCTETS = "application/dicom", "application/octet-stream"
EXPLICIT = "1.2.840.10008.1.2.1"
"""Explicit VR Little Endian: what is sent unless a transfer syntax is asked for."""
THUMBNAIL = (128, 128)
MOST_FRAMES = 1000
"""How many frames one request gets; chosen."""


class Retrieval:
    """Answers retrievals; each method answers one kind of resource."""

    def __init__(self, settings: Settings, archive: Archive) -> None:
        self._archive = archive
        self._bytes = StoredBytes(depot_of(settings))
        self._metadata = Metadata(depot_of(settings))
        self._apart = Apart(settings.decode)

    def metadata(self, uids: dict[str, str], base: str) -> str:
        """Return the metadata of the objects of a resource as JSON."""
        found = self._objects(uids)
        try:
            said = self._metadata.of(found, one="instance" in uids)
        except (OSError, BadObject) as error:
            raise HTTPException(500, f"an object cannot be read any more: {_why(error)}") from error
        return said.replace(f'"BulkDataURI": "{HERE}', f'"BulkDataURI": "{base}')

    def objects(self, request: Request, uids: dict[str, str]) -> Response:
        """Return the objects of a resource, each as stored or in Explicit VR Little Endian."""
        found = self._objects(uids)
        for each in accepted(request.headers.get("accept", "")):
            if each.media_type not in (DICOM, "application/*", "*/*"):
                continue
            syntax = each.transfer_syntax or EXPLICIT
            if syntax not in (EXPLICIT, AS_STORED, *{one.transfer_syntax_uid for one in found}):
                continue
            if not all(syntax in (EXPLICIT, AS_STORED, o.transfer_syntax_uid) for o in found):
                continue
            if len(found) == 1 and not each.multipart and each.media_type == DICOM:
                return self._single(found[0], syntax)
            for one in found:
                self._require(one)
            parts = (self._part(one, syntax) for one in found)
            return multipart(self._begun(parts), DICOM)
        _refuse(
            'Accept: multipart/related; type="application/dicom", with transfer-syntax=* for '
            f"objects as they are stored, or {EXPLICIT}"
        )

    def frames(self, request: Request, uids: dict[str, str]) -> Response:
        """Return frames: uncompressed, or as stored where any transfer syntax is accepted."""
        (found,) = self._objects(uids)
        numbers = _numbers(uids["frames"])
        stored = found.transfer_syntax_uid
        for each in accepted(request.headers.get("accept", "")):
            syntax = each.transfer_syntax or EXPLICIT
            compressed = pixels.is_compressed(stored) and syntax in (AS_STORED, stored)
            media = pixels.media_type_of(stored) if compressed else OCTETS
            if each.media_type not in (media, OCTETS, f"{media.partition('/')[0]}/*", "*/*"):
                continue
            if syntax not in (EXPLICIT, AS_STORED, stored):
                continue
            answer = self._frames(found, numbers, as_stored=compressed)
            kind = f"{answer.media_type}; transfer-syntax={answer.transfer_syntax_uid}"
            if not each.multipart and len(answer.frames) == 1 and "*" not in each.media_type:
                return Response(answer.frames[0], headers={"Content-Type": kind})
            return multipart((Part(kind, frame) for frame in answer.frames), answer.media_type)
        _refuse(f'Accept: multipart/related; type="{OCTETS}", with transfer-syntax=* as stored')

    def bulk_data(self, request: Request, uids: dict[str, str]) -> Response:
        """Return the value of a binary element."""
        (found,) = self._objects(uids)
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", uids["tag"]):
            raise HTTPException(400, "the tag in the path is not eight hex digits")
        self._require(found)
        value = bulk_data(self._bytes.locate(found.path), int(uids["tag"], 16))
        if value is None:
            raise HTTPException(404, "the object has no bulk data of this tag")
        wanted = accepted(request.headers.get("accept", ""))
        single = bool(wanted) and not wanted[0].multipart and wanted[0].media_type == OCTETS
        if single:
            return Response(value, media_type=OCTETS)
        return multipart([Part(OCTETS, value)], OCTETS)

    def rendered(self, request: Request, uids: dict[str, str]) -> Response:
        """Return pictures of a resource: one of an instance or frame, several of what is above."""
        wish = _wish(request, None)
        found = self._objects(uids)
        if "instance" in uids:
            return self._picture(found[0], _numbers(uids.get("frames", "1"))[0], wish)
        shown = [one for one in found if _is_image(one)]
        parts = (Part(wish.media_type, self._draw(one, 1, wish)) for one in shown)
        if not shown:
            raise HTTPException(404, "there is no image")
        return multipart(self._begun(parts), wish.media_type)

    def thumbnail(self, request: Request, uids: dict[str, str]) -> Response:
        """Return a small picture: of the image in the middle of a study or series."""
        wish = _wish(request, THUMBNAIL)
        images = [one for one in self._objects(uids) if _is_image(one)]
        if not images:
            raise HTTPException(404, "there is no image")
        frame = _numbers(uids.get("frames", "1"))[0]
        return self._picture(images[len(images) // 2], frame, wish)

    def _objects(self, uids: dict[str, str]) -> list[ArchivedObject]:
        chosen = [[uids[name]] if name in uids else [] for name in ("study", "series", "instance")]
        found = self._archive.stored(*chosen)
        going = vouched(found, self._archive, self._bytes)
        if not going:
            withheld = "; a result is withheld, see the node's log" if found else ""
            raise HTTPException(404, f"the node holds nothing of these UIDs{withheld}")
        return going

    def _single(self, found: ArchivedObject, syntax: str) -> Response:
        part = self._part(found, syntax)
        return Response(part.content, headers={"Content-Type": part.content_type})

    def _part(self, found: ArchivedObject, syntax: str) -> Part:
        file, stored = self._file(found), found.transfer_syntax_uid
        if syntax == EXPLICIT and stored != EXPLICIT:
            try:
                file = self._decode(found, pixels.uncompressed, file)
            except BadObject as error:
                raise HTTPException(406, f"{error}: accept transfer-syntax=*") from error
            stored = EXPLICIT
        return Part(f"{DICOM}; transfer-syntax={stored}", file)

    def _frames(
        self, found: ArchivedObject, numbers: list[int], *, as_stored: bool
    ) -> pixels.Frames:
        file = self._file(found)
        try:
            if as_stored:
                return pixels.frames_as_stored(file, numbers)
            return self._decode(found, pixels.frames_uncompressed, file, numbers)
        except NoFrame as error:
            raise HTTPException(404, str(error)) from error
        except BadObject as error:
            raise HTTPException(406, str(error)) from error

    def _picture(self, found: ArchivedObject, frame: int, wish: Wish) -> Response:
        return Response(self._draw(found, frame, wish), media_type=wish.media_type)

    def _draw(self, found: ArchivedObject, frame: int, wish: Wish) -> bytes:
        try:
            return self._decode(found, picture, self._file(found), frame, wish)
        except NoFrame as error:
            raise HTTPException(404, str(error)) from error
        except BadObject as error:
            raise HTTPException(406, str(error)) from error

    def _decode(
        self,
        found: ArchivedObject,
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what the function returns: apart, if it runs a codec on these pixels."""
        if pixels.is_compressed(found.transfer_syntax_uid):
            return self._apart.run(function, *args, **kwargs)
        return function(*args, **kwargs)

    def _begun(self, parts: Iterator[Part]) -> Iterator[Part]:
        """Return the same parts, the first of them made: it may raise before an answer begins."""
        first = next(parts)

        def rest() -> Iterator[Part]:
            yield first
            yield from parts

        return rest()

    def _require(self, found: ArchivedObject) -> Path:
        path = self._bytes.locate(found.path)
        if not path.is_file():
            raise HTTPException(500, "an object is on disk no more; send it again")
        return path

    def _file(self, found: ArchivedObject) -> bytes:
        """Return the bytes of an object, which must be those that were filed."""
        file = self._require(found).read_bytes()
        if hashlib.sha256(file).hexdigest() != found.sha256:
            raise HTTPException(500, "an object changed on disk; it is not sent")
        return file


def _is_image(found: ArchivedObject) -> bool:
    return bool(found.rows)


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"\d{1,6}(,\d{1,6})*", text) or text.count(",") >= MOST_FRAMES:
        raise HTTPException(400, f"the frames in the path are not up to {MOST_FRAMES} numbers")
    return [int(number) for number in text.split(",")]


def _wish(request: Request, size: tuple[int, int] | None) -> Wish:
    """Return how pictures are wanted, by the Accept header and the query (PS3.18 8.3.5)."""
    types = [each.media_type for each in accepted(request.headers.get("accept", ""))]
    known = {"image/jpeg": "image/jpeg", "image/png": "image/png", "image/*": "image/jpeg"}
    media = next((known[t] for t in types if t in known), None)
    if media is None:
        if "*/*" not in types:
            _refuse("Accept: image/jpeg or image/png")
        media = "image/jpeg"
    try:
        query = request.query_params
        window = _window(query.get("window", ""))
        viewport = _viewport(query.get("viewport", "")) or size
        quality = int(query.get("quality", "90"))
    except ValueError:
        raise HTTPException(400, "window=CENTER,WIDTH,linear; viewport=WIDTH,HEIGHT") from None
    if not 1 <= quality <= 100:
        raise HTTPException(400, "quality is 1 to 100")
    return Wish(media, window, viewport, quality)


def _window(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    center, width, *function = text.split(",")
    if [name.lower() for name in function] not in ([], ["linear"]) or not float(width) >= 1:
        raise ValueError("no linear window")
    if not abs(float(center)) < 1e9 or not float(width) < 1e9:
        raise ValueError("no finite window")
    return float(center), float(width)


def _viewport(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    width, height, *region = text.split(",")
    if region or not (0 < int(width) <= LARGEST and 0 < int(height) <= LARGEST):
        raise ValueError("no viewport")
    return int(width), int(height)


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else str(error)


def _refuse(offered: str) -> NoReturn:
    raise HTTPException(406, f"not offered in this form; {offered}")
