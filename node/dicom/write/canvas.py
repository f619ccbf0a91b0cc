"""What every picture of the node has: its size, its research-use notice, and where words stand.

Viewers write names and dates into the corners of a picture. So its corners stay black: all words
stand in the middle, above and below the slices, or on them.
"""

from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from node.wording import AMBER, RESEARCH_USE_ONLY

SIZE = (1280, 1000)
BLACK, WHITE, GREY = (0, 0, 0), (255, 255, 255), (170, 170, 170)

WORDS = (290, 990)
"""Left and right end of the words, in pixels. An estimate: viewers differ, nothing was measured."""
BANNER = (WORDS[0], 0, WORDS[1], 36)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a black picture with the research-use notice, and a pen to draw on it."""
    picture = Image.new("RGB", SIZE, BLACK)
    pen = ImageDraw.Draw(picture)
    pen.rectangle(BANNER, fill=AMBER)
    pen.text((SIZE[0] // 2, BANNER[3] // 2 + 1), RESEARCH_USE_ONLY, BLACK, font(22), "mm")
    return picture, pen


def centred(
    pen: ImageDraw.ImageDraw,
    top: int,
    text: str,
    size: int,
    colour: tuple[int, int, int] = WHITE,
) -> int:
    """Write a text in the middle, on as many lines as it takes; return where it ends, in pixels."""
    for line in folded(text, size):
        pen.text((SIZE[0] // 2, top), line, colour, font(size), "mt")
        top += line_height(size)
    return top


def folded(text: str, size: int) -> list[str]:
    """Return the text in lines that fit between the ends of `WORDS`."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font(size).getlength(longer) > WORDS[1] - WORDS[0]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def small_print(pen: ImageDraw.ImageDraw, notes: Sequence[str], top: int, size: int = 15) -> None:
    """Write notes from `top` to the lower edge; what does not fit is left to the report."""
    lines = [line for note in notes for line in folded(note, size)]
    most = (SIZE[1] - top) // line_height(size)
    if len(lines) > most:
        lines = [*lines[: most - 1], "... further limitations stand in the report."]
    for line in lines:
        top = centred(pen, top, line, size, GREY)


def warning_sign(pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
    """Draw the sign of a suspicion: a triangle with an exclamation mark, 36 pixels wide."""
    pen.polygon([(left, top + 34), (left + 18, top), (left + 36, top + 34)], fill=AMBER)
    pen.text((left + 18, top + 33), "!", BLACK, font(26), "ms")


def line_height(size: int) -> int:
    """Return the distance of lines of a font size, in pixels."""
    return round(1.3 * size)


@cache
def font(size: int) -> Font:
    """Return Pillow's own font in a size, which is the same on every machine."""
    return ImageFont.load_default(size=size)
