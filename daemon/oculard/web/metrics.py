"""Metrics, read from the database when somebody asks: every process counts, and none has to be scraped by itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from oculard.clock import SystemClock
from oculard.store.alarms import Alarms
from oculard.store.roles import Roles
from oculard.store.trace import Trace
from oculard.store.vault import GIB, Vault


class StoreCollector(Collector):
    """What the store knows, as gauges. No label ever holds patient data."""

    def __init__(self, vault: Vault, roles: Roles, trace: Trace, alarms: Alarms) -> None:
        self._vault, self._roles, self._trace, self._alarms = vault, roles, trace, alarms
        self._clock = SystemClock()

    def collect(self) -> Iterable[Metric]:
        counts = self._trace.counts()
        kept = counts.pop("instance")
        yield GaugeMetricFamily("oculard_instances", "Instances in custody.", value=kept["kept"])
        yield GaugeMetricFamily("oculard_instances_bytes", "Size of the instances in custody.", value=kept["bytes"])
        for name, by_state in sorted(counts.items()):
            gauge = GaugeMetricFamily(f"oculard_{name}_count", f"Rows of `{name}` by state.", labels=["state"])
            for state, count in by_state.items():
                gauge.add_metric([state], count)
            yield gauge
        yield self._ages()
        yield self._alive()
        yield self._standing()
        yield GaugeMetricFamily(
            "oculard_disk_free_bytes", "Free space of the vault.", value=self._vault.free_gib() * GIB
        )

    def _ages(self) -> Metric:
        gauge = GaugeMetricFamily("oculard_oldest_seconds", "Age of the oldest that has not ended.", labels=["kind"])
        for kind, since in self._trace.oldest().items():
            gauge.add_metric([kind], 0.0 if since is None else (self._clock.now() - since).total_seconds())
        return gauge

    def _alive(self) -> Metric:
        gauge = GaugeMetricFamily(
            "oculard_role_up", "Processes of each role that were heard of lately.", labels=["role"]
        )
        up: dict[str, int] = {}
        for role in self._roles.list():
            up[role.role] = up.get(role.role, 0) + int(self._roles.is_alive(role))
        for name, count in sorted(up.items()):
            gauge.add_metric([name], count)
        return gauge

    def _standing(self) -> Metric:
        gauge = GaugeMetricFamily("oculard_alarms", "Standing alarms.", labels=["name"])
        standing: dict[str, int] = {}
        for alarm in self._alarms.standing():
            standing[alarm.name] = standing.get(alarm.name, 0) + 1
        for name, count in sorted(standing.items()):
            gauge.add_metric([name], count)
        return gauge
