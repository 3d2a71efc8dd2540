"""Classified views in reports: what SR, picture, page and PDF say of them, and that all of it is valid."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from report_samples import STUDY, errors, validators
from view_samples import ALONE, VIEWS, seen_views, view, with_views

from oculard.report.build import build_report
from oculard.report.codes import concept
from oculard.report.companions import build_companions
from oculard.report.page import render_page
from oculard.report.panels import panels
from oculard.report.pdf import print_page
from oculard.report.picture import draw
from oculard.report.read import ReadReport, read_report
from oculard.report.rows import rows_of
from oculard.report.variant import VARIANTS, as_variant
from oculard.report.views import JAPANESE
from oculard_models.volumes.types import DISC_TYPES


def read(**changes: Any) -> ReadReport:
    """The report of a request, read back."""
    return read_report(build_report(with_views(**changes)).data)


@pytest.mark.parametrize("validator", validators())
@pytest.mark.parametrize("demonstration", [False, True])
def test_all_objects_are_valid(demonstration: bool, validator: str, tmp_path: Path) -> None:
    """Report, both older classes, picture and PDF have no error for dciodvfy."""
    asked = with_views(origin=replace(with_views().origin, demonstration=demonstration))
    report = build_report(asked)
    files = [report, *(as_variant(report.data, uid) for uid in VARIANTS), *build_companions(asked)]

    assert [one.role for one in build_companions(asked)] == ["sc", "pdf"]
    assert [error for one in files for error in errors(one.data, tmp_path, validator)] == []


def test_report_says_class_probabilities_and_certainty() -> None:
    """The class stands once, with the probability of each, and how sure the model is; the class is the Finding, too."""
    report = read()

    assert report.finding == "Focal ischemia type optic disc"
    found = {finding.concept: (finding.choice, finding.value) for finding in report.findings}
    assert found == {
        "GL-CLASS": ("focal-ischemia", 71.5),
        "GL-P-NO": (None, 6.0),
        "GL-P-GE": (None, 12.5),
        "GL-P-MY": (None, 4.0),
        "GL-P-SS": (None, 6.0),
    }
    assert report.certainty == pytest.approx(53.6, abs=0.05)
    assert report.outcome == "complete"
    assert "Class and probability" in " ".join(report.notices)


def test_report_says_what_each_view_says_alone() -> None:
    """Each view by name with its own class, and the probability of every class."""
    views = read().views

    assert [view.name for view in views] == list(VIEWS)
    assert [view.choice for view in views] == ["GL-FI", "GL-FI", "GL-GE", "GL-FI"]
    assert [tuple(view.probabilities.values()) for view in views] == list(ALONE)
    assert list(views[0].probabilities) == ["GL-P-NO", "GL-P-FI", "GL-P-GE", "GL-P-MY", "GL-P-SS"]


def test_certainty_has_the_standards_name() -> None:
    """The certainty is no concept of ours: it is the Standard's (111012, DCM), in percent."""
    ds = dcmread(BytesIO(build_report(with_views()).data))
    group = ds.ContentSequence[-2].ContentSequence[0].ContentSequence
    (item,) = (one for one in group if one.ConceptNameCodeSequence[0].CodeValue == "111012")

    assert item.ConceptNameCodeSequence[0].CodingSchemeDesignator == "DCM"
    assert item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "%"
    assert float(item.MeasuredValueSequence[0].NumericValue) == pytest.approx(53.6, abs=0.05)


def test_every_view_has_a_code_and_a_japanese_name() -> None:
    """Each view that a bundle may read can be named in a report."""
    for name in JAPANESE:
        assert view(name, ALONE[0]).code.meaning


def test_page_shows_the_class_first_and_the_views_apart() -> None:
    """Class, then the other probabilities, then the certainty; the views in a table of their own."""
    page = render_page(build_report(with_views()).data)

    places = [page.index(word) for word in ("局所虚血型", "正常乳頭の確率", "確信度", "画像ごとの判定", "正面像")]
    assert places == sorted(places)
    assert "53.6" in page


def test_picture_shows_all_views_with_what_speaks_for_the_class() -> None:
    """Four panels side by side, each with its activation below in warm colours and nowhere else."""
    sheet = np.asarray(panels(seen_views()), dtype=int)

    warm = sheet[..., 0] - sheet[..., 2] > 90
    lower = warm[260:470]
    assert sheet.shape == (536, 960, 3)
    for left in range(0, 960, 244):
        assert 200 < lower[:, left : left + 228].sum() < 12_000
    assert not lower[120:].any(), "the activation lies in the upper half of the views"


def test_more_views_take_a_second_band() -> None:
    """Eight views are drawn in two lines of four, none over another."""
    sheet = panels(seen_views((*VIEWS, "bscan-fovea", "rnfl-deviation", "gcc-deviation", "photograph")))

    assert sheet.size == (960, 2 * 536 + 16)


def test_a_mirrored_eye_is_told_of() -> None:
    """Views of a left eye are shown as a right eye's, and a line above them says so."""
    as_it_is, mirrored = (np.asarray(panels(replace(seen_views(), mirrored=one)), dtype=int) for one in (False, True))

    assert len(mirrored) == len(as_it_is) + 20
    assert (mirrored[:20, :, 0] > 200).any()
    assert (mirrored[20:] == as_it_is).all()


def test_a_view_without_activation_says_so() -> None:
    """Where nothing in a view speaks for the class, it is written below it."""
    silent = replace(view("en-face", ALONE[0]), activation=np.zeros((4, 4), dtype=np.float32))
    seen = replace(seen_views(), views=(silent,))

    told, untold = (np.asarray(panels(one)) for one in (seen, replace(seen, views=(view("en-face", ALONE[0]),))))
    assert (told[490:] != untold[490:]).any()


def test_picture_has_the_values_below() -> None:
    """Class, five probabilities and the certainty are rows of picture and PDF."""
    asked = with_views()

    assert [row.english for row in rows_of(asked)] == [
        "Optic disc glaucoma classification",
        *(concept(name).code.meaning for name in ("GL-P-NO", "GL-P-FI", "GL-P-GE", "GL-P-MY", "GL-P-SS")),
        "Certainty of Finding: probability x share of views that agree",
    ]
    assert draw(asked).width == 960
    assert print_page(asked, "t") == print_page(asked, "t")


def test_pictures_are_optional() -> None:
    """Without them the report stands alone, and says the same of the views."""
    asked = with_views(with_pictures=False, with_pdf=False)

    assert build_companions(asked) == ()
    assert len(read_report(build_report(asked).data).views) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"eye": "B"},
        {"seen": replace(seen_views(), choices=DISC_TYPES[::-1])},
        {
            "seen": replace(
                seen_views(), classes="GL-DISC", choices=("normal",), found="normal", views=(view("en-face", (1.0,)),)
            )
        },
    ],
    ids=["both eyes", "another order", "another concept"],
)
def test_views_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    """Views of both eyes, or of other classes than the output's, are a bug."""
    with pytest.raises(ValueError, match="view"):
        with_views(**wrong)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_pictures_that_are_none_are_refused(value: float) -> None:
    """A view or an activation beyond 0 to 1 is a bug."""
    wrong = np.full((4, 4), value, dtype=np.float32)
    with pytest.raises(ValueError, match="from 0 to 1"):
        replace(view("en-face", ALONE[0]), pixels=wrong)
    with pytest.raises(ValueError, match="from 0 to 1"):
        replace(view("en-face", ALONE[0]), activation=wrong)


def test_unknown_views_are_refused() -> None:
    """A view that no code names cannot be reported."""
    with pytest.raises(ValueError, match="no view"):
        view("tea-leaves", ALONE[0])


def test_picture_names_the_volume_it_was_made_of() -> None:
    """The Secondary Capture refers to the OCT volume as its source."""
    capture = dcmread(BytesIO(build_companions(with_views())[0].data))

    (reference,) = capture.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == f"{STUDY}.1.1"
    assert "class activation" in capture.DerivationDescription
