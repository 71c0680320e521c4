"""A world of stand-ins, for tests of what starts, watches and stops it."""

from __future__ import annotations

from dataclasses import replace

from ops.embedded.world import SERVICES

DUMMIES = tuple(replace(service, module="tests.integration.embedded.dummy_service") for service in SERVICES)
