"""The papers' tables from simulated scores: right cells, intervals and the papers' values."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.findings import SUBTYPES
from training import tables
from training.statistics import auc, delong, holm, mcnemar, weighted_log_loss, wilson
from training.tables import CLASSES, LABELS, Cell, Classes, Labelled, Scores, Table

DATA = "phantom"


def scores(shift: float = 1.5, n: int = 80, seed: int = 0, slices: int = 2) -> Scores:
    """Sigmoid scores of `n` cases, `slices` of each patient; the truths are the same always."""
    truth = np.random.default_rng(9).random(n) < 0.4
    logits = np.random.default_rng(seed).normal(shift * (2 * truth - 1), 1.5)
    return Scores(truth, 1 / (1 + np.exp(-logits)), np.arange(n) // slices)


def labelled(shift: float, seed: int, n: int = 60) -> Labelled:
    subtypes = np.random.default_rng(9).random((n, 5)) < 0.2
    truth = np.column_stack([subtypes.any(1), subtypes])
    logits = np.random.default_rng(seed).normal(shift * (2 * truth - 1), 1)
    return Labelled(truth, 1 / (1 + np.exp(-logits)), np.arange(n) // 3)


def classes(right: float, seed: int = 0, n: int = 90) -> Classes:
    random = np.random.default_rng(seed)
    truth = np.arange(n) % 6
    named = np.where(random.random(n) < right, truth, random.integers(0, 6, n))
    score = random.random((n, 6)) + 3 * np.eye(6)[named]
    return Classes(truth, score / score.sum(1, keepdims=True), np.arange(n) // 2)


def column(table: Table, name: str) -> dict[str, Cell]:
    index = table.columns.index(name) - 1
    return {row: cells[index] for row, cells in table.rows.items()}


@pytest.fixture(scope="module")
def t4() -> Table:
    worse = {"densenet121": scores(0.7, seed=1), "mobilenetv2_100": scores(0.1, seed=2)}
    return tables.kang_t4(scores(), worse, DATA)


def test_markdown_holds_value_interval_p_and_the_papers_value_and_names_the_data() -> None:
    cell = Cell(0.9124, (0.88, 0.941), 0.0312, "0.953")
    table = Table("t", "A table", "phantom", ("network", "AUC"), {"mine": (cell,)}, ("A note.",))
    text = table.markdown()
    assert "| mine | 0.912 (0.880 to 0.941); p = 0.031; paper 0.953 |" in text
    assert "Data: **phantom**" in text
    assert "A note." in text
    assert "Research use only" in text


def test_a_table_comes_back_from_the_files_it_writes(t4: Table, tmp_path: Path) -> None:
    t4.write(tmp_path)
    assert Table.from_json((tmp_path / "kang-t4.json").read_text()) == t4
    assert (tmp_path / "kang-t4.md").read_text() == t4.markdown()
    assert "Research use only" in json.loads((tmp_path / "kang-t4.json").read_text())["notice"]


def test_a_row_without_a_cell_for_each_column_is_no_table() -> None:
    with pytest.raises(ValueError, match="1 cells"):
        Table("t", "A table", DATA, ("network", "AUC", "sensitivity"), {"mine": (Cell(1.0),)})


def test_a_case_without_a_score_is_refused_and_not_called_negative() -> None:
    with pytest.raises(ValueError, match="1 scores are missing"):
        Scores(np.array([True, False]), np.array([np.nan, 0.1]), np.arange(2))


def test_labels_that_are_no_plain_yes_or_no_are_refused() -> None:
    with pytest.raises(ValueError, match="bool"):
        Scores(np.array([1.0, np.nan]), np.array([0.4, 0.1]), np.arange(2))


def test_figures_are_those_of_the_scores_and_lie_in_their_intervals() -> None:
    cases = scores()
    found = cases.measure()
    called = cases.score >= 0.5
    expected = {
        "AUC": auc(cases.score, cases.truth),
        "sensitivity": called[cases.truth].mean(),
        "specificity": (~called)[~cases.truth].mean(),
        "accuracy": (called == cases.truth).mean(),
        "PPV": cases.truth[called].mean(),
        "NPV": (~cases.truth)[~called].mean(),
    }
    assert {name: cell.value for name, cell in found.items()} == pytest.approx(expected)
    for cell in found.values():
        assert cell.interval is not None
        assert cell.interval[0] < cell.value < cell.interval[1]


def test_the_threshold_is_the_readers_own() -> None:
    cases = scores()
    strict = replace(cases, threshold=0.9).measure()
    assert strict["AUC"] == cases.measure()["AUC"]
    assert strict["specificity"].value > cases.measure()["specificity"].value


def test_slices_of_few_patients_have_wider_intervals_than_as_many_patients() -> None:
    alone = scores()
    own = np.random.default_rng(3).normal(0, 2, 20)
    few = replace(alone, patient=np.arange(80) // 4, score=alone.score + np.repeat(own, 4))
    widths = [
        np.ptp(each.measure()["AUC"].interval)
        for each in (few, replace(few, patient=np.arange(80)))
    ]
    assert widths[0] > widths[1]


def test_perfect_figures_have_an_interval_by_the_number_of_patients() -> None:
    truth = np.arange(60) < 30
    found = Scores(truth, truth.astype(float), np.arange(60) // 3).measure()
    assert found["sensitivity"] == Cell(1.0, wilson(10, 10))
    assert found["AUC"].value == 1
    assert 0.7 < found["AUC"].interval[0] < 0.95


def test_one_bleeding_patient_gives_figures_without_intervals() -> None:
    truth = np.arange(40) < 4
    score = np.where(np.arange(40) % 2, 0.7, 0.3)
    found = Scores(truth, score, np.arange(40) // 4).measure()
    assert found["AUC"] == Cell(0.5)
    assert found["sensitivity"] == Cell(0.5)
    assert Scores(truth, score, np.arange(40)).measure()["AUC"].interval is not None


@pytest.mark.parametrize("truth", [np.zeros(6, bool), np.ones(6, bool), np.zeros(0, bool)])
def test_a_class_without_cases_gives_cells_that_say_so(truth: np.ndarray) -> None:
    cases = Scores(truth, np.linspace(0, 0.4, len(truth)), np.arange(len(truth)))
    found = cases.measure()
    assert found["AUC"].text(3) == "no case"
    assert found["PPV"].text(3) == "no case"
    assert (found["sensitivity"].value is None) == (not truth.any())
    table = tables.kang_t4(cases, {"vgg19_bn": cases}, DATA)
    assert "no case; paper 0.796 (0.770 to 0.821)" in table.markdown()
    assert Table.from_json(table.to_json()) == table


def test_kangs_table_2_has_each_network_in_each_arm_tested_against_the_reference_arm() -> None:
    networks = {
        network: {"slice labels": scores(0.3, seed=i), "location": scores(2, seed=i + 10)}
        for i, network in enumerate(("densenet121", "vgg19_bn"))
    }
    table = tables.kang_t2(networks, "slice labels", DATA)
    assert list(table.rows) == [
        "DenseNet121, slice labels",
        "DenseNet121, location",
        "VGG19, slice labels",
        "VGG19, location",
    ]
    raw = []
    for arms in networks.values():
        both = [arms[arm].score for arm in ("slice labels", "location")]
        first = arms["location"]
        raw.append(delong(both, first.truth, first.patient).compare(0)[1][1])
    found = [cell.p for cell in column(table, "AUC").values()]
    assert found[::2] == [None, None]
    assert found[1::2] == pytest.approx(list(holm(raw)))
    assert "too narrow" in table.markdown()


def test_arms_of_other_cases_are_not_compared() -> None:
    other = scores(n=70)
    with pytest.raises(ValueError, match="other cases"):
        tables.kang_t4(scores(), {"vgg19_bn": other}, DATA)
    with pytest.raises(ValueError, match="reference"):
        tables.kang_t2({"vgg19_bn": {"location": other}}, "slice labels", DATA)


def test_kangs_table_3_reads_each_subtype_against_all_normal_cases() -> None:
    names = [*tables.KANG_T3, "model 1", "mean of five"]
    arms = {name: scores(1 + 0.2 * i, seed=i, slices=1) for i, name in enumerate(names)}
    truth = arms["1+2"].truth
    subtypes = np.zeros((len(truth), 5), bool)
    subtypes[np.flatnonzero(truth)[:9], SUBTYPES.index("subdural")] = True
    table = tables.kang_t3(arms, subtypes, DATA)
    subdural = arms["model 1"].only(~truth | subtypes[:, SUBTYPES.index("subdural")])
    assert column(table, "subdural")["model 1"].value == auc(subdural.score, subdural.truth)
    assert {name: cell.paper for name, cell in column(table, "all").items() if cell.paper} == {
        "1+2": "0.938",
        "1+2+3": "0.936",
        "1+2+4": "0.944",
        "1+2+5": "0.946",
        "1+2+3+4+5": "0.951",
    }
    assert all(cell.value is None for cell in column(table, "subarachnoid").values())
    assert column(table, "all")["1+2+3+4+5"].p is None
    assert column(table, "all")["mean of five"].p is not None
    assert "492/494" in table.markdown()


def test_kangs_table_4_stands_beside_the_papers_values(t4: Table) -> None:
    ensemble = t4.rows["ensemble"]
    assert [cell.paper for cell in ensemble] == ["0.953 (0.938 to 0.965)", "0.928", "0.857"]
    assert t4.rows["MobileNetV2"][0].paper == "0.650 (0.620 to 0.680)"
    assert t4.rows["MobileNetV2"][0].p < 0.001
    assert "487/499" in t4.markdown()


def test_burdujas_table_2_gives_the_loss_and_its_paired_difference() -> None:
    models = {"CNN alone": labelled(1, 1), "PCA-120 + predictions": labelled(2, 2)}
    table = tables.burduja_t2(models, DATA)
    loss, difference = table.rows["PCA-120 + predictions"]
    better, alone = (weighted_log_loss(m.score, m.truth) for m in reversed(models.values()))
    assert (loss.value, loss.paper) == (pytest.approx(better), "0.04989")
    assert difference.value == pytest.approx(better - alone)
    assert difference.interval[1] < 0
    assert table.rows["CNN alone"][1] == Cell(0.0)
    assert f"{better:.5f}" in table.markdown()


def test_burdujas_table_3_has_six_labels_on_slices_and_on_scans() -> None:
    slices = {"CNN alone": labelled(0.5, 1), "CNN + BiLSTM": labelled(1.5, 2)}
    scans = {name: model.by_scan(model.patient) for name, model in slices.items()}
    table = tables.burduja_t3(slices, scans, DATA)
    assert len(table.rows) == 24
    both = slices["CNN + BiLSTM"]
    top = both.score[:, 0].reshape(-1, 3).max(1)
    bleeds = both.truth[:, 0].reshape(-1, 3).any(1)
    cell = column(table, "AUC")["any, scans, CNN + BiLSTM"]
    assert cell.value == pytest.approx(auc(top, bleeds))
    assert cell.p is not None
    assert column(table, "AUC")["any, scans, CNN alone"].p is None


def test_slices_of_a_scan_need_not_lie_together() -> None:
    slices = labelled(1, 1)
    order = np.random.default_rng(0).permutation(60)
    shuffled = Labelled(slices.truth[order], slices.score[order], slices.patient[order])
    expected, found = slices.by_scan(slices.patient), shuffled.by_scan(slices.patient[order])
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.truth, expected.truth)
    np.testing.assert_array_equal(found.patient, np.arange(20))


def test_wus_table_gives_predictive_values_as_composed_and_at_real_prevalence() -> None:
    table = tables.wu({"local": scores(), "external": scores(seed=5)}, DATA)
    local = dict(zip(table.columns[1:], table.rows["local"], strict=True))
    assert (local["PPV"].paper, local["AUC"].paper) == ("0.857", "0.96")
    assert table.rows["external"][0].paper == "0.893"
    assert local["PPV at 6%"].value < local["PPV at 15%"].value < local["PPV"].value
    low, high = local["NPV at 6%"].interval
    assert low < local["NPV at 6%"].value < high


def test_readers_are_compared_by_mcnemar_and_their_agreement_is_told() -> None:
    random = np.random.default_rng(4)
    truth = random.random(100) < 0.5
    calls = {
        name: truth ^ (random.random(100) < wrong)
        for name, wrong in {"AI": 0.05, "reader 1": 0.3, "reader 2": 0.1}.items()
    }
    table = tables.readers(truth, calls, "AI", DATA)
    raw = [mcnemar(calls[f"reader {i}"] == truth, calls["AI"] == truth) for i in (1, 2)]
    accuracy = column(table, "accuracy")
    assert [accuracy[f"reader {i}"].p for i in (1, 2)] == pytest.approx(list(holm(raw)))
    right = int((calls["AI"] == truth).sum())
    assert accuracy["AI"] == Cell(right / 100, wilson(right, 100))
    assert "Fleiss' kappa" in table.markdown()


def test_zhous_table_shows_the_leak_between_the_splits() -> None:
    splits = {
        "patient-level": {"resnet18": classes(0.5), "densenet121": classes(0.6, 1)},
        "image-level": {"resnet18": classes(0.9, 2)},
    }
    table = tables.zhou(splits, DATA)
    accuracy = column(table, "accuracy")
    honest, leaking = (accuracy[f"ResNet-18, {split}"].value for split in splits)
    leak = accuracy["ResNet-18, the leak"]
    assert leak.value == pytest.approx(leaking - honest)
    assert 0 < leak.interval[0] < leak.value < leak.interval[1]
    assert "DenseNet-121, the leak" not in table.rows
    assert accuracy["ResNet-18, patient-level"].paper == "0.8964"
    found = splits["patient-level"]["resnet18"]
    epidural = found.truth == CLASSES.index("epidural")
    assert column(table, "epidural, sensitivity")["ResNet-18, patient-level"].value == (
        pytest.approx((found.score.argmax(1) == 1)[epidural].mean())
    )


def test_a_class_that_zhous_test_set_lacks_is_no_case() -> None:
    found = classes(0.8)
    keep = found.truth != CLASSES.index("subdural")
    some = Classes(found.truth[keep], found.score[keep], found.patient[keep])
    table = tables.zhou({"patient-level": {"resnet18": some}}, DATA)
    assert column(table, "subdural, sensitivity")["ResNet-18, patient-level"].value is None
    assert column(table, "AUC")["ResNet-18, patient-level"].value > 0.5


def test_the_phantom_table_has_each_subtype_beside_the_hu_threshold_and_the_volumes() -> None:
    reader, threshold = scores(3, slices=1), scores(0.2, seed=7, slices=1)
    subtypes = np.zeros((80, 5), bool)
    subtypes[reader.truth, :4] = np.random.default_rng(0).random((reader.truth.sum(), 4)) < 0.5
    true_ml = np.where(reader.truth, 10.0, 0.0)
    found_ml = true_ml + np.where(reader.truth, np.random.default_rng(1).normal(-2, 1, 80), 0)
    named = np.where(subtypes, 0.8, 0.2)
    table = tables.phantom(reader, threshold, subtypes, named, (true_ml, found_ml))
    assert list(table.rows) == list(LABELS)
    assert column(table, "cases")["any"] == Cell(int(reader.truth.sum()))
    assert column(table, "detection AUC")["any"].p < 0.05
    assert column(table, "naming AUC")["epidural"].value == 1
    error = column(table, "volume error, mL (median)")["any"]
    assert error.interval[0] < error.value < error.interval[1] < 0
    assert [cell.text(3) for cell in table.rows["subdural"]][1:] == ["no case"] * 5
    assert table.data == "phantom"


def ink(png: bytes) -> float:
    """Share of pixels that are not white."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return float((np.asarray(image.convert("L")) < 200).mean())


def test_figures_are_pngs_with_ink_and_more_of_it_for_more_models(t4: Table) -> None:
    one = {"ensemble": scores()}
    more = one | {"VGG19": scores(0.5, seed=3), "none": scores().only(np.zeros(80, bool))}
    for draw in (tables.roc_figure, tables.reliability_figure):
        assert 0.005 < ink(draw(one, "Title", DATA)) < ink(draw(more, "Title", DATA)) < 0.5
    bare = replace(t4, rows={name: (Cell(),) * 3 for name in t4.rows})
    assert ink(tables.interval_figure(bare, "AUC")) != ink(tables.interval_figure(t4, "AUC"))
    assert ink(tables.interval_figure(t4, "AUC")) > 0.005
