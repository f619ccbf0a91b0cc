"""A table as it is published: cells with interval and p value, in Markdown and in JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any, Self

NOTICE = "Research use only. Not a medical device."


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a table; an empty one reads "no case".

    Attributes
    ----------
    value
        The figure, or a count; None where no case can give it.
    interval
        Its 95 % interval.
    p
        Of its difference from the table's reference, adjusted by Holm's rule.
    paper
        What the paper has here, as printed there.
    """

    value: float | int | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    paper: str | None = None

    @classmethod
    def of(cls, value: float, bounds: Sequence[float] | None = None) -> Self:
        """Return the cell of a figure: NaN is no case, and bounds that do not differ no interval.

        Parameters
        ----------
        bounds
            Low and high; NaN where no draw could give the figure.
        """
        if isnan(value):
            return cls()
        if bounds is None or any(map(isnan, bounds)) or bounds[0] == bounds[1]:
            return cls(float(value))
        return cls(float(value), (float(bounds[0]), float(bounds[1])))

    def text(self, digits: int) -> str:
        """What stands in the Markdown table."""
        if self.value is None:
            parts = ["no case"]
        elif isinstance(self.value, int):
            parts = [str(self.value)]
        else:
            parts = [f"{self.value:.{digits}f}"]
        if self.interval:
            parts[0] += " ({:.{d}f} to {:.{d}f})".format(*self.interval, d=digits)
        if self.p is not None:
            parts.append("p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}")
        if self.paper:
            parts.append(f"paper {self.paper}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is published.

    Attributes
    ----------
    name
        Stem of its files, such as "kang-t2".
    title
        Which table of which paper it is, and of what.
    data
        The data set and split, such as "phantom" or "PhysioNet CT-ICH, patient-level test".
    columns
        Headers, that of the row names first.
    rows
        The cells by row name, in order.
    notes
        What a reader must know to judge it: counts, tests, errors of the paper.
    digits
        Decimals of its figures.

    Raises
    ------
    ValueError
        A row has not one cell for each column.
    """

    name: str
    title: str
    data: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    notes: tuple[str, ...] = ()
    digits: int = 3

    def __post_init__(self) -> None:
        for row, cells in self.rows.items():
            if len(cells) != len(self.columns) - 1:
                raise ValueError(f"row {row!r}: {len(cells)} cells under {self.columns[1:]}")

    def markdown(self) -> str:
        """Return the table with its data set in the header and its notes below."""
        cells = grid(
            self.columns,
            ([name, *(cell.text(self.digits) for cell in row)] for name, row in self.rows.items()),
        )
        notes = "\n".join(f"- {note}" for note in (*self.notes, NOTICE))
        return f"## {self.title}\n\nData: **{self.data}**\n\n{cells}\n\n{notes}\n"

    def to_json(self) -> str:
        """Return the same for machines; what is missing is null."""
        return json.dumps(asdict(self) | {"notice": NOTICE}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        del values["notice"]
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the table whose fields these are, as JSON keeps them."""
        rows = {
            name: tuple(
                Cell(**cell | {"interval": tuple(cell["interval"]) if cell["interval"] else None})
                for cell in cells
            )
            for name, cells in values["rows"].items()
        }
        lists = {key: tuple(values[key]) for key in ("columns", "notes")}
        return cls(**{**values, **lists, "rows": rows})

    def write(self, folder: Path) -> None:
        """Write name.md and name.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(self.markdown())
        (folder / f"{self.name}.json").write_text(self.to_json())


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return cells of text under their headers as a Markdown table."""
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
