"""Tables: what their Markdown and JSON say, and cells of figures that no case gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.metrics.tables import Cell, Table, grid

TABLE = Table(
    "t",
    "A table",
    "phantom",
    ("network", "AUC", "cases"),
    {"mine": (Cell(0.9124, (0.88, 0.941), 0.0312, "0.953"), Cell(12)), "none": (Cell(), Cell(0))},
    ("A note.",),
)


def test_markdown_holds_value_interval_p_and_the_papers_value_and_names_the_data() -> None:
    text = TABLE.markdown()
    assert "| mine | 0.912 (0.880 to 0.941); p = 0.031; paper 0.953 | 12 |" in text
    assert "| none | no case | 0 |" in text
    assert "Data: **phantom**" in text
    assert "A note." in text
    assert "Research use only" in text


def test_a_table_comes_back_from_the_files_it_writes(tmp_path: Path) -> None:
    TABLE.write(tmp_path)
    assert Table.from_json((tmp_path / "t.json").read_text()) == TABLE
    assert (tmp_path / "t.md").read_text() == TABLE.markdown()
    assert "Research use only" in json.loads((tmp_path / "t.json").read_text())["notice"]


def test_a_row_without_a_cell_for_each_column_is_no_table() -> None:
    with pytest.raises(ValueError, match="1 cells"):
        replace(TABLE, rows={"mine": (Cell(1.0),)})


def test_a_figure_that_is_unknown_is_no_case_and_unknown_bounds_are_no_interval() -> None:
    assert Cell.of(np.nan, (0.1, 0.2)) == Cell()
    assert Cell.of(np.float64(0.5), (np.nan, np.nan)) == Cell(0.5)
    assert Cell.of(0.5, (0.5, 0.5)) == Cell(0.5), "an interval of no width would claim certainty"
    assert Cell.of(0.5, np.array((0.4, 0.6))) == Cell(0.5, (0.4, 0.6))


def test_a_grid_has_its_rule_below_the_header() -> None:
    assert grid(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
