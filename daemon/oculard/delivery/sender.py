"""The sender: claim a peer's reports, send them on one association, settle each on its own, ask for commitment."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from oculard import log
from oculard.clock import Clock
from oculard.delivery.batch import ATTEMPTS_ALARM, DELAYED, PARKED, Batch, Fate
from oculard.delivery.commitment import SAME_ASSOCIATION_S, Commitments
from oculard.delivery.parcel import Content, Parcel, ReportDamaged, dressed, pack, proposal
from oculard.delivery.rest import REST_S_MAX, Rest
from oculard.delivery.scu import PeerAssociation, Target
from oculard.delivery.statuses import COMPANION_LEFT_OUT, PacsBusy, PacsRefused, PacsUnreachable, Trouble, troubled
from oculard.errors import Permanent
from oculard.settings import Peer, Settings
from oculard.store.alarms import Alarms
from oculard.store.deliveries import Deliveries
from oculard.store.vault import Vault, VaultTrouble

FAILURES_ALARM = 20  # in a row: about a quarter of an hour of rests, however many reports share the attempts
logger = log.get("sender")


class Sender:
    """Serves the given peers in turn; all that are configured, unless a sender per peer is wanted."""

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        vault: Vault,
        alarms: Alarms,
        clock: Clock,
        *,
        owner: str,
        peers: Sequence[Peer] | None = None,
        commitment_wait_s: float = SAME_ASSOCIATION_S,
    ) -> None:
        self._settings, self._deliveries, self._vault = settings, deliveries, vault
        self._alarms, self._clock, self._owner = alarms, clock, owner
        self._peers = settings.peers if peers is None else peers
        self._targets = {peer.name: Target.of(peer, settings) for peer in self._peers}
        self._rest = Rest(clock, min(REST_S_MAX, settings.delivery.backoff_s_max))
        self._commitments = Commitments(settings, deliveries, alarms, clock, wait_s=commitment_wait_s)

    def step(self) -> bool:
        """Give every peer its turn: at most one batch and one request for commitment. Says whether there was work."""
        worked = [self._serve(peer) for peer in self._peers]
        return any(worked)

    def _serve(self, peer: Peer) -> bool:
        delivered = self._deliver(peer)
        return self._commitments.step(peer) or delivered

    def _deliver(self, peer: Peer) -> bool:
        """Send what waits for one peer, at most a batch; say whether there was anything."""
        if not self._rest.is_over(peer.name):
            return False
        settings = self._settings.delivery
        claimed = self._deliveries.claim(self._owner, peer.name, lease_s=settings.lease_s, limit=settings.batch)
        if not claimed:
            return False
        batch = Batch(
            peer=peer,
            left={delivery.ticket.id: delivery for delivery in claimed},
            deliveries=self._deliveries,
            alarms=self._alarms,
            clock=self._clock,
            settings=settings,
            renewed_at=self._clock.now(),
        )
        parcels = self._pack(batch)
        if parcels:
            self._send(batch, parcels)
        return True

    def _pack(self, batch: Batch) -> list[Parcel]:
        """What can travel; the damaged is parked before anyone is called."""
        parcels = []
        for delivery in list(batch.left.values()):
            try:
                parcels.append(pack(delivery, self._vault))
            except ReportDamaged as why:
                batch.park(delivery, why)
                self._alarms.raise_(why.reason, f"report {delivery.report_id}")
            except VaultTrouble as why:
                batch.retry(delivery, why)
        return parcels

    def _send(self, batch: Batch, parcels: Sequence[Parcel]) -> None:
        """Send all on one association. Its failure concerns only what is not settled yet."""
        peer = batch.peer
        try:
            with PeerAssociation(self._targets[peer.name], proposal(parcels)) as association:
                for parcel in parcels:
                    self._send_one(association, parcel, batch)
        except (PacsBusy, PacsUnreachable) as why:
            batch.retry_left(why)
            self._let_rest(peer.name)
        except PacsRefused as why:
            batch.park_left(why)
        else:
            self._conclude(batch)

    def _send_one(self, association: PeerAssociation, parcel: Parcel, batch: Batch) -> None:
        """Send one report; an answer concerns it alone. Raises PacsUnreachable when all is over, and settled."""
        delivery = parcel.delivery
        if parcel.sr.choose(association.accepted) is None:
            batch.park(delivery, troubled(batch.peer.name, Trouble.NO_CONTEXT))
            return
        began, fates = monotonic(), list[Fate]()
        try:
            for content in parcel.contents:
                batch.renew()
                fates.append(self._send_content(association, content))
        except (PacsBusy, VaultTrouble) as why:
            batch.retry(delivery, why, at=parcel.contents[len(fates)].role)
        except Permanent as why:
            batch.park(delivery, why, at=parcel.contents[len(fates)].role)
        except PacsUnreachable as why:
            batch.break_at(delivery, why, at=parcel.contents[len(fates)].role)
            raise
        else:
            batch.took(delivery, fates, took_s=monotonic() - began)

    def _send_content(self, association: PeerAssociation, content: Content) -> Fate:
        """Send one object of a report. Raises PacsBusy, PacsRefused, PacsUnreachable or VaultTrouble."""
        context = content.choose(association.accepted)
        if context is None:
            return Fate(role=content.role, meta=content.meta, verdict=COMPANION_LEFT_OUT)
        with dressed(content, context, self._vault.spool) as (path, meta):
            return Fate(role=content.role, meta=meta, verdict=association.store(path, meta))

    def _conclude(self, batch: Batch) -> None:
        """A peer that took something works; one that was busy for everything rests."""
        name = batch.peer.name
        if batch.taken == 0:
            self._let_rest(name)
            return
        self._rest.end(name)
        standing = {alarm.name for alarm in self._alarms.standing() if alarm.subject == name}
        if DELAYED in standing and not self._deliveries.has_tried(name, attempts=ATTEMPTS_ALARM):
            self._alarms.clear(DELAYED, name)
        if PARKED in standing and not self._deliveries.has_parked(name):
            self._alarms.clear(PARKED, name)

    def _let_rest(self, name: str) -> None:
        """A peer that failed as a whole is left alone for a while; one that keeps failing raises an alarm."""
        self._rest.begin(name)
        if self._rest.failures(name) >= FAILURES_ALARM:
            self._alarms.raise_(DELAYED, name)
