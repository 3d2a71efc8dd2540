"""The intake of the intake's own tests."""

from intake.conftest import make_site, site  # noqa: F401  fixtures
