"""`doctor`: every start-up check without opening a port, and a look at each peer; says what to change, and where."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from oculard.cli.check import FINE, WARNING, WRONG, Check, wrong
from oculard.cli.context import AsJson, Context, context, print_json, print_table, say
from oculard.cli.folders import trouble
from oculard.cli.telling_checks import addresses, certificates
from oculard.errors import OculardError

if TYPE_CHECKING:
    from oculard.settings import Worker
    from oculard_models.registry import Bundle

OTHERS = 0o077  # what group and others may do


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Watching")(doctor)


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Is everything ready, and if not, which setting must change on which side? Exit code 1 when something is wrong."""
    found = context(ctx)
    checks = [
        check
        for look in (
            _configuration,
            _folder,
            _database,
            _models,
            _port,
            _senders,
            _peers,
            _watched,
            addresses,
            certificates,
        )
        for check in look(found)
    ]
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(("check", "state", "found", "hint"), [[c.what, c.state, c.found, c.hint] for c in checks])
    count = sum(check.state == WRONG for check in checks)
    say("everything is ready" if not count else f"{count} of {len(checks)} checks found something wrong")
    if count:
        raise typer.Exit(1)


def _configuration(found: Context) -> Iterator[Check]:
    settings = found.settings  # a wrong one never comes so far: it ends the command with exit code 2
    yield Check(what="configuration", state=FINE, found=str(found.file))
    if not settings.peers:
        yield Check(
            what="configuration",
            state=WARNING,
            found="no [[peers]]: reports stay here",
            hint="add the PACS to [[peers]]: name, ae_title, host, port",
        )


def _folder(found: Context) -> Iterator[Check]:
    folder, mark = found.settings.store.folder, found.settings.store.disk_free_min_gib
    foreign = _of_database(found, lambda: list(_foreign(found)))
    if foreign:
        yield from foreign
        return
    try:
        found.app.vault.prepare()
        with tempfile.TemporaryFile(dir=found.app.vault.spool) as file:
            file.write(b"oculard")
            file.flush()
    except OSError as why:
        hint = "the daemon's user must own this folder; [store] folder names another one"
        yield Check(what="folder", state=WRONG, found=f"{folder}: {why.strerror}", hint=hint)
        return
    free = found.app.vault.free_gib()
    state, hint = (
        (FINE, "") if free >= mark else (WRONG, "make room, or lower [store] disk_free_min_gib: intake refuses now")
    )
    yield Check(
        what="folder", state=state, found=f"{folder}: writable, {free:.1f} GiB free, mark {mark:g} GiB", hint=hint
    )
    yield from _privacy(found)


def _privacy(found: Context) -> Iterator[Check]:
    """Whether other users of this machine can look at what is kept: a folder of an earlier version, or made by hand."""
    folder = found.settings.store.folder
    if folder.stat().st_mode & OTHERS:
        hint = f"it holds patients' images and identifiers: chmod -R u=rwX,go= {folder}"
        yield Check(what="folder", state=WARNING, found=f"{folder} is open to other users", hint=hint)


def _foreign(found: Context) -> Iterator[Check]:
    """Whether the folder is the vault of another database, or where a vault's disk should be mounted."""
    from oculard.store.identity import NotOurVault
    from oculard.store.vault import VaultUnreadable

    try:
        found.app.identity.check()
    except (NotOurVault, VaultUnreadable) as why:
        yield wrong("folder", why)


def _database(found: Context) -> Iterator[Check]:
    try:
        found.app.database.check()
    except OculardError as why:
        yield wrong("database", why)
    else:
        url = found.app.database.url.render_as_string(hide_password=True)
        yield Check(what="database", state=FINE, found=f"{url}, revision {found.app.database.revisions()[1]}")


def _models(found: Context) -> Iterator[Check]:
    from oculard.inference.estimators import families, find, name_of, serve
    from oculard_models.manifest import BundleRefused
    from oculard_models.runners.load import choose

    worker = found.settings.worker
    bundles, refusals = find(worker.bundles)
    for refusal in refusals:
        yield Check(
            what="bundle",
            state=WRONG,
            found=refusal.reason,
            hint="put the bundle back as it was delivered, or take it away",
        )
    try:
        chosen = families(bundles, worker.estimators)
    except OculardError as why:
        yield wrong("bundle", why)
        return
    yield _gate(bundles, worker)
    yield from _normative(found)
    yield _layers(found)
    choice = choose(worker.runner, worker.providers)
    for words in choice.why:
        yield Check(what="provider", state=WARNING if "not used" in words else FINE, found=words)
    for bundle in bundles:
        if name_of(bundle.manifest) not in {family.estimator for family in chosen.values()}:
            continue
        try:
            served = serve(bundle, worker.runner, choice, worker.threads, worker.precision)
        except BundleRefused as why:
            yield Check(what="bundle", state=WRONG, found=str(why), hint="its jobs would fail; put the bundle back")
            continue
        name, demonstration = name_of(bundle.manifest), bundle.manifest.demonstration
        words = "self-test passed" + (
            ", DEMONSTRATION weights: values mean nothing for people" if demonstration else ""
        )
        yield Check(what="bundle", state=WARNING if demonstration else FINE, found=f"{name}: {words}")
        for words in served.why:
            yield Check(what="runner", state=WARNING if "not used" in words else FINE, found=f"{name}: {words}")


def _normative(found: Context) -> Iterator[Check]:
    """Whether the normative set can be read, where one is named: no worker starts without it."""
    from oculard.inference.volume import read_named_normative

    try:
        normative = read_named_normative(found.settings.glaucoma)
    except OculardError as why:
        yield wrong("normative set", why)
    else:
        if normative is not None:
            words = f"{normative.eyes} healthy eyes, sha256 {normative.digest}"
            yield Check(what="normative set", state=FINE, found=words)


def _layers(found: Context) -> Check:
    """Who finds the layers of OCT volumes, and whether that network loads: its jobs would fail."""
    from oculard.inference.layer_finder import layer_finder, read_named_network, words_of

    try:
        layer_finder(found.settings.glaucoma, threads=1)
        network = read_named_network(found.settings.glaucoma.layer_network)
    except OculardError as why:
        return wrong("network for layers", why)
    words = "none: the graph search" if network is None else f"{words_of(network)}: self-test passed"
    return Check(what="network for layers", state=FINE, found=words)


def _gate(bundles: list[Bundle], worker: Worker) -> Check:
    """Whether the quality gate loads: no image is estimated without it."""
    from oculard.inference.grading import GateRefused, serve_gate

    try:
        served = serve_gate(bundles, worker.quality_gate, worker.threads, worker.disc_finder)
    except GateRefused as why:
        return wrong("quality gate", why)
    return Check(what="quality gate", state=FINE, found=f"{served.name}: self-test passed")


def _port(found: Context) -> Iterator[Check]:
    intake, web = found.settings.intake, found.settings.web
    if intake.tls.plain:
        yield _listener(found, "intake", f"runs as {intake.ae_title}", intake.host, intake.port)
    if intake.tls.is_on:
        yield _listener(found, "intake", f"runs as {intake.ae_title}, TLS", intake.host, intake.tls.port, "tls_port")
    yield _listener(found, "web", "runs", web.host, web.port)


def _listener(found: Context, role: str, runs: str, host: str, port: int, key: str = "port") -> Check:
    """Whether a role listens already, or could."""
    alive = [one for one in _roles(found) if one.role == role and found.app.roles.is_alive(one)]
    if alive:
        return Check(what=role, state=FINE, found=f"{runs} on port {alive[0].says.get(key)}")
    with _bound(host, port) as problem:
        if not problem:
            return Check(what=role, state=FINE, found=f"{host}:{port} is free")
        hint = f"the port is taken, or needs more rights, or the address is not this machine's: [{role}] host, port"
        return Check(what=role, state=WRONG, found=f"{host}:{port}: {problem}", hint=hint)


def _senders(found: Context) -> Iterator[Check]:
    for sender in found.settings.senders:
        where = ", ".join(sender.addresses) or "any address"
        hint = "" if sender.addresses else "name its address in [[senders]] addresses"
        yield Check(
            what="sender",
            state=FINE if sender.addresses else WARNING,
            found=f"{sender.ae_title} from {where}",
            hint=hint,
        )
    from oculard.intake.policy import NEVER_ALLOWED, hint_of

    refused = _of_database(found, lambda: found.app.callers.list(state="refused")) or []
    for caller in refused[:10]:
        who = f"{caller.calling_ae} from {caller.address} called {caller.called_ae}"
        yield Check(
            what="refused",
            state=WARNING,
            found=f"{who}: {caller.reason}, {caller.count} times",
            hint=hint_of(caller.reason, found.settings.intake.ae_title)
            if caller.reason in NEVER_ALLOWED
            else f"`oculard allow {caller.id}` lets it in",
        )
    if not found.settings.senders and not _of_database(found, lambda: found.app.callers.list(state="allowed")):
        hint = "add the device to [[senders]]; or let it call once and run `oculard allow`"
        yield Check(what="sender", state=WARNING, found="nobody may send to us", hint=hint)


def _peers(found: Context) -> Iterator[Check]:
    from oculard.delivery.echo import probe
    from oculard.delivery.scu import Target

    for peer in found.settings.peers:
        result = probe(Target.of(peer, found.settings))
        where = f"{peer.ae_title}@{peer.host}:{peer.port}"
        if not result.is_fine:
            yield Check(what="peer", state=WRONG, found=f"{where}: {result.reason}", hint=result.hint)
            continue
        best = {"88.34": "Comprehensive 3D SR", "88.33": "Comprehensive SR", "88.22": "Enhanced SR"}
        taken = best.get(result.reports[0][0].removeprefix("1.2.840.10008.5.1.4.1.1."), "SR")
        echo = "no C-ECHO" if result.echo_s is None else f"C-ECHO {1000 * result.echo_s:.0f} ms"
        yield Check(what="peer", state=FINE, found=f"{where}: {echo}, takes reports as {taken}")
        if peer.commitment and not result.commitment:
            hint = (
                f"allow storage commitment for {found.settings.intake.ae_title} on the PACS, or set commitment = false"
            )
            yield Check(what="peer", state=WRONG, found=f"{where} refuses storage commitment", hint=hint)


def _watched(found: Context) -> Iterator[Check]:
    """Whether every watched folder is there, may be read, and what was taken may be moved."""
    for folder in found.settings.folders:
        wrong = trouble(folder)
        if wrong is None:
            yield Check(what="folder", state=FINE, found=f"{folder.path} is watched as `{folder.name}`")
        else:
            yield Check(what="folder", state=WRONG, found=wrong[0], hint=wrong[1])


def _roles(found: Context) -> list[Any]:
    return _of_database(found, found.app.roles.list) or []


def _of_database(found: Context, ask: Callable[[], list[Any]]) -> list[Any] | None:
    """The answer, or None while the database is not usable, which another check says already."""
    try:
        found.app.database.check()
        return ask()
    except OculardError:
        return None


@contextmanager
def _bound(host: str, port: int) -> Iterator[str]:
    """Bind without listening: nobody can connect, and nothing stays behind. Gives what went wrong, or ""."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as why:
            yield (why.strerror or "cannot be used").lower()
        else:
            yield ""
