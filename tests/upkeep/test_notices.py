"""Telling people: by real mail and a real webhook on loopback, once each, however often something fails on the way."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import select

from fakes import FakeClock
from inboxes import MailServer, Webhook, mail_server, webhook
from oculard import log
from oculard.job import backoff_s
from oculard.store import tables
from oculard.store.notices import Content
from oculard.upkeep import notices
from oculard.upkeep.addresses import Address, read_addresses
from oculard.upkeep.notices import ATTEMPTS_MAX, BACKOFF_S_MAX, KEPT, PER_WAKE_UP, Postman
from peers import free_port
from shelf import Shelf

SECRET = "geheim-9731"
NIGHT = {"title": "夜間処理の結果", "text": "済み: 12件", "html": "<!doctype html><h1>夜間処理</h1><p>済み: 12件</p>"}


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook."""
    with webhook() as server:
        yield server


@pytest.fixture
def inbox() -> Iterator[MailServer]:
    """A mail server."""
    with mail_server() as server:
        yield server


def hook_url(port: int) -> str:
    """The webhook's URL, with a password."""
    return f"json://user:{SECRET}@127.0.0.1:{port}/notices"


def mail_url(inbox: MailServer) -> str:
    """The mail server's URL."""
    return f"mailto://127.0.0.1:{inbox.port}?from=oculard@clinic.test&to=doctor@clinic.test"


def postman(shelf: Shelf, *urls: str) -> Postman:
    """Who sends to these URLs."""
    return Postman(
        owner="upkeep",
        addresses=read_addresses(urls),
        notices=shelf.notices,
        alarms=shelf.alarms,
        clock=shelf.clock,
    )


def standing(shelf: Shelf) -> list[tuple[str, str]]:
    """The standing alarms."""
    return [(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()]


def test_mail_shows_the_page_and_a_webhook_gets_the_text(shelf: Shelf, hook: Webhook, inbox: MailServer) -> None:
    """Each address is told once, in the form it takes, in Japanese; a further wake-up tells nobody."""
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    post = postman(shelf, hook_url(hook.port), mail_url(inbox))
    post.send_notices()
    post.send_notices()

    (message,), (mail,) = hook.got, inbox.mails
    assert (message["title"], message["message"], message["type"]) == (NIGHT["title"], NIGHT["text"], "info")
    page = mail.get_body(preferencelist=("html",))
    plain = mail.get_body(preferencelist=("plain",))
    assert page is not None
    assert plain is not None
    assert NIGHT["html"] in page.get_content()
    assert "済み: 12件" in plain.get_content()
    assert (mail["Subject"], mail["To"]) == (NIGHT["title"], "doctor@clinic.test")
    assert shelf.notices.queue.counts() == {"delivered": 1}


def test_a_notice_without_a_page_is_mailed_as_text(shelf: Shelf, inbox: MailServer) -> None:
    """Lines stay lines."""
    shelf.notices.tell("alarm", "disk-full", {"title": "t", "text": "one <b>\ntwo", "html": None})
    postman(shelf, mail_url(inbox)).send_notices()

    (mail,) = inbox.mails
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().split("\r\n")[:2] == ["one <b>", "two"]


def test_one_dead_address_does_not_repeat_mails_to_the_others(
    shelf: Shelf, clock: FakeClock, hook: Webhook, inbox: MailServer
) -> None:
    """Who has it is not told again; who has not is tried again, later each time, until it has it."""
    hook.status = 503
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    post = postman(shelf, hook_url(hook.port), mail_url(inbox))
    for attempt in (1, 2, 3):
        post.send_notices()
        assert (len(inbox.mails), len(hook.got)) == (1, 0)
        clock.pass_(backoff_s(attempt, longest_s=BACKOFF_S_MAX) - 0.5)
        assert not post.step(), "not before its pause is over"
        clock.pass_(0.5)

    hook.status = 200
    postman(shelf, hook_url(hook.port), mail_url(inbox)).send_notices()  # another process, later
    assert (len(inbox.mails), len(hook.got)) == (1, 1)
    assert shelf.notices.queue.counts() == {"delivered": 1}
    assert standing(shelf) == []


def test_a_notice_that_never_goes_is_parked_with_an_alarm(shelf: Shelf, clock: FakeClock, inbox: MailServer) -> None:
    """After twenty tries it needs a person; the alarm names the place, and clears when it takes something again."""
    port = free_port()
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    post = postman(shelf, hook_url(port), mail_url(inbox))
    began = clock.now()
    for _ in range(ATTEMPTS_MAX):
        assert standing(shelf) == []
        assert post.step()
        clock.pass_(BACKOFF_S_MAX)
    assert shelf.notices.queue.counts() == {"parked": 1}
    assert standing(shelf) == [("notice-not-sent", "json://127.0.0.1")]
    assert clock.now() - began < timedelta(days=6)
    assert len(inbox.mails) == 1

    with webhook() as hook:
        post = postman(shelf, hook_url(hook.port), mail_url(inbox))
        post.look_after_notices()
        assert standing(shelf) == [("notice-not-sent", "json://127.0.0.1")], "it did not take anything yet"
        assert shelf.notices.resend(actor="person:x") == 1
        post.send_notices()
        assert (len(hook.got), len(inbox.mails)) == (1, 1)
    assert standing(shelf) == []


def test_an_address_that_went_is_complained_of_no_more(shelf: Shelf) -> None:
    """Its alarm goes with it; a URL that nobody understands has one from the first look on, and shows nothing."""
    shelf.alarms.raise_("notice-not-sent", "json://gone.example")
    post = postman(shelf, f"jsn://user:{SECRET}@127.0.0.1", f"jsn://user:{SECRET}@127.0.0.1")
    for _ in (1, 2):
        post.look_after_notices()

    assert standing(shelf) == [("notice-not-sent", "URL 1")]
    postman(shelf).look_after_notices()
    assert standing(shelf) == []


def test_without_an_address_nothing_is_tried(shelf: Shelf) -> None:
    """A notice waits: it is not counted as told, and no attempt is spent."""
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    postman(shelf).send_notices()

    assert shelf.notices.queue.counts() == {"pending": 1}


def test_a_wake_up_sends_a_few(shelf: Shelf, hook: Webhook) -> None:
    """A long queue of notices is no flood: the rest goes at the next wake-ups."""
    for number in range(PER_WAKE_UP + 2):
        shelf.notices.tell("night", str(number), NIGHT)
    post = postman(shelf, hook_url(hook.port))
    post.send_notices()
    assert len(hook.got) == PER_WAKE_UP
    post.send_notices()

    assert shelf.notices.queue.counts() == {"delivered": PER_WAKE_UP + 2}


def test_what_is_redirected_was_not_told(shelf: Shelf, hook: Webhook) -> None:
    """A redirected POST arrives nowhere, and the page that it ends at says yes: that is no success."""
    hook.status = 302
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    postman(shelf, hook_url(hook.port)).send_notices()

    assert shelf.notices.queue.counts() == {"pending": 1}
    assert hook.elsewhere == 0


def test_a_refused_recipient_was_not_told(shelf: Shelf, inbox: MailServer) -> None:
    """The mail server knows nobody of that name: it is tried again, not counted as sent."""
    inbox.takes = False
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    postman(shelf, mail_url(inbox)).send_notices()

    assert shelf.notices.queue.counts() == {"pending": 1}
    assert inbox.mails == []


def test_who_died_while_sending_is_followed(shelf: Shelf, clock: FakeClock, hook: Webhook) -> None:
    """Its lease ends and another one sends; an attempt was counted."""
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    shelf.notices.claim("dead", lease_s=60)
    clock.pass_(61)
    shelf.notices.queue.reap()
    postman(shelf, hook_url(hook.port)).send_notices()

    assert len(hook.got) == 1
    with shelf.database.read() as connection:
        assert connection.execute(select(tables.notice.c.attempts)).scalar_one() == 2


def test_who_is_too_slow_throws_its_success_away(shelf: Shelf, clock: FakeClock) -> None:
    """Its lease ended while it sent, and another one holds the notice: it goes on with the next one all the same."""

    class Slow(Address):
        """An address that takes its time."""

        def give(self, kind: str, content: Content) -> bool:
            """Let the lease end meanwhile."""
            clock.pass_(3600)
            shelf.notices.queue.reap()
            assert shelf.notices.claim("other", lease_s=60) is not None
            return True

    shelf.notices.tell("night", "2026-11-28", NIGHT)
    post = replace(postman(shelf), addresses=[Slow(place="slow://", fingerprint="s")])
    post.send_notices()

    assert shelf.notices.queue.counts() == {"sending": 1}


def test_a_chat_is_shown_no_page() -> None:
    """Only what takes whole pages gets one: mail, and who mails for others; not when its URL asks for text."""
    urls = {
        "mailto://u:p@gmail.com": True,
        "sendgrid://abcd:from@a.test/to@b.test": True,
        "mailto://u:p@gmail.com?format=text": False,
        "tgram://123456789:aaaaaaaaaaaaaaaaaaaaaaaa/-100": False,
        "json://host": False,
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ": False,
    }
    assert [address._shows_pages() for address in read_addresses(urls)] == list(urls.values())


def test_what_was_told_long_ago_is_forgotten(shelf: Shelf, clock: FakeClock, hook: Webhook) -> None:
    """Sent and parked ones go after some months; what still waits stays."""
    post = postman(shelf, hook_url(hook.port))
    shelf.notices.tell("night", "old", NIGHT)
    post.send_notices()
    hook.status = 503
    shelf.notices.tell("night", "waiting", NIGHT)
    clock.pass_(KEPT.total_seconds())
    post.look_after_notices()
    assert shelf.notices.queue.counts() == {"delivered": 1, "pending": 1}
    clock.pass_(1)
    post.look_after_notices()

    assert shelf.notices.queue.counts() == {"pending": 1}


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that the program and its libraries print, at the loudest level."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    to = io.StringIO()
    log.configure(level="debug", form="json", role="test", to=to)
    monkeypatch.setattr(notices, "logger", log.get("upkeep"))  # the old one keeps to where it printed first
    root.setLevel(logging.DEBUG)
    yield to
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def test_nothing_secret_is_printed(shelf: Shelf, hook: Webhook, printed: io.StringIO) -> None:
    """A password in a URL, the host that is a token, a sender's words: none is in a log, an alarm, a row or a repr."""
    urls = (
        hook_url(hook.port),
        hook_url(free_port()),
        f"mailto://user:{SECRET}@127.0.0.1:{free_port()}?from=b@b.test&to=a@b.test",
        f"tgram://123456789:{SECRET}aaaaaaaaaaaaaaaa/-100?cto=0.1&rto=0.1",
        f"nosuch://{SECRET}",
    )
    shelf.notices.tell("night", "2026-11-28", NIGHT)
    post = postman(shelf, *urls[:3], *urls[4:])
    post.look_after_notices()
    post.send_notices()

    places = [address.place for address in read_addresses(urls)]
    assert places == ["json://127.0.0.1", "json://127.0.0.1 (2)", "mailto://127.0.0.1", "tgram://", "URL 5"]
    with shelf.database.read() as connection:
        kept = str(connection.execute(select(tables.notice)).all()) + str(
            connection.execute(select(tables.alarm)).all()
        )
    lines = printed.getvalue()
    assert "notice not sent" in lines
    assert any(json.loads(line).get("library", "").startswith("apprise") for line in lines.splitlines())
    for text in (lines, kept, repr(post.addresses)):
        assert SECRET not in text


def test_the_alarm_of_a_long_address_stands_until_it_takes_something(shelf: Shelf) -> None:
    """Its place is cut to what an alarm holds; it is the same address all the same, and not raised anew each hour."""
    post = postman(shelf, f"json://{'a' * 60}.{'b' * 60}.{'c' * 60}.test/notices")
    (address,) = post.addresses
    assert len(address.place) > 128
    shelf.alarms.raise_("notice-not-sent", address.place)
    before = shelf.alarms.standing()
    post.look_after_notices()

    assert shelf.alarms.standing() == before != []
