"""Everything family keeps, page by page: a slow reader holds no transaction open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from chassis.db import Database
from kernel.ids import GroupId
from services.family.domain.bindings import Binding
from services.family.domain.groups import Invitation, Member
from services.family.domain.leaving import Departure
from services.family.store import bindings as binding_store
from services.family.store import departures as departure_store
from services.family.store import groups as group_store

PAGE_ROWS_MAX: Final = 1_000


async def members(database: Database) -> AsyncIterator[tuple[GroupId, Member]]:
    """Every membership."""
    after = None
    while True:
        async with database.transaction() as connection:
            page = await group_store.page_of_members(connection, after=after, rows_max=PAGE_ROWS_MAX)
        for group_id, member in page:
            yield group_id, member
            after = (group_id, member.psn_no)
        if len(page) < PAGE_ROWS_MAX:
            return


async def invitations(database: Database) -> AsyncIterator[tuple[Invitation, datetime]]:
    """Every invitation, and when it last changed."""
    after = None
    while True:
        async with database.transaction() as connection:
            page = await group_store.page_of_invitations(connection, after=after, rows_max=PAGE_ROWS_MAX)
        for invitation, at in page:
            yield invitation, at
            after = invitation.invitation_id
        if len(page) < PAGE_ROWS_MAX:
            return


async def departures(database: Database) -> AsyncIterator[Departure]:
    """The last departure of everybody who is in a group no more."""
    after = None
    while True:
        async with database.transaction() as connection:
            page = await departure_store.page(connection, after=after, rows_max=PAGE_ROWS_MAX)
        for departure in page:
            yield departure
            after = departure.departure_id
        if len(page) < PAGE_ROWS_MAX:
            return


async def bindings(database: Database) -> AsyncIterator[tuple[Binding, datetime]]:
    """Every binding, ended ones too, and when it last changed."""
    after = None
    while True:
        async with database.transaction() as connection:
            page = await binding_store.page(connection, after=after, rows_max=PAGE_ROWS_MAX)
        for binding, at in page:
            yield binding, at
            after = binding.binding_id
        if len(page) < PAGE_ROWS_MAX:
            return
