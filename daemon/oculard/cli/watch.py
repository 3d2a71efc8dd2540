"""`status`, `trace`, `jobs`, `models`: what is, and what was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from oculard.cli.context import AsJson, Context, context, local, print_json, print_lines, print_table, say
from oculard.errors import OculardError
from oculard.job import DeliveryState, JobState

if TYPE_CHECKING:
    from oculard.app import App

NEEDED = frozenset({"intake", "worker", "sender", "upkeep"})
MIB = 1 << 20
Identity = Annotated[
    str, typer.Argument(help="Study, image or report UID, accession number or patient ID, as the device wrote it.")
]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]
PATIENT = ("patient_id", "accession_number")  # the asker has them; a screen that is shared should not


MODEL_COLUMNS = (
    "bundle",
    "family",
    "serves",
    "reads",
    "outlines",
    "demonstration",
    "licence",
    "weights_sha256",
    "refused",
)
STUDY_TABLES: dict[str, tuple[str, ...]] = {
    "Instances": ("id", "sop_instance_uid", "eye", "eye_why", "sender", "received_at", "no_job"),
    "Jobs": ("id", "family", "eye", "estimator", "state", "attempts", "reason"),
    "Reports": ("id", "job_id", "outcome", "remark", "sop_instance_uid", "created_at"),
    "Objects": ("report_id", "role", "sop_class_uid", "sop_instance_uid"),
    "Deliveries": ("id", "report_id", "peer", "state", "attempts", "reason", "transaction_uid", "changed_at"),
    "Sent": ("delivery_id", "role", "sop_instance_uid", "reason", "committed_at"),
}


class NotFound(OculardError):
    """Nothing is known under this name."""

    reason = "not-found"
    hint = "give a study, image or report UID, an accession number or a patient ID, exactly as the device wrote it"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, trace, jobs, deliveries, models):
        app.command(rich_help_panel="Watching")(command)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """How the daemon is: processes, counts, disk, alarms. Exit code 1 when something needs a person."""
    from oculard.alarm import sentence
    from oculard.cli.folders import folder_rows

    app = context(ctx).checked_app
    roles = [
        {"role": role.role, "pid": role.pid, "alive": app.roles.is_alive(role), "since": role.started_at, **role.says}
        for role in app.roles.list()
    ]
    alarms = [
        {"name": a.name, "subject": a.subject, "raised_at": a.raised_at, "means": sentence(a.name)}
        for a in app.alarms.standing()
    ]
    free_gib, mark = app.vault.free_gib() if app.vault.folder.exists() else 0.0, app.settings.store.disk_free_min_gib
    told = {
        "roles": roles,
        "counts": app.trace.counts(),
        "oldest": app.trace.oldest(),
        "backfills": _backfills(app),
        "disk": {"free_gib": round(free_gib, 2), "mark_gib": mark, "accepting": free_gib >= mark},
        "folders": folder_rows(app),
        "alarms": alarms,
    }
    if as_json:
        print_json(told)
    else:
        _print_status(told)
    fetches = {"fetcher"} if app.settings.archives or app.settings.folders else set()
    missing = (NEEDED | fetches) - {role.role for role in app.roles.list() if app.roles.is_alive(role)}
    if missing:
        say(f"not running: {', '.join(sorted(missing))} (start `oculard run`)")
    if alarms or missing or free_gib < mark:
        raise typer.Exit(1)


def trace(ctx: typer.Context, identity: Identity, as_json: AsJson = False) -> None:
    """Where is it and why: the way of a study from the first image to the PACS's commitment."""
    app = context(ctx).checked_app
    studies = [app.trace.study(study_id) for study_id in app.trace.find(identity)]
    if not studies:
        raise NotFound("no study is known under that name")
    told = [_told(context(ctx), study) for study in studies]
    if as_json:
        print_json(told)
    else:
        for study in told:
            _print_study(study)


def jobs(
    ctx: typer.Context,
    state: Annotated[JobState | None, typer.Option(help="Only this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest jobs."""
    rows = context(ctx).checked_app.trace.jobs(state=state, limit=limit)
    if as_json:
        print_json(rows)
        return
    columns = ("id", "state", "family", "eye", "estimator", "attempts", "reason", "changed_at", "study_instance_uid")
    print_table(columns, [[row[column] for column in columns] for row in rows])


def deliveries(
    ctx: typer.Context,
    state: Annotated[DeliveryState | None, typer.Option(help="Only this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest deliveries of reports to peers."""
    rows = context(ctx).checked_app.trace.deliveries(state=state, limit=limit)
    if as_json:
        print_json(rows)
        return
    columns = ("id", "state", "peer", "attempts", "reason", "run_after", "changed_at", "report_uid")
    print_table(columns, [[row[column] for column in columns] for row in rows])


def models(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The bundles and the network for layers: which are here, which serve, which are refused and why."""
    from oculard.inference.estimators import find, name_of
    from oculard_models.quality import GATE_FAMILY

    worker = context(ctx).settings.worker
    bundles, refusals = find(worker.bundles)
    serving = worker.estimators | {GATE_FAMILY: worker.quality_gate}
    rows: list[dict[str, Any]] = [
        {
            "bundle": name_of(bundle.manifest),
            "family": bundle.manifest.family,
            "serves": serving.get(bundle.manifest.family) == bundle.manifest.name,
            "reads": " ".join((bundle.manifest.input.kind, *bundle.manifest.input.slabs)),
            "outlines": None if bundle.manifest.mask is None else bundle.manifest.mask.structure.value,
            "demonstration": bundle.manifest.demonstration,
            "licence": bundle.manifest.licence,
            "weights_sha256": bundle.manifest.weights.sha256,
            "refused": None,
        }
        for bundle in bundles
    ]
    rows += [{"bundle": refusal.folder.name, "refused": refusal.reason} for refusal in refusals]
    here = {bundle.manifest.name for bundle in bundles}
    rows += [
        {"bundle": name, "family": family, "refused": "[worker] names it, and it is not here"}
        for family, name in serving.items()
        if name not in here
    ]
    rows += _layer_network(context(ctx).settings.glaucoma.layer_network)
    if as_json:
        print_json(rows)
    else:
        print_table(MODEL_COLUMNS, [[row.get(column) for column in MODEL_COLUMNS] for row in rows])


def _layer_network(named: str) -> list[dict[str, Any]]:
    """The network that finds layers, which is of no family; no row where we search."""
    from oculard_models.layer_manifest import network_path, read_layer_folder
    from oculard_models.manifest import OCT_VOLUME, BundleRefused

    path = network_path(named)
    if path is None:
        return []
    try:
        manifest = read_layer_folder(path).manifest
    except BundleRefused as why:
        return [{"bundle": named, "refused": str(why)}]
    return [
        {
            "bundle": f"{manifest.name}@{manifest.version}",
            "family": "",
            "serves": True,
            "reads": OCT_VOLUME,
            "outlines": "layers",
            "demonstration": False,
            "licence": manifest.licence,
            "weights_sha256": manifest.weights.sha256,
            "refused": None,
        }
    ]


def _told(found: Context, study: dict[str, Any]) -> dict[str, Any]:
    """The study without what identifies the patient, and with a reason for every image that has no job."""
    from oculard.imaging.eyes import acquisitions
    from oculard.imaging.facts import Facts
    from oculard.plan import explain
    from oculard.store.studies import Kept
    from oculard.upkeep.settling import candidate

    told = {key: value for key, value in study.items() if key not in PATIENT}
    families = _families(found)
    told["acquisitions"] = [
        {
            "volume": together.volume.sop_instance_uid,
            "photograph": together.photograph.sop_instance_uid if together.photograph else None,
            "slabs": [slab.sop_instance_uid for slab in together.slabs],
        }
        for together in acquisitions([Facts.from_json(image["facts"]) for image in told["instances"]])
    ]
    candidates = {
        image["id"]: candidate(Kept(**{name: image[name] for name in Kept.__dataclass_fields__}))
        for image in told["instances"]
        if not image["variant"]
    }
    for image in told["instances"]:
        facts = Facts.from_json(image["facts"])
        image["eye"], image["eye_why"] = facts.eye, facts.eye_why
        if image["variant"]:
            image["no_job"] = "same UID as an earlier image, other bytes: kept, not used"
        elif families is None:
            image["no_job"] = ""
        else:
            study_images = list(candidates.values())
            image["no_job"] = explain(candidates[image["id"]], study_images, found.settings.plan, families)
        del image["facts"]
    return told


def _families(found: Context) -> dict[str, Any] | None:
    """The families in force; None when their bundles are not on this machine (a sender's, say)."""
    from oculard.errors import Misconfigured
    from oculard.inference.estimators import families, find

    try:
        return dict(families(find(found.settings.worker.bundles)[0], found.settings.worker.estimators))
    except Misconfigured as why:
        say(f"{why} (so images without a job are not explained)")
        return None


def _backfills(app: App) -> list[dict[str, Any]]:
    """What is under way; mostly nothing is, and then nothing of back-fills is loaded."""
    if not app.trace.has_backfill():
        return []
    from oculard.cli.backfill import backfill_rows

    return backfill_rows(app, active=True)


def _print_status(told: dict[str, Any]) -> None:
    columns = ("role", "pid", "alive", "since", "port", "providers")
    roles = [role | {"providers": ", ".join(role.get("providers", []))} for role in told["roles"]]
    print_table(columns, [[role.get(column) for column in columns] for role in roles], title="Processes")
    counts = told["counts"] | {"instance": {"kept": told["counts"]["instance"]["kept"]}}
    counts["instance"]["MiB"] = round(told["counts"]["instance"]["bytes"] / MIB)
    rows = [[kind, state, count] for kind, by_state in counts.items() for state, count in by_state.items()]
    print_table(("what", "state", "count"), rows, title="Counts")
    if told["backfills"]:
        from oculard.cli.backfill import print_backfills

        print_backfills(told["backfills"], title="Back-fills under way")
    disk = told["disk"]
    print_lines([f"disk: {disk['free_gib']} GiB free, mark {disk['mark_gib']} GiB"])
    if told["folders"]:
        from oculard.cli.folders import print_folders

        print_folders(told["folders"])
    print_table(
        ("alarm", "subject", "since", "means"), [list(alarm.values()) for alarm in told["alarms"]], title="Alarms"
    )


def _print_study(study: dict[str, Any]) -> None:
    settled = f", settled {local(study['settled_at'])}" if study["settled_at"] else ""
    print_lines([f"study {study['study_instance_uid']}: {study['state']}{settled}"])
    for title, columns in STUDY_TABLES.items():
        rows = study[title.lower()]
        print_table(columns, [[row[column] for column in columns] for row in rows], title=title)
    print_lines(["Events", *(_line(event) for event in study["events"])])


def _line(event: dict[str, Any]) -> str:
    """One event as a line: when, what, how it moved, by whom, why. `--json` has all of it."""
    what = f"{event['kind']} {event['subject_id']}"
    moved = " -> ".join(filter(None, (event["source"], event["target"])))
    actor = str(event["actor"])
    by = actor.partition(":")[0] if actor.count(":") > 1 else actor  # a role's name without its process
    words = f"{local(event['at'])}  {what:<12} {event['name']:<10} {moved:<20} {by}"
    return words + (f"  ({event['reason']})" if event["reason"] else "")
