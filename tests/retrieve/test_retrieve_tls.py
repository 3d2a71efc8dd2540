"""Archives that are called by TLS, and that send to us by TLS: Orthanc, a web server, and those that are wrong."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from archived import study, taking
from provider import Page, web

from devices import Site
from oculard.retrieve.archive import Archive, ArchiveAway, ArchiveNotTrusted, ArchiveRefused, Days
from oculard.retrieve.archives import archive_of
from oculard.settings import Settings
from oculard.settings_night import Archive as Entry
from peers import LOOPBACK, Orthanc, running_orthanc
from tls_samples import Authority, Pair, replace

NOVEMBER = Days(first=date(2026, 11, 1), last=date(2026, 11, 30))


@pytest.fixture
def here(tmp_path: Path, authority: Authority, ours: Pair) -> Iterator[Site]:
    """An intake with both ports, that knows Orthanc by its certificate."""
    values = {
        "store": {"folder": tmp_path / "store", "disk_free_min_gib": 0.0},
        "intake": {
            "host": LOOPBACK,
            "port": 0,
            "tls": {"port": 0, "certificate": ours.certificate, "key": ours.key, "authorities": authority.file},
        },
        "senders": [{"name": "pacs", "ae_title": "ORTHANC", "certificates": ["pacs.clinic.test"]}],
        "delivery": {"connect_s": 2.0},
        "archives": [{"name": "pacs", "ae_title": "ORTHANC", "host": LOOPBACK, "tls": {}}],
    }
    site = Site(Settings.model_validate(values))
    with site.role:
        yield site
    site.database.close()


@pytest.fixture
def pacs(tmp_path: Path, authority: Authority) -> Iterator[Orthanc]:
    """An Orthanc that speaks TLS alone, and asks for certificates."""
    pair = authority.pair("pacs.clinic.test")
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(pair.certificate),
        "DicomTlsPrivateKey": str(pair.key),
        "DicomTlsTrustedCertificates": str(authority.file),
        "DicomTlsRemoteCertificateRequired": True,
    }
    with running_orthanc(tmp_path / "orthanc", **tls) as peer:
        yield peer


def opened(here: Site, **entry: Any) -> Archive:
    """The client of an archive."""
    values = {"name": "pacs", "ae_title": "ORTHANC", "host": LOOPBACK, "find_s": 20.0, "study_s": 60.0, "tls": {}}
    return archive_of(Entry.model_validate(values | entry), here.settings, here.vault)


@pytest.mark.parametrize("how", ["move", "get"])
def test_a_study_comes_by_tls(pacs: Orthanc, here: Site, how: str) -> None:
    """Orthanc is asked by TLS and gives by TLS: within C-GET, and by C-MOVE on a call of its own to our TLS port."""
    one = study(1, "20261120")
    for file in one.files:
        pacs.add(file)
    to_us = {"AET": "OCULARD", "Host": LOOPBACK, "Port": here.server.tls_port, "UseDicomTls": True}
    pacs.put("/modalities/oculard", to_us)
    archive = opened(here, how=how, port=pacs.port)

    assert [found.study_instance_uid for found in archive.find_studies(NOVEMBER, ())] == [one.uid]
    said = archive.retrieve(one.uid, taking(here))
    here.wait_idle()

    assert (said.completed, said.failed, len(here.rows())) == (3, 0, 3)
    archive.close()


def test_who_is_not_trusted(pacs: Orthanc, here: Site, ours: Pair) -> None:
    """Nothing is asked of whom we do not know, and who does not know us is told apart; so is who is plain."""
    with pytest.raises(ArchiveNotTrusted):
        opened(here, port=pacs.port, tls={"certificates": ["other.clinic.test"]}).find_studies(NOVEMBER, ())
    with pytest.raises(ArchiveAway) as why:
        opened(here, port=here.port).find_studies(NOVEMBER, ())
    assert (why.value.reason, "TLS" in why.value.hint) == ("archive-speaks-no-tls", True)
    (ours.key.parent / "other").mkdir()
    stranger = Authority(ours.key.parent / "other", "Other Authority").pair("oculard.clinic.test")
    pair = {"certificate": stranger.certificate, "key": stranger.key}
    with pytest.raises(ArchiveRefused) as refused:
        opened(here, port=pacs.port, tls=pair).find_studies(NOVEMBER, ())
    assert refused.value.reason == "archive-refuses-certificate"


def test_without_our_files_the_archive_waits(pacs: Orthanc, here: Site, ours: Pair) -> None:
    """What is wrong here is said to be wrong here, and is looked at again at the next question."""
    key = ours.key.read_bytes()
    archive = opened(here, port=pacs.port)
    ours.key.unlink()

    with pytest.raises(ArchiveAway) as why:
        archive.find_studies(NOVEMBER, ())
    assert why.value.reason == "certificate-unusable"
    replace(ours.key, key)
    assert archive.find_studies(NOVEMBER, ()) == []
    archive.close()


def test_a_web_service_asks_for_our_certificate(here: Site, authority: Authority, tmp_path: Path) -> None:
    """DICOMweb with authorities of its own and with our certificate; both are read again when they change."""
    server = authority.pair("web.clinic.test")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(server.certificate, server.key)
    trusted = tmp_path / "web.pem"
    with web(lambda asked: Page(body=b"[]"), tls=context) as port:
        archive = opened(here, how="dicomweb", url=f"https://{LOOPBACK}:{port}/web", tls={"authorities": str(trusted)})
        with pytest.raises(ArchiveAway) as why:
            archive.find_studies(NOVEMBER, ())
        assert why.value.reason == "certificate-unusable"
        replace(trusted, authority.file.read_bytes())
        assert archive.find_studies(NOVEMBER, ()) == []
        (tmp_path / "other").mkdir()
        replace(trusted, Authority(tmp_path / "other", "Other Authority").file.read_bytes())
        with pytest.raises(ArchiveNotTrusted):
            archive.find_studies(NOVEMBER, ())
        archive.close()
