"""The settings tree: every key with its default, its bounds and one sentence. Foreign text becomes typed values."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from oculard.errors import Misconfigured
from oculard.settings_night import Archive, Folder, Limits, Night, Notify, Retention, check_apart
from oculard.settings_shapes import PLAIN, SHAPES, WORD, AeTitle, Port, Section, Slug, check_time_zone
from oculard.settings_tls import FILES, CallTls, IntakeTls, Shown, check_files

ENV_PREFIX = "OCULARD_"
ENV_CONFIG = "OCULARD_CONFIG"  # the one variable that is not a setting: where the file is
DEFAULT_FILE = Path("/etc/oculard/oculard.toml")

OPHTHALMIC_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"  # Ophthalmic Tomography: the volume itself

LOOPBACK = "127.0.0.1"
OCT_EN_FACE = "1.2.840.10008.5.1.4.1.1.77.1.5.7"  # PS3.4 B.5
# The B-scan volume analysis: flow, before slabs were made of it.
OCT_FLOW_VOLUME = "1.2.840.10008.5.1.4.1.1.77.1.5.8"


class Site(Section):
    """Who runs this daemon; written into every report as the observing device."""

    organisation: str = Field("Eye clinic", max_length=64, pattern=PLAIN, description="Institution, ASCII.")
    station: str = Field("oculard", max_length=16, pattern=WORD, description="Station name, ASCII.")
    time_zone: str = Field(
        "Asia/Tokyo", description="IANA name; for the night and for reports on images without an offset."
    )

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_time_zone(name)


class Store(Section):
    """Where everything is kept."""

    folder: Path = Field(Path("/var/lib/oculard"), description="Holds spool, vault, reports and the SQLite database.")
    database_url: str = Field(
        "",
        description='SQLAlchemy URL without a password; "" means SQLite in the folder. PostgreSQL: postgresql+psycopg://user@host/name',
    )
    database_password: SecretStr = Field(SecretStr(""), description="Only from OCULARD_STORE__DATABASE_PASSWORD.")
    database_password_file: Path | None = Field(None, description="A file that holds the database's password.")
    disk_free_min_gib: float = Field(5.0, ge=0, description="Below this much free space intake answers 0xA700.")
    instance_max_gib: float = Field(4.0, gt=0, description="A larger instance is refused.")

    @model_validator(mode="after")
    def _plain_url(self) -> Self:
        rest = self.database_url.partition("://")[2].rpartition("@")[0]
        if ":" in rest:
            raise ValueError("database_url holds a password: use database_password_file or the environment")
        kind = self.database_url.partition("://")[0]
        if self.database_url and kind not in ("sqlite", "postgresql+psycopg"):
            raise ValueError("database_url begins with sqlite:/// or postgresql+psycopg://")
        return self


class Intake(Section):
    """The Storage SCP that devices and the PACS send to."""

    ae_title: AeTitle = Field("OCULARD", description="Our AE title; a sender must call it exactly.")
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104  a server for the clinic's network
    port: Port = Field(11112, description="TCP port to listen on; 0 picks a free one (tests).")
    associations_max: int = Field(25, ge=1, le=500, description="Associations at once.")
    processes: int = Field(
        1, ge=1, le=16, description="Processes that share the port, each with so many associations: for many cores."
    )
    connections_max: int = Field(
        200, ge=1, le=5000, description="TCP connections that may wait, on both ports together, to say who they are."
    )
    pdu_bytes_max: int = Field(131072, ge=4096, le=1 << 20, description="Largest P-DATA that we ask for.")
    first_bytes_s: float = Field(
        5.0, gt=0, description="A connection that has not begun an association by then is closed."
    )
    acse_s: float = Field(10.0, gt=0, description="Time to connect, to negotiate and to release.")
    dimse_s: float = Field(60.0, gt=0, description="Time for a device to answer a message of ours.")
    network_s: float = Field(60.0, gt=0, description="An association that is silent this long is aborted.")
    tls: IntakeTls = IntakeTls()

    @model_validator(mode="after")
    def _one_port(self) -> Self:
        if self.processes > 1 and not (self.port and self.tls.port):
            raise ValueError("processes share a port: name one that is not 0")
        return self


class Expect(StrEnum):
    """What makes a device's study complete before it has been quiet for long."""

    NOTHING = "nothing"
    FUNDUS_PAIR = "fundus-pair"  # photographs of both eyes
    OCT_2 = "oct-2"  # a volume and its photograph
    OCT_9 = "oct-9"  # an OCT angiography acquisition of nine files


class Sender(Section):
    """A device or PACS that may send to us."""

    name: Slug = Field(description="What this sender is called here and in [[plan]].")
    ae_title: AeTitle = Field(description="Its AE title.")
    addresses: list[str] = Field(
        [], description='Addresses or networks it may come from; [] means any: ["10.1.2.0/24"].'
    )
    expects: Expect = Field(
        Expect.NOTHING, description="fundus-pair | oct-2 | oct-9: settles at once when it has come."
    )
    commitment_host: str = Field("", description="Where storage commitment answers go; '' means where it called from.")
    commitment_port: Port = Field(0, description="Its port for storage commitment answers; 0 means it never asks.")
    commitment_tls: CallTls | None = Field(None, description="By TLS, as `tls` of [[peers]]; without it in plain.")
    certificates: list[Shown] = Field(
        [], description="Names or `sha256:` fingerprints of its certificates: it must call by TLS and show one of them."
    )

    @field_validator("addresses")
    @classmethod
    def _networks(cls, addresses: list[str]) -> list[str]:
        for address in addresses:
            ipaddress.ip_network(address, strict=False)
        return addresses


class Peer(Section):
    """A destination of reports, usually the PACS."""

    name: Slug = Field(description="What this peer is called here.")
    ae_title: AeTitle = Field(description="Its AE title.")
    host: str = Field(description="Host name or address.")
    port: Port = Field(description="Its DICOM port.")
    commitment: bool = Field(False, description="Ask for storage commitment before a report counts as delivered.")
    commitment_silence_h: float = Field(
        4.0, gt=0, description="No answer after so many hours: send again; third time alarms."
    )
    addresses: list[str] = Field([], description="Where its commitment answers may come from; [] means any address.")
    tls: CallTls | None = Field(
        None,
        description='By TLS: { authorities = "FILE", certificate = "FILE", key = "FILE", certificates = ["NAME"] }.'
        " What is left out is that of [intake.tls], and its certificate must have host's name.",
    )

    @property
    def certificates(self) -> list[str]:
        """Which certificates it may show when it calls us; [] means any, and that it may call in plain."""
        return [] if self.tls is None else self.tls.certificates


class Settling(Section):
    """When a study counts as complete."""

    quiet_s: float = Field(30.0, ge=0, description="Seconds without a new instance and without an open association.")


class When(StrEnum):
    """When a family may run."""

    NOW = "now"
    NIGHT = "night"


class Rule(Section):
    """Which families run on which images. All rules that match count; an absent condition matches everything."""

    sender: Slug | None = Field(None, description="Only what this sender sent.")
    modality: str | None = Field(None, description="Only this modality, e.g. OP.")
    sop_class_uid: str | None = Field(None, description="Only this SOP class.")
    families: list[Slug] = Field(min_length=1, description="Estimator families to run.")
    when: When = Field(When.NOW, description="now | night.")
    priority: int = Field(5, ge=0, le=9, description="0 is first, 9 is last.")


class Worker(Section):
    """The process that runs estimators."""

    providers: list[Literal["cpu", "cuda", "tensorrt", "openvino"]] = Field(
        ["cpu"],
        description="Where networks run, best first; what onnxruntime does not offer is said in log and doctor.",
    )
    threads: int = Field(0, ge=0, description="Threads of the CPU provider; 0 means one a core.")
    batch: int = Field(8, ge=1, le=256, description="Images that are estimated together at most.")
    lease_s: float = Field(120.0, ge=5, description="A job whose worker is silent this long goes back to the queue.")
    job_s_max: float = Field(600.0, ge=5, description="A job that takes longer ends its worker; the attempt counts.")
    attempts_max: int = Field(3, ge=1, le=20, description="After so many the job fails, and a report says so.")
    images_pixels_max: int = Field(200_000_000, ge=1, description="A larger image is not decoded.")
    decode_s_max: float = Field(120.0, gt=0, description="An image that takes longer to decode is not decoded.")
    decode_memory_mib: int = Field(
        4096, ge=512, description="An image that needs more memory to be decoded is not decoded."
    )
    bundles: list[Path] = Field([], description="Folders of further bundles, beside those that come with oculard.")
    runner: Literal["onnx", "torch", "openvino", "auto"] = Field(
        "onnx",
        description="onnx | torch (extra `lab`) | openvino (extra `openvino`) | auto: the fastest, measured at start.",
    )
    precision: Literal["float", "bf16"] = Field(
        "float",
        description="float | bf16: with openvino or auto also in bf16, where it hardly drifts; reports name it.",
    )
    estimators: dict[Slug, str] = Field(
        {"systemic": "systemic-demo", "faz": "faz"}, description="The bundle that serves each family."
    )
    quality_gate: str = Field(
        "fundus-quality", description="The bundle that grades every photograph first; without it none is estimated."
    )
    disc_finder: str = Field(
        "", description="A bundle that outlines optic discs: gives the gate a second opinion. None by default."
    )


class Faz(Section):
    """The foveal avascular zone on OCT angiography."""

    axial_length_device_mm: float = Field(
        0.0,
        ge=0,
        le=40,
        description="Axial length that every device's spacing assumes: corrects for the eye's own; 0 never does.",
    )

    @model_validator(mode="after")
    def _of_an_eye(self) -> Self:
        if 0 < self.axial_length_device_mm < 18:
            raise ValueError("axial_length_device_mm is 18 to 40, or 0")
        return self


class Glaucoma(Section):
    """The classification of OCT volumes."""

    normative: Path | None = Field(
        None, description="Healthy eyes' thickness, made by `oculard-lab normative`; only deviation maps need it."
    )
    layer_network: str = Field(
        "oct-layers",
        min_length=1,
        description="Finds layers where no device did: what comes with oculard, a folder of yours, or search.",
    )
    volume_voxels_max: int = Field(
        300_000_000, ge=1, description="A larger OCT volume is not decoded; one voxel takes one byte."
    )


class Report(Section):
    """What a report consists of, beside the Structured Report itself and its masks."""

    pictures: bool = Field(True, description="Where a structure was outlined: also a picture (Secondary Capture).")
    pdf: bool = Field(False, description="Also an Encapsulated PDF, for a PACS that shows no Structured Reports.")


class Delivery(Section):
    """How reports travel."""

    lease_s: float = Field(120.0, ge=5, description="A report whose sender is silent this long goes back.")
    batch: int = Field(50, ge=1, le=1000, description="Reports on one association at most.")
    backoff_s_max: float = Field(
        900.0, ge=1, description="Longest wait between attempts; a busy PACS is retried for ever."
    )
    connect_s: float = Field(10.0, gt=0, description="Time to connect and to associate.")
    answer_s: float = Field(60.0, gt=0, description="Time for the peer to answer one C-STORE.")

    @model_validator(mode="after")
    def _lease_outlives_an_answer(self) -> Self:
        if self.lease_s < 1.5 * (self.connect_s + self.answer_s):
            raise ValueError("lease_s must be 1.5 times connect_s + answer_s or more: a slow answer is no dead sender")
        return self


class Web(Section):
    """The HTTP endpoints /healthz, /readyz and /metrics."""

    host: str = Field(LOOPBACK, description="Address to listen on.")
    port: Port = Field(8480, description="TCP port to listen on.")


class Log(Section):
    """Events to stderr or to files; never a patient's name, id, birth date or free text."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug | info | warning | error.")
    form: Literal["json", "console"] = Field("json", description="json | console.")
    folder: Path | None = Field(None, description="Write one file a role there instead of to stderr, and rotate them.")
    file_mib: float = Field(20.0, gt=0, description="folder: a file of this size is put aside.")
    files: int = Field(10, ge=1, le=1000, description="folder: so many files that were put aside are kept.")


class Settings(BaseSettings):
    """Everything that may be configured."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    site: Site = Site()
    store: Store = Store()
    intake: Intake = Intake()
    senders: list[Sender] = []
    peers: list[Peer] = []
    settling: Settling = Settling()
    plan: list[Rule] = [
        Rule(modality="OP", families=["systemic"]),
        Rule(sop_class_uid=OCT_EN_FACE, families=["faz"]),
        Rule(sop_class_uid=OCT_FLOW_VOLUME, families=["faz"]),  # a report says so where no slab came beside it
    ]
    night: Night = Night()
    archives: list[Archive] = []
    folders: list[Folder] = []
    worker: Worker = Worker()
    faz: Faz = Faz()
    glaucoma: Glaucoma = Glaucoma()
    report: Report = Report()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    alarms: Limits = Limits()
    notify: Notify = Notify()
    web: Web = Web()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  its signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  its signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which arrives as init values; nothing else is looked at."""
        del settings_cls
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for kind, entries in (("senders", self.senders), ("peers", self.peers), ("archives", self.archives)):
            names = [entry.name for entry in entries]
            for name in {n for n in names if names.count(n) > 1}:
                raise ValueError(f"two {kind} are called `{name}`")
        senders = {sender.name for sender in self.senders}
        for folder in self.folders:
            if folder.name in senders:
                raise ValueError(f"two senders or folders are called `{folder.name}`")
            senders.add(folder.name)
        check_apart(self.folders, self.store.folder)
        for sender in self.senders:
            check_files(f"sender `{sender.name}`", sender.commitment_tls, self.intake.tls)
            if sender.certificates and not self.intake.tls.is_on:
                raise ValueError(f"sender `{sender.name}`: certificates need [intake.tls]")
        for peer in self.peers:
            check_files(f"peer `{peer.name}`", peer.tls, self.intake.tls)
            if peer.certificates and peer.commitment and not self.intake.tls.is_on:
                raise ValueError(f"peer `{peer.name}`: its commitment answers come by TLS, which needs [intake.tls]")
        for archive in self.archives:
            needed = ("authorities",) if archive.how == "dicomweb" else FILES
            check_files(f"archive `{archive.name}`", archive.tls, self.intake.tls, needed)
        senders |= {archive.name for archive in self.archives}  # what comes by C-GET and WADO-RS
        if self.night.backfill_from and self.night.backfill_from not in {archive.name for archive in self.archives}:
            raise ValueError(f"[night] backfill_from names `{self.night.backfill_from}`, which is not in [[archives]]")
        for rule in self.plan:
            if rule.sender is not None and rule.sender not in senders:
                raise ValueError(f"[[plan]] names sender `{rule.sender}`, which is not in [[senders]]")
            for family in rule.families:
                if family not in self.worker.estimators:
                    raise ValueError(f"[[plan]] names family `{family}`, which has no bundle in [worker] estimators")
        for family in self.night.quotas:
            if family not in self.worker.estimators:
                raise ValueError(f"[night] quotas name `{family}`, which has no bundle in [worker] estimators")
        return self

    @property
    def database_url(self) -> str:
        """The URL without its password; SQLite in the folder when none is given."""
        return self.store.database_url or f"sqlite:///{self.store.folder / 'oculard.db'}"

    @property
    def database_password(self) -> str | None:
        """The database's password from the environment or from its file. Raises Misconfigured."""
        if self.store.database_password.get_secret_value():
            return self.store.database_password.get_secret_value()
        path = self.store.database_password_file
        return None if path is None else read_secret(path, "database_password_file")

    @property
    def notify_urls(self) -> list[str]:
        """The Apprise URLs from the environment and from their file. Raises Misconfigured."""
        path, urls = self.notify.urls_file, [url.get_secret_value() for url in self.notify.urls]
        return urls + ([] if path is None else read_secret(path, "urls_file").split())

    @property
    def night_zone(self) -> str:
        """The IANA name of the time zone of the night."""
        return self.night.time_zone or self.site.time_zone


def read_secret(path: Path, key: str) -> str:
    """What stands in a secret's file. Raises Misconfigured, which names the setting and never the secret."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as why:
        raise Misconfigured(f"cannot read {key} {path}: {getattr(why, 'strerror', 'not UTF-8')}") from why


def load(path: Path | None) -> Settings:
    """Read the file and the environment. Raises Misconfigured, which names every wrong key and variable."""
    _refuse_unknown_variables()
    return _checked(path, _read_file(path))


def forget_environment() -> None:
    """Take every setting of ours out of this process's environment: the demo must never meet the real store."""
    for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
        del os.environ[name]


def _checked(path: Path | None, values: dict[str, Any]) -> Settings:
    store = values.get("store")
    if isinstance(store, dict) and store.get("database_password"):
        raise Misconfigured(
            "database_password stands in the file", hint="use database_password_file or the environment"
        )
    notify = values.get("notify")
    if isinstance(notify, dict) and notify.get("urls"):
        raise Misconfigured("notify.urls stands in the file", hint="they hold secrets: urls_file or the environment")
    try:
        return Settings(**values)
    except SettingsError as why:
        raise Misconfigured(f"an OCULARD_ variable cannot be read: {why}", hint="lists and tables are JSON") from why
    except ValidationError as why:
        wrong = "\n".join(f"  {_complaint(error)}" for error in why.errors())
        raise Misconfigured(f"configuration {path or '(defaults and environment)'}:\n{wrong}") from why


def find_file(given: Path | None) -> Path:
    """The file to read: the given one, the environment's, or the default one; it must be there."""
    if given is not None:
        return given
    return Path(os.environ.get(ENV_CONFIG) or DEFAULT_FILE)


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as why:
        raise Misconfigured(
            f"cannot read configuration {path}: {why.strerror}",
            hint="name it with --config or $OCULARD_CONFIG; `oculard config example > FILE` writes one",
        ) from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as why:
        raise Misconfigured(f"configuration {path} is not TOML: {why}") from why


def _refuse_unknown_variables() -> None:
    """Close pydantic-settings' gap: a mistyped OCULARD_ variable would pass silently."""
    known = known_variables()
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            raise Misconfigured(f"unknown environment variable {name}", hint="`oculard config show` lists the settings")


def known_variables() -> set[str]:
    """Every environment variable that means something."""
    known = {ENV_CONFIG, "OCULARD_DATA"}  # the second one names the tests' folder of real data
    return known | _variables(ENV_PREFIX, Settings.model_fields)


def _variables(prefix: str, fields: dict[str, Any]) -> set[str]:
    """The variables of some fields, and of the sections among them."""
    known = set()
    for name, field in fields.items():
        known.add(f"{prefix}{name}".upper())
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            known |= _variables(f"{prefix}{name}__", section.model_fields)
    return known


def _complaint(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "settings"
    if error["type"] == "extra_forbidden":
        return f"unknown key `{where}`"
    given, expected = error.get("input"), error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        expected = SHAPES.get(error["ctx"]["pattern"], expected)
    is_open = "password" not in where and "urls" not in where  # both hold secrets
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) and is_open else ""
    return f"`{where}`: {expected}{shown}"


def item_type(annotation: Any) -> type[Section] | None:
    """The section type of a list of sections (`[[senders]]`), else None."""
    args = get_args(annotation)
    return args[0] if args and isinstance(args[0], type) and issubclass(args[0], Section) else None
