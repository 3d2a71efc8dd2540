"""The command line: `oculard`. Data to stdout, words to stderr; exit 0 fine, 1 failed, 2 misuse or misconfigured."""

from __future__ import annotations

import sys

from oculard import loading
from oculard.errors import Misconfigured, OculardError

EXIT_FAILED, EXIT_MISUSE = 1, 2


def main() -> None:
    """Run the command. Every foreseen failure ends with what to do; a bug ends with where it is."""
    from oculard.cli.commands import build

    app = build(sys.argv[1:])
    try:
        app()
    except Misconfigured as why:
        _complain(why)
        sys.exit(EXIT_MISUSE)
    except OculardError as why:
        _complain(why)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        sys.exit(EXIT_FAILED)  # whoever read our output has gone
    except Exception as bug:  # noqa: BLE001  the last of the four places: a person must read something
        from oculard import log

        log.configure(level="error", form="console", role="cli")
        log.get("cli").error("a bug in oculard", exc_info=bug)
        sys.exit(EXIT_FAILED)
    finally:
        loading.over()


def _complain(why: OculardError) -> None:
    print(f"oculard: {why}", file=sys.stderr)  # noqa: T201  this is what a person reads
    if why.hint:
        print(f"hint: {why.hint}", file=sys.stderr)  # noqa: T201  as above
