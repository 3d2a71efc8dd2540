"""What a peer's answer means: one table for C-STORE statuses, rejected associations and the network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from oculard.errors import OculardError, Permanent, Transient
from oculard.tls import TlsUnusable


class Kind(StrEnum):
    """What follows from an answer."""

    TAKEN = "taken"
    TAKEN_WITH_WARNING = "taken-with-warning"
    TRANSIENT = "transient"  # tried again, for ever, with a growing delay
    PERMANENT = "permanent"  # parked until a person has changed something
    LEFT_OUT = "left-out"  # the report goes without it


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One row's right side: `reason` is the slug in log, metric and runbook, `hint` is for the PACS administrator."""

    kind: Kind
    reason: str
    hint: str = ""

    @property
    def is_taken(self) -> bool:
        return self.kind in (Kind.TAKEN, Kind.TAKEN_WITH_WARNING)


class PacsBusy(Transient):
    """The peer answered, and said that it cannot now."""

    reason = "pacs-busy"


class PacsUnreachable(Transient):
    """The peer did not answer, or the connection broke."""

    reason = "pacs-unreachable"


class PacsRefused(Permanent):
    """The peer answered that it does not want this, and will not want it later."""

    reason = "pacs-refused"


class Trouble(StrEnum):
    """What may happen to an association that no status speaks of."""

    NAME_UNKNOWN = "pacs-name-unknown"
    CONNECTION_REFUSED = "pacs-connection-refused"
    CONNECTION_TIMEOUT = "pacs-connection-timeout"
    HOST_UNREACHABLE = "pacs-host-unreachable"
    NOT_ASSOCIATED = "pacs-silent"
    ABORTED = "pacs-aborted"
    LOST = "association-lost"
    NO_ANSWER = "pacs-no-answer"
    NO_CONTEXT = "pacs-accepts-no-class"
    NO_PROTOCOL = "pacs-protocol"
    OUR_CERTIFICATE = "certificate-unusable"
    NOT_TRUSTED = "pacs-not-trusted"
    CERTIFICATE_REFUSED = "pacs-refuses-certificate"
    NO_TLS = "pacs-speaks-no-tls"
    NO_COMMON_TLS = "pacs-tls-failed"


TAKEN, WARNING, TRANSIENT, PERMANENT = Kind.TAKEN, Kind.TAKEN_WITH_WARNING, Kind.TRANSIENT, Kind.PERMANENT

ALLOW = "allow this SOP class and transfer syntax for us there; reports: Comprehensive 3D, Comprehensive, Enhanced SR"
ROOM = "the PACS is out of resources: look at its disk, quota and licences"
VALUE = "the PACS rejects a value in the report: look at its log for the attribute"
UNLIKE = "the PACS finds the report unlike its SOP class: look at its log, and at its filters"
PORT = "the PACS does not understand us: is this its DICOM storage port?"
NO_REASON = "the PACS gave no reason: look at its log; is our AE title known there, with this host's address?"
CONGESTED = "the PACS is busy: raise the number of associations that it allows"
ADDRESS = "are host and port in [[peers]] right, is the PACS running, does a firewall let this host through?"

# (first status, last status, kind, reason, hint): PS3.4 B.2.3, PS3.7 Annex C. The first row with the status counts.
STORE: tuple[tuple[int, int, Kind, str, str], ...] = (
    (0x0000, 0x0000, TAKEN, "stored", ""),
    (0x0111, 0x0111, WARNING, "stored-before", ""),  # a lost answer: it came twice under the same UID
    (0x0001, 0x0001, WARNING, "stored-with-warning", "the PACS kept the report and warned: look at its log"),
    (0x0107, 0x0107, WARNING, "stored-with-warning", "the PACS kept the report and warned: look at its log"),
    (0x0116, 0x0116, WARNING, "stored-with-warning", "the PACS kept the report and warned: look at its log"),
    (0xB000, 0xB000, WARNING, "stored-coerced", "the PACS changed attributes: look at its coercion rules"),
    (0xB006, 0xB006, WARNING, "stored-elements-discarded", "the PACS dropped attributes: look at its storage rules"),
    (0xB007, 0xB007, WARNING, "stored-class-mismatch", UNLIKE),
    (0xB000, 0xBFFF, WARNING, "stored-with-warning", "the PACS kept the report and warned: look at its log"),
    (0x0110, 0x0110, TRANSIENT, "pacs-processing-failure", "the PACS failed to store it: look at its log and database"),
    (0x0210, 0x0210, TRANSIENT, "pacs-duplicate-invocation", "the PACS mixed two messages up: look at its log"),
    (0x0213, 0x0213, TRANSIENT, "pacs-out-of-resources", ROOM),
    (0xA700, 0xA7FF, TRANSIENT, "pacs-out-of-resources", ROOM),
    (0xFE00, 0xFE00, TRANSIENT, "pacs-cancelled", "the PACS cancelled the operation: look at its log"),
    (0x0105, 0x0106, PERMANENT, "pacs-invalid-attribute", VALUE),
    (0x0117, 0x0117, PERMANENT, "pacs-invalid-instance", "the PACS rejects our SOP Instance UID: allow 2.25 UIDs"),
    (0x0118, 0x0119, PERMANENT, "pacs-class-not-supported", ALLOW),
    (0x0122, 0x0122, PERMANENT, "pacs-class-not-supported", ALLOW),
    (0x0124, 0x0124, PERMANENT, "pacs-not-authorised", "give our AE title the right to store in the PACS"),
    (0x0112, 0x0123, PERMANENT, "pacs-invalid-attribute", VALUE),
    (0x0211, 0x0212, PERMANENT, "pacs-protocol", PORT),
    (0xA800, 0xA8FF, PERMANENT, "pacs-class-not-supported", ALLOW),  # from before 1993, still in use
    (0xA900, 0xA9FF, PERMANENT, "pacs-class-mismatch", UNLIKE),
    (0xC000, 0xCFFF, PERMANENT, "pacs-cannot-understand", UNLIKE),
)
# No status: the peer refused every context of it. Many archives take no SEG, and the SR says all that it shows.
COMPANION_LEFT_OUT = Verdict(
    kind=Kind.LEFT_OUT,
    reason="companion-not-accepted",
    hint="allow its SOP class and transfer syntax for us in the PACS, where they should be seen there",
)
# Tried again: a wrong park needs a person, a wrong retry costs an association, and the alarm for delays sees both.
UNKNOWN = Verdict(kind=TRANSIENT, reason="pacs-unknown-status", hint="the PACS answered an unknown status: see its log")

CALLING = "add our AE title ([intake] ae_title) and this host's address to the AEs that the PACS knows"
CALLED = "the PACS has another AE title: correct ae_title in [[peers]], capitals included"
# (result, source, reason): PS3.8 table 9-21. Congestion is transient, whatever the result says.
REJECTED: dict[tuple[int, int, int], tuple[Kind, str, str]] = {
    (1, 1, 1): (PERMANENT, "pacs-rejected", NO_REASON),
    (1, 1, 2): (PERMANENT, "pacs-protocol", PORT),
    (1, 1, 3): (PERMANENT, "pacs-calling-ae-unknown", CALLING),
    (1, 1, 7): (PERMANENT, "pacs-called-ae-unknown", CALLED),
    (1, 2, 1): (PERMANENT, "pacs-rejected", NO_REASON),
    (1, 2, 2): (PERMANENT, "pacs-protocol", PORT),
    (1, 3, 1): (TRANSIENT, "pacs-congested", CONGESTED),
    (1, 3, 2): (TRANSIENT, "pacs-association-limit", CONGESTED),
    (2, 3, 1): (TRANSIENT, "pacs-congested", CONGESTED),
    (2, 3, 2): (TRANSIENT, "pacs-association-limit", CONGESTED),
}
REJECTED_TRANSIENT = (TRANSIENT, "pacs-busy", CONGESTED)
REJECTED_PERMANENT = (PERMANENT, "pacs-rejected", NO_REASON)

TROUBLES: dict[Trouble, tuple[Kind, str]] = {
    Trouble.NAME_UNKNOWN: (TRANSIENT, "host in [[peers]] is not known to DNS: correct it, or write the address"),
    Trouble.CONNECTION_REFUSED: (TRANSIENT, "nothing listens there: is the PACS running, is port in [[peers]] right?"),
    Trouble.CONNECTION_TIMEOUT: (TRANSIENT, ADDRESS),
    Trouble.HOST_UNREACHABLE: (TRANSIENT, ADDRESS),
    Trouble.NOT_ASSOCIATED: (TRANSIENT, "it takes connections and stays silent: is this the DICOM port, without TLS?"),
    Trouble.ABORTED: (TRANSIENT, "the PACS ended the association: look at its log; does it want TLS ([[peers]] tls)?"),
    Trouble.LOST: (TRANSIENT, "the connection broke: look at the network and at the PACS's log"),
    Trouble.NO_ANSWER: (TRANSIENT, "the PACS was too slow: look at its load, or raise [delivery] answer_s"),
    Trouble.NO_CONTEXT: (PERMANENT, ALLOW),
    Trouble.NO_PROTOCOL: (TRANSIENT, PORT),
    # Tried again: whoever puts the right certificate into its place need not think of us.
    Trouble.OUR_CERTIFICATE: (TRANSIENT, TlsUnusable.hint),
    Trouble.NOT_TRUSTED: (
        TRANSIENT,
        "the PACS's certificate has ended, has another name than host, or another signer: [[peers]] tls authorities,"
        " certificates",
    ),
    Trouble.CERTIFICATE_REFUSED: (TRANSIENT, "give the PACS the authority that signed our certificate, or renew ours"),
    Trouble.NO_TLS: (TRANSIENT, "is port in [[peers]] the one for TLS? Or take `tls` out there"),
    Trouble.NO_COMMON_TLS: (TRANSIENT, "the PACS must speak TLS 1.2 or 1.3 with an ECDHE suite of AES-GCM"),
}


def of_store(status: int) -> Verdict:
    """What a C-STORE response status means."""
    for first, last, kind, reason, hint in STORE:
        if first <= status <= last:
            return Verdict(kind=kind, reason=reason, hint=hint)
    return UNKNOWN


def of_rejection(result: int, source: int, reason: int) -> Verdict:
    """What an A-ASSOCIATE-RJ means."""
    otherwise = REJECTED_TRANSIENT if result == 2 else REJECTED_PERMANENT
    kind, slug, hint = REJECTED.get((result, source, reason), otherwise)
    return Verdict(kind=kind, reason=slug, hint=hint)


def of_trouble(trouble: Trouble) -> Verdict:
    """What a broken or empty association means."""
    kind, hint = TROUBLES[trouble]
    return Verdict(kind=kind, reason=str(trouble), hint=hint)


def refused(peer: str, status: int) -> OculardError:
    """The error for a status that is not a success."""
    verdict = of_store(status)
    assert not verdict.is_taken, f"0x{status:04X} is a success"
    return _error(verdict, f"PACS `{peer}` answered 0x{status:04X}", answered=True)


def rejected(peer: str, result: int, source: int, reason: int) -> OculardError:
    """The error for a rejected association."""
    verdict = of_rejection(result, source, reason)
    return _error(verdict, f"PACS `{peer}` rejected the association ({result}, {source}, {reason})", answered=True)


def troubled(peer: str, trouble: Trouble) -> OculardError:
    """The error for a broken or empty association."""
    return _error(of_trouble(trouble), f"PACS `{peer}`: {trouble}", answered=False)


def _error(verdict: Verdict, message: str, *, answered: bool) -> OculardError:
    if verdict.kind is PERMANENT:
        return PacsRefused(message, reason=verdict.reason, hint=verdict.hint)
    kind = PacsBusy if answered else PacsUnreachable
    return kind(message, reason=verdict.reason, hint=verdict.hint)
