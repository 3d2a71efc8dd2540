"""The whole path by TLS alone: a device sends, Orthanc keeps the report and commits to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from daemons import Daemon, paint_study
from oculard.cli.check import WRONG
from peers import LOOPBACK, free_port, program, running_orthanc
from tls_samples import Authority

CONFIGURATION = """
certificates = ["device.clinic.test"]

[intake.tls]
port = {port}
plain = false
certificate = "{folder}/oculard.clinic.test.pem"
key = "{folder}/oculard.clinic.test.key"
authorities = "{folder}/Clinic Authority.pem"

[[peers]]
name = "orthanc"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {orthanc}
commitment = true
tls = {{ certificates = ["{fingerprint}"] }}
"""


def test_the_whole_path_by_tls(make_daemon: Callable[..., Daemon], authority: Authority, tmp_path: Path) -> None:
    """Images in, report out, storage commitment back on Orthanc's own call; the doctor finds nothing wrong with it."""
    device, pacs = authority.pair("device.clinic.test"), authority.pair("pacs.clinic.test")
    authority.pair("oculard.clinic.test")
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(pacs.certificate),
        "DicomTlsPrivateKey": str(pacs.key),
        "DicomTlsTrustedCertificates": str(authority.file),
        "DicomTlsRemoteCertificateRequired": True,
    }
    port, files = free_port(), paint_study(tmp_path / "study", 7)
    with running_orthanc(tmp_path / "orthanc", **tls) as orthanc:
        us = {"AET": "OCULARD", "Host": LOOPBACK, "Port": port, "UseDicomTls": True, "AllowStorageCommitment": True}
        orthanc.put("/modalities/oculard", us)
        values = {"port": port, "folder": tmp_path, "orthanc": orthanc.port, "fingerprint": pacs.fingerprint}
        daemon = make_daemon(CONFIGURATION.format(**values))
        daemon.start()
        command = [
            program("storescu"),
            "-xy",
            *device.options,
            "+cf",
            str(authority.file),
            "-aet",
            "TOPCON",
            "-aec",
            "OCULARD",
        ]
        subprocess.run([*command, LOOPBACK, str(port), *map(str, files)], check=True, capture_output=True, timeout=60)
        daemon.wait_for(daemon.ended(2))

        checks = json.loads(daemon.run("doctor", "--json").stdout)

        assert len(orthanc.get("/instances")) == 2
    wrong = [check for check in checks if check["state"] == WRONG and check["what"] in ("tls", "peer", "intake")]
    assert wrong == []
    assert [check["state"] for check in checks if check["what"] == "tls"] == ["fine"]
    assert any(check["what"] == "intake" and check["found"].endswith(f"TLS on port {port}") for check in checks)
    events = daemon.log()
    assert any(event["event"] == "commitment answered" for event in events)
    reasons = [event.get("reason") or "" for event in events]
    assert [reason for reason in reasons if reason.startswith(("tls", "plain", "pacs"))] == []
    assert "PRIVATE" not in (daemon.folder / "log").read_text(encoding="utf-8")
