import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cli import app
from node.clock import utc_now
from node.settings import load
from node.worklist import Mistake, Opinion, Worklist
from tests.support import ROOT
from tests.support.builder import HEAD, encoded, uid
from tests.support.databases import new_database
from tests.support.listed import ASSEMBLED, NOW, SR, SUSPECTED, report, study
from tests.support.peers import ct_series

COMMANDS = [
    "serve",
    "reload",
    "demo",
    "analyse",
    "import",
    "pull",
    "worklist",
    "coverage",
    "canary",
    "watch",
    "echo",
    "send",
    "replay",
    "retract",
    "explain",
    "pause",
    "resume",
    "doctor",
    "jobs",
    "purge",
    "bench",
    "train",
    "export",
    "evaluate",
    "archive",
    "shadow",
    "cases",
    "quarantine",
    "deliveries",
    "user",
    "audit",
    "config",
    "db",
    "review",
]


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and the errors without the line that names the settings."""
    done = CliRunner().invoke(app, arguments)
    lines = done.stderr.splitlines(keepends=True)
    return done.exit_code, done.stdout, "".join(x for x in lines if "action=settings" not in x)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    code, text, _ = run(command, "--help")
    assert code == 0 and "Usage" in text


HEAVY = {
    *("torch", "openvino", "monai", "timm", "numpy", "scipy"),
    *("pydicom", "pynetdicom", "highdicom", "sqlalchemy", "pydantic"),
}


def test_help_lists_every_command_and_imports_neither_networks_nor_dicom_nor_database() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "node.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.findall(r"^│ ([a-z]+)  ", done.stdout, re.M) == COMMANDS
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert "typer" in names
    assert not HEAVY & {name.partition(".")[0] for name in names}


def test_error_is_one_line_and_status_2(tmp_path: Path) -> None:
    code, _, error = run("worklist", "--config", str(tmp_path / "none.toml"))
    assert code == 2 and error.count("\n") == 1 and "none.toml" in error


@pytest.mark.sqlite  # a test's database on PostgreSQL has its tables
def test_worklist_on_a_database_without_tables_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path))
    code, _, error = run("worklist")
    assert code == 2 and "ichnode db upgrade" in error


def test_empty_worklist_is_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path))
    assert run("db", "upgrade")[0] == 0
    assert run("worklist", "--json") == (0, "[]\n", "")


def test_peer_that_is_down_is_a_clear_error() -> None:
    code, _, error = run("echo", "NOBODY@127.0.0.1:9")
    assert code == 2 and "127.0.0.1:9" in error


def test_unknown_role_and_stage_name_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path))
    new_database(load().url)
    assert "receive, work, deliver, web" in run("serve", "--role", "x")[2]
    assert "assemble, triage, report" in run("replay", "1", "--from", "x")[2]


def test_damaged_bundle_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICHNODE_TRIAGE__BUNDLE", str(tmp_path))
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path / "data"))
    (file, *_) = ct_series(tmp_path / "ct", 20)
    code, _, error = run("analyse", str(file.parent))
    assert code == 2 and "no bundle" in error and str(tmp_path) in error


def test_folder_without_dicom_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    code, _, error = run("analyse", str(tmp_path))
    assert code == 2 and "notes.txt is left out" in error and "no DICOM object" in error


@pytest.fixture
def two_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worklist]:
    """A worklist with two studies whose PatientIDs look like markup."""
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path / "data"))
    settings = load()
    settings.data_dir.mkdir()
    new_database(settings.url)
    spool = Spool(settings.data_dir, min_free_mb=0)
    with Worklist(settings.url) as worklist:
        for number, patient in enumerate(("P[i]8", "P[/z]")):
            scan = HEAD(patient=patient, study=f"study {number}", gaps_mm=(5.0,))
            for ds in scan.having(AccessionNumber=f"ACC{number}").build():
                ingest(encoded(ds), worklist.arrivals, spool, caller="CT1", now=utc_now())
        yield worklist


@pytest.mark.usefixtures("two_patients")
def test_the_worklist_shows_patients_as_sent_with_case_and_accession_number() -> None:
    code, text, _ = run("worklist")
    assert code == 0
    for shown in ("P[i]8", "P[/z]", "ACC0", "ACC1"):
        assert shown in text
    code, text, _ = run("worklist", "--json")
    assert [
        (row["case_id"], row["patient_id"], row["accession_number"]) for row in json.loads(text)
    ] == [(1, "P[i]8", "ACC0"), (2, "P[/z]", "ACC1")]
    assert "P[" not in run("explain", "ACC1")[1]


@pytest.mark.parametrize("name", ["ACC1", "2", uid("study 1")])
def test_explain_and_replay_find_a_study_by_the_same_names(
    two_patients: Worklist, name: str
) -> None:
    code, text, _ = run("explain", "--json", name)
    assert code == 0 and json.loads(text)["case_id"] == 2
    code, text, _ = run("replay", name)
    assert (code, text) == (0, "case 2 starts again at assemble\n")
    assert "replayed" in {event.what for event in two_patients.views.events(uid("study 1"))}


@pytest.mark.usefixtures("two_patients")
def test_an_error_shows_what_was_asked_for_and_obeys_none_of_it() -> None:
    code, _, error = run("explain", "[/z]\x1b[2J\n")
    assert code == 2 and error.count("\n") == 1
    assert "no study, accession number or case [/z]␛[2J␊" in error


RECIPE = "config/recipes/small.toml"


def test_a_recipe_without_that_stage_names_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, _, error = run("train", RECIPE, "sequenze")
    assert code == 2 and error.count("\n") == 1 and "'sequenze': skullstrip, all" in error


def test_a_recipe_that_is_wrong_says_where(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("name = 3")
    code, _, error = run("train", str(path))
    assert code == 2 and error.count("\n") == 1 and "name: Input should be a valid string" in error


def test_training_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "training.train", None)  # as if an import in it failed
    code, _, error = run("train", RECIPE)
    assert code == 2 and error.count("\n") == 1 and "pip install 'ichnode[train]'" in error


def test_the_version_is_told() -> None:
    code, text, _ = run("--version")
    assert code == 0 and re.fullmatch(r"ichnode \d+\.\d+\.\d+\S*\n", text)


@pytest.mark.sqlite
def test_without_config_the_installation_s_file_is_taken_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invoke(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, arguments)
        return done.exit_code, done.stdout, done.stderr

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("node.settings.DEFAULT_FILE", tmp_path / "etc.toml")
    code, text, said = invoke("db", "upgrade")
    data = tmp_path / "home" / ".local" / "state" / "ichnode"
    assert code == 0 and said.count("\n") == 1 and f"built in, with the data in {data}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["home"], "no folder where it was called"

    (tmp_path / "etc.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n')
    assert invoke("db", "upgrade")[0] == 0 and (tmp_path / "data" / "ichnode.sqlite").exists()
    code, text, said = invoke("worklist", "--json")
    assert json.loads(text) == [] and said.count("\n") == 1 and "etc.toml" in said
    code, text, said = invoke("worklist", "--config", str(tmp_path / "etc.toml"))
    assert code == 0 and said == "", "who named a file knows it"


def test_an_empty_worklist_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path))
    assert run("db", "upgrade")[0] == 0
    assert run("worklist") == (0, "no study in the worklist\n", "")
    code, _, said = run("worklist", "--priority", "urgent")
    assert code == 2 and "no priority 'urgent': suspected, not_analysed, pending" in said


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worklist]:
    """A worklist with one study whose SR was given up; a reader called it a false alarm."""
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(tmp_path))
    assert run("db", "upgrade")[0] == 0
    with Worklist(load().url) as worklist:
        study(worklist, 1, ASSEMBLED, SUSPECTED, report(SR), patient_id="P-4711")
        (owed,) = worklist.outbox.claim("w", 60, NOW)
        worklist.outbox.failed(owed, "w", 0xA700, "out of resources", None, NOW)
        wrong = Opinion(False, Mistake.FALSE_ALARM, "falx", "calcified, P-4711")
        worklist.feedback.give("1.7.1", "Dr. Night", wrong, NOW)
        yield worklist


def test_the_worklist_says_which_destination_does_not_answer(dead: Worklist) -> None:
    study(dead, 2, ASSEMBLED, SUSPECTED, report(SR))
    dead.outbox.claim("w", 60, NOW)
    dead.outbox.not_reached("PACS", "w", "no connection", (10.0, 60.0), NOW)
    said = " ".join(run("worklist")[1].split())
    assert "PACS has not answered since 20" in said
    assert "no connection; 1 owed, next try 20" in said


def test_dead_deliveries_are_listed_retried_and_cancelled(dead: Worklist) -> None:
    shown = " ".join(run("deliveries", "list")[1].split())
    assert "1 1 PACS sr dead 1 A700 out of resources" in shown
    (one,) = json.loads(run("deliveries", "list", "--json", "--to", "PACS")[1])
    assert (one["status"], one["last_status"]) == ("DEAD", 0xA700)
    assert run("deliveries", "retry", "--to", "PACS", "--by", "A. Admin")[:2] == (
        0,
        "1 tried again\n",
    )
    assert dead.views.events("1.7.1")[-1].detail["by"] == "A. Admin"
    assert run("deliveries", "cancel", "1")[:2] == (0, "1 no longer owed\n")
    code, said, _ = run("deliveries", "cancel", "1")
    assert code == 1 and "left as before" in said
    assert run("deliveries", "list")[1] == "nothing is owed\n"


@pytest.mark.usefixtures("dead")
def test_deliveries_are_named_by_number_or_by_destination() -> None:
    for arguments in ([], ["1", "--to", "PACS"]):
        code, _, error = run("deliveries", "retry", *arguments)
        assert code == 2 and "by their numbers, or a destination" in error


@pytest.mark.usefixtures("dead")
def test_disagreements_go_to_the_review_without_a_name(tmp_path: Path) -> None:
    out = tmp_path / "feedback.csv"
    assert "1 study that readers disagreed with" in run("review", "feedback", "--out", str(out))[1]
    text = out.read_text("utf-8-sig")
    assert text.splitlines() == [
        "case,probability,truth,StudyInstanceUID,SeriesInstanceUID,mistake,place,reason",
        'case-1,0.93,0,1.7.1,1.8.1.1,FALSE_ALARM,falx,"calcified, [removed]"',
    ]
    made = run("review", "select", str(out), "--out", str(tmp_path / "r"), "--reader", "anna")
    assert "1 of 1 cases are difficult" in made[1] and "1 by readers' disagreement" in made[1]
    code, _, error = run("review", "feedback", "--out", str(tmp_path / "none" / "x.csv"))
    assert code == 2 and "cannot be written" in error


@pytest.mark.sqlite
def test_a_backup_is_the_database_at_one_moment_and_is_the_owners_alone(tmp_path: Path) -> None:
    config = tmp_path / "ichnode.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n')
    assert run("db", "upgrade", "--config", str(config))[0] == 0
    copy = tmp_path / "copy.sqlite"
    with Worklist(f"sqlite:///{tmp_path}/ichnode.sqlite") as worklist:  # the node runs
        study(worklist, 1, ASSEMBLED, SUSPECTED)
        assert run("db", "backup", str(copy), "--config", str(config))[0] == 0
        study(worklist, 2, ASSEMBLED, SUSPECTED)
    assert copy.stat().st_mode & 0o777 == 0o600
    with Worklist(f"sqlite:///{copy}") as restored:
        assert [row.study_instance_uid for row in restored.views.worklist(NOW)] == ["1.7.1"]
    status, _, said = run("db", "backup", str(copy), "--config", str(config))
    assert status == 2 and "File exists" in said
