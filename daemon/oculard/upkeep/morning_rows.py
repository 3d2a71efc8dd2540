"""The lists of the morning report, made from the counts that the database gives. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from oculard.job import DeliveryEvent, DeliveryState, JobEvent
from oculard.store.mornings import Row

OUTCOMES = {JobEvent.DONE: "done", JobEvent.REJECT: "rejected", JobEvent.GIVE_UP: "failed"}


def families(ended: list[Row], took: Mapping[tuple[str, str], float]) -> list[Row]:
    """How many jobs of each family and estimator ended how, and how long one took."""
    lines: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in ended:
        lines[row["family"], row["estimator"]][OUTCOMES[row["event"]]] += row["count"]
    return [
        {
            "family": family,
            "estimator": estimator,
            **{name: counts[name] for name in OUTCOMES.values()},
            "mean_s": took.get((family, estimator)),
        }
        for (family, estimator), counts in sorted(lines.items())
    ]


def reasons(ended: list[Row]) -> list[Row]:
    """Why jobs were rejected or failed."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in ended:
        if row["event"] != JobEvent.DONE:
            counts[OUTCOMES[row["event"]], row["family"], row["reason"] or ""] += row["count"]
    return [
        {"outcome": outcome, "family": family, "reason": reason, "count": count}
        for (outcome, family, reason), count in sorted(counts.items())
    ]


def not_reached(rows: list[Row], let_run: Mapping[str, int], quotas: Mapping[str, int]) -> list[Row]:
    """Why night jobs had not begun: `quota` where the family had its share and this was beyond it, else `time`."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        family = row["family"]
        spent = family in quotas and let_run.get(family, 0) >= quotas[family]
        counts[family, "quota" if spent and not row["let_run"] else "time"] += row["count"]
    return [{"family": family, "why": why, "count": count} for (family, why), count in sorted(counts.items())]


def peers(rows: list[Row], owed: list[Row]) -> list[Row]:
    """What each peer took, promised to keep and refused, and what stood at the end: on its way, or parked."""
    lines: dict[str, Counter[str]] = defaultdict(Counter)
    why: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        lines[row["peer"]][row["event"]] += row["count"]
        if row["event"] in (DeliveryEvent.PARK, DeliveryEvent.RETRY) and row["reason"]:
            why[row["peer"]][row["reason"]] += row["count"]
    for row in owed:
        stands = "parked_still" if row["state"] == DeliveryState.PARKED else "under_way"
        lines[row["peer"]][stands] += row["count"]
    return [
        {
            "peer": peer,
            "delivered": counts[DeliveryEvent.DONE] + counts[DeliveryEvent.COMMIT],
            "committed": counts[DeliveryEvent.COMMIT],
            "retried": counts[DeliveryEvent.RETRY],
            "parked": counts[DeliveryEvent.PARK],
            "under_way": counts["under_way"],
            "parked_still": counts["parked_still"],
            "reasons": dict(why[peer]),
        }
        for peer, counts in sorted(lines.items())
    ]


def bad_ends(rows: list[Row], patients: Mapping[int, Row]) -> list[Row]:
    """The jobs that failed or were rejected; with what identifies the patient where that is given."""
    return [
        {name: row[name] for name in ("job_id", "family", "eye")}
        | {"outcome": OUTCOMES[row["event"]], "reason": row["reason"] or ""}
        | patients.get(row["job_id"], {})
        for row in rows
    ]
