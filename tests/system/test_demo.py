"""`oculard demo`: what a newcomer runs first."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_checked_reports(tmp_path: Path) -> None:
    """One command paints, sends, estimates, reports and checks; what was sent and received is kept."""
    kept = tmp_path / "kept"
    command = [sys.executable, "-m", "oculard", "demo", "--keep", str(kept), "--json"]
    real = {"OCULARD_STORE__FOLDER": str(tmp_path / "real"), "OCULARD_CONFIG": "/nowhere.toml"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | real)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert len(told["reports"]) == 2
    assert {value["eye"] for value in told["values"]} == {"R", "L"}
    assert len(list((kept / "sent").glob("*.dcm"))) == 2
    assert {path.stem for path in (kept / "received").glob("*.dcm")} == set(told["reports"])
    assert not (tmp_path / "real").exists(), "the demo met the real store"
    assert "DEMONSTRATION" in (kept / "report.html").read_text(encoding="utf-8").upper()


def test_the_demo_leaves_no_name_in_its_log(tmp_path: Path) -> None:
    """Promise 5 on the whole path: no name, id or birth date of the painted patient in the daemon's log."""
    kept = tmp_path / "kept"
    subprocess.run([sys.executable, "-m", "oculard", "demo", "--keep", str(kept)], capture_output=True, check=True)

    log = (kept / "oculard.log").read_bytes()
    for secret in ("Yamada", "Tarou", "山田", "やまだ", "0261120", "眼科", "A020261120"):
        assert secret.encode() not in log, f"{secret} is in the log"
        assert secret.encode("iso2022_jp") not in log
