"""The JSON report and the page: complete, honest about estimates, and silent about patients."""

import json
import re
from html.parser import HTMLParser

import pytest

from drill_results import (
    DAMAGED_UID,
    PATIENT_ID,
    PATIENT_NAME,
    SECRET_PATH,
    STARTED,
    VAULT_ID,
    failed_drill,
    passed_drill,
)
from safelight_restore.drill import report
from safelight_restore.drill.page import drill_page
from safelight_restore.drill.plots import duration_text
from safelight_restore.drill.report import drill_object, study_pseudonym
from safelight_restore.drill.result import DrillResult, Ending

BARE = DrillResult(version="1", vault="", started=STARTED, finished=STARTED)
BARE.ending = Ending(
    step="vault", message="no route <to> the store", next_step="Check.", exit_code=6
)
RESULTS = {"passed": passed_drill(), "failed": failed_drill(), "bare": BARE}
PRIVATE = (PATIENT_ID, PATIENT_NAME, "Testpatient", "<script>alert", "<b>cut")


@pytest.fixture(name="result", params=sorted(RESULTS))
def each_result(request: pytest.FixtureRequest) -> DrillResult:
    return RESULTS[request.param]


# JSON


def test_the_object_has_the_same_keys_whatever_happened(result: DrillResult) -> None:
    described = drill_object(result, show_studies=False)
    assert list(described) == list(drill_object(passed_drill(), show_studies=False))
    json.dumps(described)


def test_every_key_is_documented() -> None:
    documented = set(re.findall(r"[a-z][a-z0-9_]+", report.__doc__ or ""))
    found: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, dict):
            found.update(key for key in value if isinstance(key, str))
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    for one in RESULTS.values():
        collect(drill_object(one, show_studies=True))
    # Steps, sources and modes of locks are told by their own names.
    by_name = {"vault", "restore", "pacs", "emulated", "compliance", "governance", "none"}
    assert found - documented - by_name == set()


def test_patients_are_named_only_when_that_is_asked_for() -> None:
    hidden = json.dumps(drill_object(failed_drill(), show_studies=False))
    assert [private for private in PRIVATE[:3] if private in hidden] == []
    shown = drill_object(failed_drill(), show_studies=True)
    text = json.dumps(shown)
    assert PATIENT_ID in text
    assert PATIENT_NAME in text
    files = shown["damaged_files"]
    assert isinstance(files, list)
    assert files[0]["path"] == "pacs/" + SECRET_PATH.decode()


def test_damaged_studies_are_named_whatever_is_asked_for() -> None:
    for show in (False, True):
        described = drill_object(failed_drill(), show_studies=show)
        studies = described["damaged_studies"]
        assert isinstance(studies, list)
        (study,) = studies
        assert study["study_instance_uid"] == DAMAGED_UID
        assert (study["date"], study["modalities"]) == ("20261120", ["CT", "SR"])
        assert (study["files"], study["damaged"]) == (3, 1)
        assert study["reason"] == "pack 0123 is missing"
        assert study["study"] == study_pseudonym(VAULT_ID, DAMAGED_UID)
    # Those that are sound are not.
    assert "1.2.826.0.1.999.65" not in json.dumps(drill_object(failed_drill(), show_studies=False))


def test_a_pseudonym_is_of_one_vault_and_one_study() -> None:
    mine = study_pseudonym(VAULT_ID, DAMAGED_UID)
    assert re.fullmatch(r"[0-9a-f]{12}", mine)
    assert mine == study_pseudonym(VAULT_ID, DAMAGED_UID)
    assert mine != study_pseudonym(bytes(16), DAMAGED_UID)
    assert mine != study_pseudonym(VAULT_ID, DAMAGED_UID + "0")
    assert study_pseudonym(VAULT_ID, "") == ""


def test_what_is_extrapolated_says_so() -> None:
    rto = drill_object(passed_drill(), show_studies=False)["rto"]
    assert isinstance(rto, dict)
    assert (rto["sample"]["extrapolated"], rto["whole"]["extrapolated"]) == (False, True)
    assert (rto["sample"]["seconds"], rto["whole"]["seconds"]) == (12, 102)


# The page


class Page(HTMLParser):
    """Reads a page: its text, and whatever could load something or lead somewhere."""

    VOID = frozenset({"meta", "line", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [name for name, _ in attrs if name in LOADING]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [name for name, _ in attrs if name in LOADING]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "background", "poster", "style"}
LOADING_TAGS = {"script", "link", "img", "iframe", "object", "embed", "base", "use", "image"}


def test_the_page_refers_to_nothing_outside_itself(result: DrillResult) -> None:
    html = drill_page(result)
    page = Page(html)
    assert page.references == []
    assert LOADING_TAGS.isdisjoint(page.tags)
    assert re.findall(r"url\(|@import|https?:|//[a-z]", html.replace(result.vault, "")) == []
    assert "default-src 'none'" in html


def test_the_page_is_well_formed(result: DrillResult) -> None:
    page = Page(drill_page(result))
    assert page.open == []
    assert page.tags[:2] == ["html", "head"]


def test_the_page_names_no_patient_no_path_and_no_study(result: DrillResult) -> None:
    html = drill_page(result)
    assert [private for private in PRIVATE if private in html] == []
    assert DAMAGED_UID not in html
    assert "1.2.826.0.1.999.65" not in html


def test_the_verdict_comes_first() -> None:
    assert "Passed: the sample came back right" in Page(drill_page(passed_drill())).text
    failed = Page(drill_page(failed_drill())).text
    assert "Failed: something is damaged" in failed
    assert failed.index("Failed:") < 100
    bare = Page(drill_page(BARE)).text
    assert "Failed: the store could not be reached" in bare
    assert "no route <to> the store" in bare


def test_the_page_tells_what_was_found() -> None:
    text = Page(drill_page(failed_drill())).text
    for told in (
        study_pseudonym(VAULT_ID, DAMAGED_UID),
        "2026-11-20",
        "pack 0123 is missing",
        "packs/a/1",
        "packs/a/2",
        "8 of 10",
        "objects locked less: 1 <of> 4",
        "ward <7>",
        "the disk is full",
        "3 d",
    ):
        assert told in text, told


def test_the_page_marks_what_was_measured_and_what_was_not() -> None:
    text = Page(drill_page(passed_drill())).text
    assert "everything extrapolated" in text
    assert "the sample measured" in text
    assert "1 min 42 s" in text


def test_plots_have_titles_for_those_who_do_not_see_them() -> None:
    page = Page(drill_page(failed_drill()))
    assert page.tags.count("svg") >= 4
    assert page.tags.count("title") > page.tags.count("svg")
    assert "promised until 2026-12-28" in page.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1.25, "1.2 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (86_400 * 3 + 7, "3 d"),
        (86_400 * 3 + 3600 * 5, "3 d 5 h"),
    ],
)
def test_durations_are_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
