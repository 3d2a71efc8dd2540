"""The configuration: what is wrong is an error that names it, from the file, the environment and the defaults alike."""

import tomllib
from pathlib import Path

import pytest

from oculard.cli.example import as_toml
from oculard.errors import Misconfigured
from oculard.settings import Settings, load

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "oculard.toml"
    path.write_text(text, encoding="utf-8")
    return path


BAD = [
    ("[intake]\nprot = 104\n", "unknown key `intake.prot`"),
    ("[inteke]\nport = 104\n", "unknown key `inteke`"),
    ("[intake]\nport = 70000\n", "`intake.port`"),
    ('[intake]\nae_title = "THIS TITLE IS TOO LONG"\n', "`intake.ae_title`"),
    ('[[senders]]\nname = "a"\nae_title = "A"\naddresses = ["300.1.1.1"]\n', "300.1.1.1"),
    (
        '[[senders]]\nname = "a"\nae_title = "A"\n[[senders]]\nname = "a"\nae_title = "B"\n',
        "two senders are called `a`",
    ),
    ('[[plan]]\nfamilies = ["systemic"]\nsender = "x"\n', "sender `x`, which is not in [[senders]]"),
    ('[[plan]]\nfamilies = ["horoscope"]\n', "family `horoscope`, which has no bundle"),
    ('[site]\ntime_zone = "Tokyo"\n', "`Tokyo` is not an IANA time zone"),
    ('[site]\norganisation = "眼科"\n', "`site.organisation`"),
    ('[store]\ndatabase_url = "postgresql+psycopg://a:secret@h/d"\n', "holds a password"),
    ('[store]\ndatabase_password = "secret"\n', "database_password stands in the file"),
    ("[faz]\naxial_length_device_mm = 2.4\n", "axial_length_device_mm is 18 to 40, or 0"),
    ("[faz]\naxial_length_device_mm = 240\n", "`faz.axial_length_device_mm`"),
    ('[[folders]]\nname = "a"\npath = "exports"\n', "folder `a`: path must be absolute, without `..`"),
    (
        '[[folders]]\nname = "a"\npath = "/a"\nthen = "move"\nmove_to = "/b/../a/done"\n',
        "move_to must be absolute, without `..`",
    ),
    ('[[folders]]\nname = "a"\npath = "/a"\nthen = "move"\n', "move_to belongs to then = 'move'"),
    ('[[folders]]\nname = "a"\npath = "/a"\nthen = "move"\nmove_to = "/a/done"\n', "must lie apart"),
    ('[[folders]]\nname = "a"\npath = "/a/in"\nthen = "move"\nmove_to = "/a"\n', "must lie apart"),
    ('[[folders]]\nname = "a"\npath = "/a"\n[[folders]]\nname = "b"\npath = "/a/b"\n', "must lie apart"),
    ('[store]\nfolder = "/a/b"\n[[folders]]\nname = "a"\npath = "/a"\n', "must lie apart"),
    ('[[folders]]\nname = "a"\npath = "/a"\n[[folders]]\nname = "a"\npath = "/b"\n', "are called `a`"),
    ("[intake\n", "is not TOML"),
    ("intake = 3\n", "`intake`"),
]


@pytest.mark.parametrize(("text", "complaint"), BAD, ids=[complaint for _, complaint in BAD])
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    """Each bad configuration has its message, and no message repeats a secret."""
    with pytest.raises(Misconfigured) as why:
        load(write(tmp_path, text))
    assert complaint in str(why.value)
    assert "secret" not in str(why.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A path that was given must be there."""
    with pytest.raises(Misconfigured, match="cannot read configuration") as why:
        load(tmp_path / "nowhere.toml")
    assert "config example" in why.value.hint


def test_an_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped OCULARD_ variable never passes silently."""
    monkeypatch.setenv("OCULARD_INTAKE__PROT", "104")
    with pytest.raises(Misconfigured, match="OCULARD_INTAKE__PROT"):
        load(None)


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the file, which wins over the defaults; other keys of the section stay."""
    monkeypatch.setenv("OCULARD_INTAKE__PORT", "4242")
    settings = load(write(tmp_path, '[intake]\nport = 104\nae_title = "EYES"\n'))

    assert (settings.intake.port, settings.intake.ae_title, settings.intake.associations_max) == (4242, "EYES", 25)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the wrong type from the environment is refused like one from the file."""
    monkeypatch.setenv("OCULARD_INTAKE__PORT", "dicom")
    with pytest.raises(Misconfigured, match=r"intake\.port"):
        load(None)


def test_a_password_comes_from_its_file(tmp_path: Path) -> None:
    """And is not shown."""
    (tmp_path / "password").write_text("secret\n")
    settings = load(write(tmp_path, f'[store]\ndatabase_password_file = "{tmp_path / "password"}"\n'))

    assert settings.database_password == "secret"
    assert "secret" not in as_toml(settings, commented=False)


def test_the_example_is_the_defaults_and_is_up_to_date() -> None:
    """`config/oculard.toml` is what `oculard config example` prints, and reading it changes nothing."""
    printed = as_toml(Settings.model_construct(), commented=True)

    assert (ROOT / "config" / "oculard.toml").read_text(encoding="utf-8") == printed
    assert Settings(**tomllib.loads(printed)) == Settings()


def test_every_key_is_explained() -> None:
    """A key without a sentence would be a riddle."""
    printed = as_toml(Settings.model_construct(), commented=True)
    lines = printed.splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("# A key may"):
            assert lines[number - 1].startswith("# "), f"`{line}` has no comment"


def test_what_is_in_force_can_be_read_back(tmp_path: Path) -> None:
    """`config show` prints a configuration that means the same."""
    settings = load(write(tmp_path, '[[peers]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 1\n'))

    assert Settings(**tomllib.loads(as_toml(settings, commented=False))) == settings


TLS = """
[intake.tls]
certificate = "/a"
key = "/b"
authorities = "/c"
"""
PEER = '[[peers]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 1\n'


def test_tls_can_be_read_back(tmp_path: Path) -> None:
    """Tables in tables too; and a fingerprint is written in one way, whatever prints it."""
    shown = "SHA256:" + ":".join(["AB"] * 32)
    settings = load(write(tmp_path, f'{TLS}{PEER}tls = {{ certificates = ["PACS.clinic.local", "{shown}"] }}'))

    assert settings.peers[0].certificates == ["pacs.clinic.local", "sha256:" + "ab" * 32]
    assert Settings(**tomllib.loads(as_toml(settings, commented=False))) == settings


def test_tls_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key of a table in a table is a variable, and no other is."""
    monkeypatch.setenv("OCULARD_INTAKE__TLS__PORT", "4242")
    assert load(write(tmp_path, TLS)).intake.tls.port == 4242
    monkeypatch.setenv("OCULARD_INTAKE__TLS__POTR", "1")
    with pytest.raises(Misconfigured, match="POTR"):
        load(write(tmp_path, TLS))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[intake.tls]\ncertificate = "/a"\n', "key, authorities is missing"),
        ("[intake.tls]\nplain = false\n", "plain = false needs"),
        (f"{PEER}tls = {{}}\n", "peer `pacs`: tls names no certificate"),
        (
            PEER
            + 'commitment = true\ntls = { certificates = ["p"], certificate = "/a", key = "/b", authorities = "/c" }',
            "which needs [intake.tls]",
        ),
        (f'{TLS}{PEER}tls = {{ certificate = "/d" }}\n', "certificate and key belong together"),
        (f'{TLS}{PEER}tls = {{ certificates = ["sha256:12"] }}\n', "64 hexadecimal digits"),
        (f'{TLS}{PEER}tls = {{ certificates = ["b\u00e4d"] }}\n', "expected a name"),
        (
            '[[senders]]\nname = "d"\nae_title = "D"\ncertificates = ["d"]\n',
            "sender `d`: certificates need [intake.tls]",
        ),
        (f'{TLS}[[archives]]\nname = "a"\nhow = "dicomweb"\nurl = "http://h"\ntls = {{}}\n', "tls needs https://"),
    ],
)
def test_tls_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    """Half a configuration of TLS is none: it is refused with what is missing."""
    with pytest.raises(Misconfigured) as why:
        load(write(tmp_path, text))
    assert said in str(why.value)
