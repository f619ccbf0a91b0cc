"""The papers' tables from simulated scores: right cells, intervals and the papers' values."""

import numpy as np
import pytest

from models.classifiers import LABELS
from models.findings import SUBTYPES
from tests.support.simulated import DATA, classes, column, labelled, scores
from training.losses import CLASSES
from training.metrics.scores import Classes, Scores
from training.metrics.statistics import auc, delong, holm, slice_losses
from training.metrics.tables import Cell, Table
from training.papers import burduja, kang, own, wu, zhou


@pytest.fixture(scope="module")
def t4() -> Table:
    worse = {"densenet121": scores(0.7, seed=1), "mobilenetv2_100": scores(0.1, seed=2)}
    return kang.table_4(scores(), worse, DATA)


def test_kangs_table_2_has_each_network_in_each_arm_tested_against_the_reference_arm() -> None:
    networks = {
        network: {"slice labels": scores(0.3, seed=i), "location": scores(2, seed=i + 10)}
        for i, network in enumerate(("densenet121", "vgg19_bn"))
    }
    table = kang.table_2(networks, "slice labels", DATA)
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


def test_kangs_table_3_reads_each_subtype_against_all_normal_cases() -> None:
    names = [*kang.TABLE_3, "model 1", "mean of five"]
    arms = {name: scores(1 + 0.2 * i, seed=i, slices=1) for i, name in enumerate(names)}
    truth = arms["1+2"].truth
    subtypes = np.zeros((len(truth), 5), bool)
    subtypes[np.flatnonzero(truth)[:9], SUBTYPES.index("subdural")] = True
    table = kang.table_3(arms, subtypes, DATA)
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


def test_a_network_without_a_positive_case_stands_there_with_the_papers_value_alone() -> None:
    normal = Scores(np.zeros(6, bool), np.linspace(0, 0.4, 6), np.arange(6))
    table = kang.table_4(normal, {"vgg19_bn": normal}, DATA)
    assert "no case; paper 0.796 (0.770 to 0.821)" in table.markdown()
    assert Table.from_json(table.to_json()) == table


def test_burdujas_table_2_gives_the_loss_and_its_paired_difference() -> None:
    models = {"CNN alone": labelled(1, 1), "PCA-120 + predictions": labelled(2, 2)}
    table = burduja.table_2(models, DATA)
    loss, difference = table.rows["PCA-120 + predictions"]
    better, alone = (slice_losses(m.score, m.truth).mean() for m in reversed(models.values()))
    assert (loss.value, loss.paper) == (pytest.approx(better), "0.04989")
    assert difference.value == pytest.approx(better - alone)
    assert difference.interval[1] < 0
    assert table.rows["CNN alone"][1] == Cell(0.0)
    assert f"{better:.5f}" in table.markdown()


def test_burdujas_table_3_has_six_labels_on_slices_and_on_scans() -> None:
    slices = {"CNN alone": labelled(0.5, 1), "CNN + BiLSTM": labelled(1.5, 2)}
    scans = {name: model.by_scan(model.patient) for name, model in slices.items()}
    table = burduja.table_3(slices, scans, DATA)
    assert len(table.rows) == 24
    both = slices["CNN + BiLSTM"]
    top = both.score[:, 0].reshape(-1, 3).max(1)
    bleeds = both.truth[:, 0].reshape(-1, 3).any(1)
    cell = column(table, "AUC")["any, scans, CNN + BiLSTM"]
    assert cell.value == pytest.approx(auc(top, bleeds))
    assert cell.p is not None
    assert column(table, "AUC")["any, scans, CNN alone"].p is None


def test_wus_table_gives_predictive_values_as_composed_and_at_real_prevalence() -> None:
    table = wu.table({"local": scores(), "external": scores(seed=5)}, DATA)
    local = dict(zip(table.columns[1:], table.rows["local"], strict=True))
    assert (local["PPV"].paper, local["AUC"].paper) == ("0.857", "0.96")
    assert table.rows["external"][0].paper == "0.893"
    assert local["PPV at 6%"].value < local["PPV at 15%"].value < local["PPV"].value
    low, high = local["NPV at 6%"].interval
    assert low < local["NPV at 6%"].value < high


def test_zhous_table_shows_the_leak_between_the_splits() -> None:
    splits = {
        "patient-level": {"resnet18": classes(0.5), "densenet121": classes(0.6, 1)},
        "image-level": {"resnet18": classes(0.9, 2)},
    }
    table = zhou.table(splits, DATA)
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
    table = zhou.table({"patient-level": {"resnet18": some}}, DATA)
    assert column(table, "subdural, sensitivity")["ResNet-18, patient-level"].value is None
    assert column(table, "AUC")["ResNet-18, patient-level"].value > 0.5


def test_the_phantom_table_has_each_subtype_beside_the_hu_threshold_and_the_volumes() -> None:
    detector, threshold = scores(3, slices=1), scores(0.2, seed=7, slices=1)
    subtypes = np.zeros((80, 5), bool)
    subtypes[detector.truth, :4] = np.random.default_rng(0).random((detector.truth.sum(), 4)) < 0.5
    true_ml = np.where(detector.truth, 10.0, 0.0)
    found_ml = true_ml + np.where(detector.truth, np.random.default_rng(1).normal(-2, 1, 80), 0)
    named = np.where(subtypes, 0.8, 0.2)
    table = own.phantoms(detector, threshold, subtypes, named, (true_ml, found_ml), DATA)
    assert list(table.rows) == list(LABELS)
    assert column(table, "cases")["any"] == Cell(int(detector.truth.sum()))
    assert column(table, "detection AUC")["any"].p < 0.05
    assert column(table, "naming AUC")["epidural"].value == 1
    error = column(table, "volume error, mL (median)")["any"]
    assert error.interval[0] < error.value < error.interval[1] < 0
    assert [cell.text(3) for cell in table.rows["subdural"]][1:] == ["no case"] * 5
