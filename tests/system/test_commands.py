"""The administrator's commands, as an administrator gives them."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import Daemon, paint_study
from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.store.roles import DEAD_S
from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import paint_volume
from oculard_models.data.painted_study import Visit
from oculard_models.data.painted_volume import wrap_volume
from peers import free_port
from topcon_samples import fda

PEER = """
[[peers]]
name = "pacs"
ae_title = "PRACTICE"
host = "127.0.0.1"
port = {port}
"""


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[PracticePacs]:
    """A PACS for practice."""
    with PracticePacs(tmp_path / "pacs") as pacs:
        yield pacs


@pytest.fixture
def running(make_daemon: Callable[..., Daemon], pacs: PracticePacs) -> Daemon:
    """A daemon at work."""
    daemon = make_daemon(PEER.format(port=pacs.port))
    daemon.start()
    return daemon


def test_send_trace_jobs_and_status(running: Daemon, pacs: PracticePacs, tmp_path: Path) -> None:
    """Send a study, and follow it from every name it has."""
    files = paint_study(tmp_path / "study", seed=3)
    to = f"OCULARD@127.0.0.1:{running.port()}"
    sent = running.run("send", str(tmp_path / "study"), "--to", to, "--as", "TOPCON", "--json")
    assert sent.returncode == 0, sent.stderr
    assert [one["outcome"] for one in json.loads(sent.stdout)] == ["taken", "taken"]
    running.wait_for(running.ended(2))

    for name in (files[0].stem, "A000000003", "0000003", next(iter(pacs.uids()))):
        (study,) = json.loads(running.run("trace", name, "--json").stdout)
        assert [delivery["state"] for delivery in study["deliveries"]] == ["delivered", "delivered"]
        assert {event["name"] for event in study["events"]} >= {"received", "settled", "ordered", "claim", "done"}
    assert "Yamada" not in running.run("trace", "A000000003").stdout
    jobs = json.loads(running.run("jobs", "--json").stdout)
    assert [job["state"] for job in jobs] == ["reported", "reported"]
    status = running.run("status", "--json")
    assert status.returncode == 0, status.stderr
    told = json.loads(status.stdout)
    assert {role["role"] for role in told["roles"] if role["alive"]} == {"intake", "worker", "sender", "upkeep", "web"}
    assert told["counts"]["instance"]["kept"] == 2


def test_the_doctor_of_a_healthy_daemon(running: Daemon) -> None:
    """Everything fine, the demonstration weights pointed out, and no port opened: intake has it."""
    done = running.run("doctor", "--json")

    checks = json.loads(done.stdout)
    assert done.returncode == 0, checks
    assert {check["what"] for check in checks} >= {
        "configuration",
        "folder",
        "database",
        "bundle",
        "intake",
        "sender",
        "peer",
        "quality gate",
    }
    assert any("DEMONSTRATION" in check["found"] for check in checks)


def test_the_doctor_says_which_setting_to_change(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A PACS that does not know us, one that is away, a disk below its mark: each with a hint, exit code 1."""
    with PracticePacs(tmp_path / "strict", manners=Manners(callers=("SOMEBODY",))) as strict:
        peers = PEER.format(port=strict.port) + PEER.format(port=free_port()).replace('"pacs"', '"away"')
        daemon = make_daemon(peers, OCULARD_STORE__DISK_FREE_MIN_GIB="1000000")
        done = daemon.run("doctor", "--json")

    assert done.returncode == 1
    wrong = {check["found"]: check["hint"] for check in json.loads(done.stdout) if check["state"] == "WRONG"}
    assert any("pacs-calling-ae-unknown" in found and "AE title" in hint for found, hint in wrong.items())
    assert any("pacs-connection-refused" in found and "[[peers]]" in hint for found, hint in wrong.items())
    assert any("mark 1e+06 GiB" in found and "disk_free_min_gib" in hint for found, hint in wrong.items())


def test_a_gate_that_is_not_there_is_said(make_daemon: Callable[..., Daemon]) -> None:
    """By `doctor`, with exit code 1, and by `models`, which lists the gate of the shelf with its family."""
    fine, without = make_daemon(), make_daemon(OCULARD_WORKER__QUALITY_GATE="gone")

    done = without.run("doctor", "--json")
    (gate,) = (check for check in json.loads(done.stdout) if check["what"] == "quality gate")
    assert (done.returncode, gate["state"]) == (1, "WRONG")
    assert "`gone`" in gate["found"]
    assert "oculard models" in gate["hint"]
    (here,) = (row for row in json.loads(fine.run("models", "--json").stdout) if row["family"] == "quality")
    assert (here["serves"], here["refused"]) == (True, None)
    rows = {row["bundle"]: row for row in json.loads(without.run("models", "--json").stdout)}
    assert rows["gone"]["refused"] == "[worker] names it, and it is not here"
    assert rows[here["bundle"]]["serves"] is False


def test_a_refused_sender_is_let_in_by_one_command(running: Daemon, tmp_path: Path) -> None:
    """Unknown callers are refused and kept; `allow` shows them, and lets one in without a restart."""
    paint_study(tmp_path / "study", seed=4)
    to = f"OCULARD@127.0.0.1:{running.port()}"
    send = ("send", str(tmp_path / "study"), "--to", to, "--as", "NEWCAM", "--json")
    refused = running.run(*send)
    assert refused.returncode == 1
    assert json.loads(refused.stdout)[0]["reason"] == "pacs-calling-ae-unknown"
    running.wait_for(lambda: json.loads(running.run("allow", "--json").stdout))

    assert running.run("allow", "NEWCAM").returncode == 0
    assert running.run(*send).returncode == 0
    assert running.run("allow", "NOBODY").returncode == 1


def test_import_takes_files_by_the_same_way(running: Daemon, pacs: PracticePacs, tmp_path: Path) -> None:
    """A folder from a USB stick gives the same reports; what is no DICOM is refused by name."""
    paint_study(tmp_path / "stick", seed=5)
    (tmp_path / "stick" / "readme.txt").write_text("hello")
    done = running.run("import", str(tmp_path / "stick"), "--json")

    assert done.returncode == 1
    assert sorted(one["outcome"] for one in json.loads(done.stdout)) == ["received", "received", "refused"]
    running.wait_for(running.ended(2))
    assert len(pacs.uids()) == 2


def test_import_says_what_of_an_export_is_not_whole(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A Topcon's own file becomes instances; an acquisition of its exporter without its photograph is named."""
    shown = paint_volume(draw_eye(1, "normal"), frames=32, depth=100, columns=48)
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "a.fda").write_bytes(fda(shown.volume.pixels, layers=shown.layers).content())
    volume = wrap_volume(shown, Visit(study_uid="2.25.31", series_uid="2.25.32"), uid="2.25.33")
    volume.save_as(tmp_path / "stick" / "0001_1.1.dcm", enforce_file_format=True)

    done = make_daemon().run("import", str(tmp_path / "stick"), "--json")

    assert [one["outcome"] for one in json.loads(done.stdout)] == ["received"] * 3
    assert done.returncode == 0
    assert "0001_*: 1 files of a Topcon acquisition" in done.stderr
    assert "missing: 2.1 (its photograph)" in done.stderr


def test_settle_does_not_wait(make_daemon: Callable[..., Daemon], pacs: PracticePacs, tmp_path: Path) -> None:
    """A study that its device would still hold open is settled by hand."""
    daemon = make_daemon(PEER.format(port=pacs.port), OCULARD_SETTLING__QUIET_S="3600")
    daemon.start()
    paint_study(tmp_path / "study", seed=6)
    assert daemon.run("import", str(tmp_path / "study")).returncode == 0
    assert daemon.run("settle", "A000000006").returncode == 0
    daemon.wait_for(daemon.ended(2))
    assert daemon.run("settle", "A000000006").returncode == 1


def test_parked_reports_are_sent_again_by_one_command(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A PACS that refuses us parks the reports with the cause; after it was told about us, `retry` sends them."""
    with PracticePacs(tmp_path / "pacs", manners=Manners(callers=("SOMEBODY",))) as pacs:
        port = pacs.port
        daemon = make_daemon(PEER.format(port=port))
        daemon.start()
        paint_study(tmp_path / "study", seed=7)
        daemon.run("import", str(tmp_path / "study"))
        daemon.wait_for(lambda: daemon.app.trace.counts()["delivery"] == {"parked": 2})
        parked = daemon.app.trace.deliveries(state="parked", limit=10)
        assert {one["reason"] for one in parked} == {"pacs-calling-ae-unknown"}
    with PracticePacs(tmp_path / "pacs", port=port) as pacs:
        assert daemon.run("retry", "--peer", "pacs").returncode == 0
        daemon.wait_for(daemon.ended(2))
        assert len(pacs.uids()) == 2


def test_what_a_renamed_peer_left_goes_to_the_new_name(
    make_daemon: Callable[..., Daemon], pacs: PracticePacs, tmp_path: Path
) -> None:
    """A PACS that got another name in the configuration leaves its reports parked, until one command names it."""
    daemon = make_daemon(PEER.format(port=free_port()))
    daemon.start()
    paint_study(tmp_path / "study", seed=8)
    daemon.run("import", str(tmp_path / "study"))
    daemon.wait_for(lambda: daemon.app.trace.counts()["delivery"] == {"pending": 2})
    daemon.stop()
    before = daemon.file.read_text(encoding="utf-8").split("[[peers]]")[0]
    daemon.file.write_text(before + PEER.format(port=pacs.port).replace('"pacs"', '"archive"'), encoding="utf-8")
    daemon.start()
    daemon.wait_for(lambda: daemon.app.trace.counts()["delivery"] == {"parked": 2})
    assert daemon.run("retry", "--peer", "pacs").returncode == 2
    assert daemon.run("retry", "--peer", "pacs", "--to", "nobody").returncode == 2
    assert daemon.run("retry", "--to", "archive").returncode == 2
    assert daemon.run("retry", "--peer", "pacs", "--to", "archive").returncode == 0
    daemon.wait_for(daemon.ended(2))
    assert len(pacs.uids()) == 2


def get(url: str) -> tuple[int, str]:
    """Status and body of a page."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as why:
        return why.code, why.read().decode()


def test_the_endpoints(running: Daemon) -> None:
    """Alive, ready, and counted; nothing else is served."""
    at = f"http://127.0.0.1:{running.port('web')}"

    assert get(f"{at}/healthz") == (200, "ok\n")
    status, body = get(f"{at}/readyz")
    assert (status, json.loads(body)["ready"]) == (200, True)
    status, body = get(f"{at}/metrics")
    assert status == 200
    assert 'oculard_role_up{role="worker"} 1.0' in body
    assert "oculard_disk_free_bytes" in body
    assert get(f"{at}/docs")[0] == 404


def test_not_ready_without_its_roles(make_daemon: Callable[..., Daemon]) -> None:
    """A web role alone is alive and not ready."""
    import subprocess
    import sys

    daemon = make_daemon()
    command = [sys.executable, "-m", "oculard", "--config", str(daemon.file), "web"]
    with (daemon.folder / "log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
        daemon.wait_for(daemon.app.roles.list)
        status, body = get(f"http://127.0.0.1:{daemon.port('web')}/readyz")
        process.terminate()
    assert status == 503
    assert json.loads(body)["checks"]["role worker"] is False
    assert DEAD_S


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--config", "/nowhere.toml", "status"), 2, "cannot read configuration"),
        (("retry",), 2, "nothing to retry was named"),
        (("send", ".", "--to", "nonsense"), 2, "is not AE_TITLE@HOST:PORT"),
        (("send", ".", "--peer", "nobody"), 2, "no peer is called"),
        (("trace", "9.9.9"), 1, "no study is known"),
        (("import", "/nowhere"), 2, "does not exist"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_misuse_ends_with_what_to_do(
    make_daemon: Callable[..., Daemon], arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Exit 2 for misuse and misconfiguration, 1 for what failed; words to stderr, nothing to stdout."""
    done = make_daemon().run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_a_wrong_revision_is_refused_by_every_role(make_daemon: Callable[..., Daemon]) -> None:
    """The daemon never starts on a database that does not fit; it says which command helps."""
    daemon = make_daemon()
    with daemon.app.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")

    for role in ("run", "intake", "worker", "sender", "upkeep", "web", "status"):
        done = daemon.run(role)
        assert done.returncode == 2, role
        assert "oculard db upgrade" in done.stderr


def test_a_family_without_its_bundle_is_refused(make_daemon: Callable[..., Daemon]) -> None:
    """A configuration that asks for what is not there stops the daemon before it takes an image it cannot serve."""
    daemon = make_daemon(OCULARD_WORKER__ESTIMATORS='{"systemic": "joir"}')

    done = daemon.run("run")
    assert done.returncode == 2
    assert "bundle `joir`, which is not here" in done.stderr


def test_what_cannot_be_used_is_said_and_not_a_bug(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A folder that cannot be made, a database that is none, a port that is taken: exit 2 and what to change."""
    (tmp_path / "file").write_text("no folder")
    in_file = make_daemon(OCULARD_STORE__FOLDER=str(tmp_path / "file" / "x"))
    no_database = make_daemon()
    no_database.app.database.close()
    (no_database.folder / "data" / "oculard.db").write_bytes(b"hello" * 4000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = make_daemon(OCULARD_WEB__PORT=str(taken.getsockname()[1]))
        told = {
            "cannot make the database": in_file.run("db", "upgrade"),
            "there is no database": in_file.run("status"),
            "is no database": no_database.run("status"),
            "cannot listen": busy.run("run"),
        }
        checks = json.loads(busy.run("doctor", "--json").stdout)

    for words, done in told.items():
        assert (done.returncode, "a bug in oculard" in done.stderr) == (2, False), done.stderr
        assert words in done.stderr
        assert "hint:" in done.stderr
    assert [check["state"] for check in checks if check["what"] == "web"] == ["WRONG"]
    assert in_file.run("doctor", "--json").returncode == 1


def test_only_the_daemons_user_may_look(make_daemon: Callable[..., Daemon]) -> None:
    """The database holds identifiers of patients."""
    folder = make_daemon().folder / "data"

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "oculard.db").stat().st_mode & 0o777 == 0o600


def test_status_of_a_daemon_that_does_not_run(make_daemon: Callable[..., Daemon]) -> None:
    """Says which roles are missing, with exit code 1."""
    done = make_daemon().run("status")

    assert done.returncode == 1
    assert "not running: intake, sender, upkeep, worker" in done.stderr


def test_config_and_db(make_daemon: Callable[..., Daemon]) -> None:
    """`config check`, `show`, `example`, and `db upgrade` on a database that is up to date."""
    daemon = make_daemon()

    assert daemon.run("config", "check").returncode == 0
    assert '"port": 0' in daemon.run("config", "show", "--json").stdout
    assert daemon.run("config", "example").stdout.startswith("# oculard: configuration.")
    upgraded = daemon.run("db", "upgrade")
    assert (upgraded.returncode, upgraded.stdout) == (0, "")
    assert "0004 -> 0004" in upgraded.stderr
