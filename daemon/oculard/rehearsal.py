"""The rehearsal behind `oculard demo`: a painted study through the real daemon into a PACS for practice, and a look at
everything that came back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from oculard.app import App
from oculard.clock import SystemClock
from oculard.delivery.files import send_files
from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.delivery.scu import Target
from oculard.errors import Transient
from oculard.report.page import render_page
from oculard.report.read import ReadReport, read_report
from oculard.settings import load
from oculard_models.data.painted_study import topcon_like_study, write_study
from oculard_models.data.person import Person, sample_people

SEED, SIZE_PX = 20261120, 1024
PATIENCE_S = 50.0
SAME_BYTES = (0x00080005, 0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x0020000D, 0x00080050, 0x00081030)
CONFIGURATION = """\
[store]
folder = "{folder}/data"
disk_free_min_gib = 0.1

[intake]
host = "127.0.0.1"
port = 0

[web]
port = 0

[[senders]]
name = "topcon"
ae_title = "TOPCON"
addresses = ["127.0.0.1"]
expects = "fundus-pair"

[[peers]]
name = "pacs"
ae_title = "PRACTICE"
host = "127.0.0.1"
port = {pacs_port}
commitment = true
"""


class RehearsalFailed(Transient):
    """The rehearsal did not come to its end in time."""

    reason = "rehearsal-failed"

    def __init__(self, what: str, log: Path) -> None:
        super().__init__(f"{what} did not happen within {PATIENCE_S:g} s", hint=f"the daemon's log is {log}")


@dataclass(slots=True)
class Rehearsal:
    """What came of it."""

    page: Path
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)  # eye, finding, value, planted
    faults: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    seconds: float = 0.0
    report_s: float = 0.0  # from the release of the device's association to the last report in the PACS
    estimate_s: float = 0.0  # of which the networks themselves took
    memory_mib: dict[str, int] = field(default_factory=dict)  # resident, by role, after the work

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program."""
        values = [dict(zip(("eye", "finding", "value", "planted"), row, strict=True)) for row in self.rows]
        return {
            "page": self.page,
            "reports": self.reports,
            "values": values,
            "faults": self.faults,
            "seconds": round(self.seconds, 2),
            "release_to_pacs_s": round(self.report_s, 3),
            "estimate_s": round(self.estimate_s, 3),
            "memory_mib": self.memory_mib,
        }


def rehearse(folder: Path, *, say: Callable[[str], None]) -> Rehearsal:
    """Run the whole path below a folder. Raises RehearsalFailed when something does not come in time."""
    began = monotonic()
    folder = folder.resolve()
    result = Rehearsal(page=folder / "report.html")
    say("painting a study of both eyes ...")
    (person,) = sample_people(1, SEED)
    sources = write_study(folder / "sent", topcon_like_study(person, seed=SEED, size_px=SIZE_PX))
    with PracticePacs(folder / "received") as pacs:
        app = _configure(folder, pacs)
        with _daemon(folder) as log:
            port = _await("the start of intake", lambda: _port(app), log)
            pacs.manners = replace(Manners(), answers_to=("127.0.0.1", port))
            say(f"sending {len(sources)} photographs from TOPCON to OCULARD on port {port} ...")
            _send(sources, port, result)
            released = monotonic()
            say("waiting for the reports in the PACS ...")
            if not pacs.wait_for(lambda: len(pacs.uids()) >= 2, timeout_s=PATIENCE_S):
                raise RehearsalFailed("the arrival of both reports", log)
            result.report_s = monotonic() - released
            _await("the PACS's commitment", lambda: app.trace.counts()["delivery"] == {"delivered": 2}, log)
            say("sending the same study again: nothing new may come of it ...")
            _send(sources, port, result)
            _await("settling again", lambda: not app.studies.open(), log)
            result.memory_mib = {role.role: _resident_mib(role.pid) for role in app.roles.list()}
    result.estimate_s = sum(
        report["took"].get("estimate", 0.0) for study in _studies(app) for report in study["reports"]
    )
    _look(app, pacs, sources, person, result)
    result.seconds = monotonic() - began
    app.database.close()
    return result


def _configure(folder: Path, pacs: PracticePacs) -> App:
    path = folder / "oculard.toml"
    path.write_text(CONFIGURATION.format(folder=folder, pacs_port=pacs.port), encoding="utf-8")
    app = App(load(path), SystemClock())
    app.database.upgrade()
    return app


@contextmanager
def _daemon(folder: Path) -> Iterator[Path]:
    """`oculard run` as an administrator would start it; ended with SIGTERM."""
    log = folder / "oculard.log"
    command = [sys.executable, "-m", "oculard", "--config", str(folder / "oculard.toml"), "run"]
    with log.open("wb") as words, subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=words) as process:  # noqa: S603  our own program
        try:
            yield log
        finally:
            process.terminate()


def _await(what: str, look: Callable[[], Any], log: Path) -> Any:
    """Look until there is something, and give it."""
    clock, until = SystemClock(), monotonic() + PATIENCE_S
    while not (found := look()):
        if monotonic() > until:
            raise RehearsalFailed(what, log)
        clock.sleep(0.05)
    return found


def _port(app: App) -> int | None:
    """The port of a daemon whose every role is up."""
    says = {role.role: role.says for role in app.roles.list()}
    return int(says["intake"]["port"]) if {"intake", "worker", "sender", "upkeep", "web"} <= says.keys() else None


def _resident_mib(pid: int) -> int:
    """Resident memory of a process, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def _send(sources: Sequence[Path], port: int, result: Rehearsal) -> None:
    target = Target(name="oculard", host="127.0.0.1", port=port, called_ae="OCULARD", calling_ae="TOPCON")
    result.faults += [
        f"{one.path.name} was not taken: {one.reason}" for one in send_files(target, sources) if not one.is_taken
    ]


def _studies(app: App) -> list[dict[str, Any]]:
    studies = {
        study for row in app.trace.jobs(state=None, limit=100) for study in app.trace.find(row["study_instance_uid"])
    }
    return [app.trace.study(study) for study in sorted(studies)]


def _look(app: App, pacs: PracticePacs, sources: Sequence[Path], person: Person, result: Rehearsal) -> None:
    """Check what the PACS has: whose it is, what it says, and that there is no more of it than there should be."""
    kept = {one["sop_instance_uid"]: one["role"] for study in _studies(app) for one in study["objects"]}
    result.reports = sorted(uid for uid in pacs.uids() if kept.get(uid, "sr") == "sr")  # not what accompanies them
    source = dcmread(sources[0], stop_before_pixels=True)
    reports = []
    for uid in result.reports:
        data = pacs.path(uid).read_bytes()
        report = read_report(data)
        reports.append(report)
        result.faults += _faults(report, dcmread(pacs.path(uid)), source)
        if report.eye == "R":
            result.page.write_text(render_page(data), encoding="utf-8")
        result.rows += _rows(report, person)
    if sorted(report.eye for report in reports) != ["L", "R"]:
        result.faults.append(f"expected one report for each eye, got {[report.eye for report in reports]}")
    if kept.keys() != pacs.uids():
        result.faults.append("the PACS and the daemon do not know the same reports")


def _faults(report: ReadReport, received: Dataset, source: Dataset) -> Iterator[str]:
    for tag in SAME_BYTES:
        if received.get_item(tag).value != source.get_item(tag).value:
            yield f"eye {report.eye}: attribute {tag:08X} is not the source's"
    if not report.model.demonstration:
        yield f"eye {report.eye}: the report does not say that its weights are for demonstration"
    if report.outcome != "complete":
        yield f"eye {report.eye}: the outcome is {report.outcome}: {report.remark}"


def _rows(report: ReadReport, person: Person) -> Iterator[tuple[str, str, str, str]]:
    planted = {"EST-AGE": person.age, "EST-SEX": person.sex, "EST-SBP": person.sbp, "EST-DBP": person.dbp}
    planted |= {"EST-GLU": person.glucose, "EST-WC": person.waist, "EST-BMI": person.bmi}
    for finding in report.findings:
        if finding.value is None:
            value = f"none: {finding.qualifier}"
        elif finding.choice:
            value = f"{finding.choice} ({finding.value:.1f} %)"
        else:
            unit = "years" if finding.unit == "a" else finding.unit
            value = f"{finding.value:.1f} +/- {finding.uncertainty or 0:.1f} {unit}"
        truth = planted.get(finding.concept, "")
        yield report.eye, finding.meaning, value, f"{truth:.1f}" if isinstance(truth, float) else str(truth)
