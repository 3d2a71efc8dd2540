"""A peer looked at without sending anything: is it there, does it know us, which reports and promises does it take?"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from oculard.delivery.parcel import LADDER
from oculard.delivery.scu import COMMITMENT, PLAIN_SYNTAXES, VERIFICATION, Context, PeerAssociation, Target
from oculard.delivery.statuses import PacsBusy, PacsRefused, PacsUnreachable, Trouble, of_trouble

REPORTS: tuple[Context, ...] = tuple((uid, syntax) for uid in LADDER for syntax in PLAIN_SYNTAXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one look at a peer gave. With a `reason`, something is wrong, and `hint` says which setting to change."""

    peer: str
    reports: tuple[Context, ...] = ()  # SR classes and transfer syntaxes that it accepts, best first
    commitment: bool = False
    echo_s: float | None = None  # round trip of a C-ECHO; None when it gave none
    associate_s: float | None = None
    reason: str = ""
    hint: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.reason


def probe(target: Target) -> Probe:
    """Look at a peer: C-ECHO, and the contexts that it accepts. Never raises for what the peer does."""
    began = monotonic()
    try:
        with PeerAssociation(target, (VERIFICATION, *REPORTS, COMMITMENT)) as association:
            associate_s = monotonic() - began
            reports = tuple(context for context in REPORTS if context in association.accepted)
            commitment = COMMITMENT in association.accepted
            echo_s = _echo(association)
    except (PacsBusy, PacsRefused, PacsUnreachable) as why:
        return Probe(peer=target.name, reason=why.reason, hint=why.hint)
    no_report = of_trouble(Trouble.NO_CONTEXT)
    return Probe(
        peer=target.name,
        reports=reports,
        commitment=commitment,
        echo_s=echo_s,
        associate_s=associate_s,
        reason="" if reports else no_report.reason,
        hint="" if reports else no_report.hint,
    )


def _echo(association: PeerAssociation) -> float | None:
    """The round trip; None when the peer refuses verification, which is no reason not to send."""
    if VERIFICATION not in association.accepted:
        return None
    began = monotonic()
    association.echo()
    return monotonic() - began
