"""The intake role: the server, the answers it owes and the heartbeat of its open associations."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from oculard.clock import Clock
from oculard.intake.answering import Answering
from oculard.intake.association import Services
from oculard.intake.commitment import CommitmentHandler
from oculard.intake.custody import Custody
from oculard.intake.floor import Floor
from oculard.intake.handlers import StoreHandler
from oculard.intake.policy import Policy
from oculard.intake.server import IntakeServer
from oculard.settings import Settings
from oculard.store.answers import Answers
from oculard.store.callers import Callers
from oculard.store.deliveries import Deliveries
from oculard.store.instances import Instances
from oculard.store.spool import Spooler
from oculard.store.vault import Vault

if TYPE_CHECKING:
    from oculard.intake.folder import FolderImport

BEAT_EVERY = timedelta(seconds=20)  # with the longest answer, well below what the store takes for dead


class IntakeRole:
    """Everything that intake does. Use: `with role: while running: if not role.step(): clock.sleep(...)`."""

    def __init__(
        self,
        settings: Settings,
        *,
        instances: Instances,
        vault: Vault,
        callers: Callers,
        answers: Answers,
        deliveries: Deliveries,
        clock: Clock,
        owner: str,
    ) -> None:
        self._clock, self._beaten_at, self._instances = clock, clock.now(), instances
        self._answering = Answering(settings, answers, instances, callers, owner=owner)
        self._server = IntakeServer(
            settings.intake,
            Services(
                policy=Policy(settings, callers, clock),
                floor=Floor(settings.intake.associations_max),
                spooler=Spooler(vault, settings.store),
                store=StoreHandler(Custody(instances, settings.store), clock),
                commitment=CommitmentHandler(answers, deliveries),
                instances=instances,
                clock=clock,
            ),
        )

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._server.port

    @property
    def ports(self) -> dict[str, int]:
        """Every port that the server listens on."""
        server = self._server
        return {name: port for name, port in (("port", server.port), ("tls_port", server.tls_port)) if port}

    def step(self) -> bool:
        """Beat when it is time, and give at most one answer; say whether one was due. Raises DatabaseDown."""
        now = self._clock.now()
        if now - self._beaten_at >= BEAT_EVERY:
            self._beaten_at = now
            self._server.beat()
        self._instances.end_owed()
        return self._answering.step()


def folder_import(settings: Settings, instances: Instances, vault: Vault, *, sender: str = "import") -> FolderImport:
    """The import of files, for the command line and for whatever else fetches some."""
    from oculard.decoders import limits
    from oculard.intake.folder import FolderImport  # which decodes Topcon's pixels: the network's intake never does

    return FolderImport(
        Custody(instances, settings.store),
        Spooler(vault, settings.store),
        called_ae=settings.intake.ae_title,
        instance_max_gib=settings.store.instance_max_gib,
        decoding=limits(settings.worker),
        sender=sender,
    )
