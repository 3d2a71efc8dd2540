"""People are told by the real daemon, and the commands show nothing of a URL but scheme and host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import Daemon
from inboxes import Webhook, webhook
from oculard.job import DeliveryEvent
from peers import free_port
from tls_samples import Authority, in_days

SECRET = "geheim-9731"


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook."""
    with webhook() as server:
        yield server


def url(port: int) -> str:
    """A URL that holds a password."""
    return f"json://user:{SECRET}@127.0.0.1:{port}"


def in_a_file(folder: Path, *urls: str) -> str:
    """The configuration of URLs that stand in a file; of the night nobody is told."""
    file = folder / "urls"
    file.write_text("\n".join(urls), encoding="utf-8")
    return f'\n[notify]\nnight = false\nurls_file = "{file}"\n'


def test_a_model_that_is_missing_is_told(make_daemon: Callable[..., Daemon], hook: Webhook, tmp_path: Path) -> None:
    """The worker finds out, the alarm stands with its meaning, a notice arrives; after a restart all is well again."""
    daemon = make_daemon('\n[worker]\ndisc_finder = "nowhere"\n' + in_a_file(tmp_path, url(hook.port)))
    daemon.start()
    daemon.wait_for(lambda: hook.got)
    assert [message["type"] for message in hook.got] == ["warning"]
    assert "model-refused" in hook.got[0]["message"]
    status = daemon.run("status", "--json")
    assert status.returncode == 1
    (alarm,) = json.loads(status.stdout)["alarms"]
    assert (alarm["name"], alarm["subject"]) == ("model-refused", "fundus-quality")
    assert alarm["means"].startswith("A model that the configuration names")
    assert json.loads(status.stdout)["counts"]["notice"] == {"delivered": 1}

    daemon.stop()
    daemon.file.write_text(daemon.file.read_text().replace('disc_finder = "nowhere"', ""))
    daemon.start()
    daemon.wait_for(lambda: not daemon.app.alarms.standing())
    assert SECRET not in (daemon.folder / "log").read_text()


def test_the_administrator_tries_every_address(
    make_daemon: Callable[..., Daemon], hook: Webhook, tmp_path: Path
) -> None:
    """`notify` says which took it; the doctor says which is understood; neither shows a secret, nor does the settings'
    command."""
    wrong = f"jsn://user:{SECRET}@host"
    dead = url(free_port())
    daemon = make_daemon(in_a_file(tmp_path, url(hook.port), dead, wrong))
    done = daemon.run("notify", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == [
        {"address": "json://127.0.0.1", "is_understood": True, "sent": True},
        {"address": "json://127.0.0.1 (2)", "is_understood": True, "sent": False},
        {"address": "URL 3", "is_understood": False, "sent": False},
    ]
    assert [message["title"] for message in hook.got] == ["oculard oculard: test"]
    doctor, show, check = daemon.run("doctor", "--json"), daemon.run("config", "show"), daemon.run("config", "check")
    found = [(one["state"], one["found"]) for one in json.loads(doctor.stdout) if one["what"] == "notices"]
    assert found == [
        ("fine", "to json://127.0.0.1; `oculard notify` sends a test"),
        ("fine", "to json://127.0.0.1 (2); `oculard notify` sends a test"),
        ("WRONG", "URL 3 is not understood"),
    ]
    for one in (done, doctor, show, check):
        assert SECRET not in one.stdout + one.stderr

    (tmp_path / "urls").write_text(url(hook.port))
    assert daemon.run("notify").returncode == 0


def test_the_doctor_looks_at_certificates(
    make_daemon: Callable[..., Daemon], authority: Authority, tmp_path: Path
) -> None:
    """How long each lasts; one that ends soon, and a file that holds none."""
    paths = [tmp_path / name for name in ("good.pem", "ending.pem", "none.pem")]
    for path, days in zip(paths, (365.5, 5.5), strict=False):
        path.write_bytes(authority.of_its_own(in_days(days)))
    paths[2].write_text("nothing")
    done = make_daemon(f"\n[alarms]\ncertificates = {json.dumps([str(path) for path in paths])}\n").run(
        "doctor", "--json"
    )

    found = [one for one in json.loads(done.stdout) if one["what"] == "certificate"]
    assert [one["state"] for one in found] == ["fine", "look", "WRONG"]
    assert [one["found"].endswith("days left") for one in found] == [True, True, False]
    assert "5 days left" in found[1]["found"]


def test_a_parked_notice_is_sent_again_by_a_person(make_daemon: Callable[..., Daemon]) -> None:
    """`retry --notices`; the next time there is none."""
    daemon = make_daemon()
    daemon.app.notices.tell("night", "2026-11-28", {"title": "t", "text": "x", "html": None})
    notice = daemon.app.notices.claim("test", lease_s=60)
    assert notice is not None
    daemon.app.notices.settle(notice, DeliveryEvent.PARK, taken=[])

    assert daemon.run("retry", "--notices").returncode == 0
    assert daemon.app.notices.queue.counts() == {"pending": 1}
    assert daemon.run("retry", "--notices").returncode == 1


def test_without_an_address_notify_says_where_to_write_it(make_daemon: Callable[..., Daemon]) -> None:
    """Nobody is to be told: that is no success. An unreadable file is named."""
    done = make_daemon().run("notify")
    assert done.returncode == 2
    assert "urls_file" in done.stderr

    done = make_daemon('\n[notify]\nurls_file = "/nowhere/urls"\n').run("notify")
    assert done.returncode == 2
    assert "/nowhere/urls" in done.stderr


@pytest.mark.parametrize(
    "given", ['"json://u:geheim-9731@h"', "json://u:geheim-9731@h", '["json://u:geheim-9731@h", 5]']
)
def test_a_wrong_variable_does_not_show_what_it_holds(make_daemon: Callable[..., Daemon], given: str) -> None:
    """A list was expected: said, without the text that came instead."""
    done = make_daemon(OCULARD_NOTIFY__URLS=given).run("config", "check")

    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr
    assert "urls" in done.stderr or "notify" in done.stderr


def test_the_environment_names_addresses_too(make_daemon: Callable[..., Daemon], hook: Webhook) -> None:
    """Masked in `config show`."""
    daemon = make_daemon(OCULARD_NOTIFY__URLS=json.dumps([url(hook.port)]))
    assert daemon.run("notify").returncode == 0
    assert len(hook.got) == 1
    for how in ((), ("--json",)):
        shown = daemon.run("config", "show", *how)
        assert shown.returncode == 0
        assert SECRET not in shown.stdout + shown.stderr
