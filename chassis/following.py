"""Files that change while a process runs: what they mean is exchanged as a whole, once they are at rest and sound.

What a start would refuse is refused here as well, loudly, and what was meant before goes on counting: a process that
runs does not stop over a file, and does not take half of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from prometheus_client import Gauge

from chassis import telemetry
from chassis.files import YamlFile, built_from, parsed_yaml, yaml_contents
from kernel.failures import Failure, Kind

_log = telemetry.logger("files")

REST_S: Final = 1.0
"""Changed files must be the same at two looks this far apart: nobody is half through writing them."""
NAMES_TOLD_MAX: Final = 20
REMIND_S: Final = 300.0
"""Refused files are told of again after this."""

_REFUSED: Final = Gauge(
    "gongji_files_refused",
    "1 while changed files are refused and older ones count.",
    ["files"],
    registry=telemetry.REGISTRY,
)

Built = TypeVar("Built")


class FollowedFolder(Generic[Built]):
    """A folder of YAML files and what they mean. Made at the start, when what is refused is raised; then ``follow``.

    ``check_change`` is given what counts and what is to take its place, and may refuse the change with a ``Failure``.
    """

    def __init__(
        self,
        folder: Path,
        build: Callable[[Mapping[str, Any]], Built],
        *,
        what: str,
        check_change: Callable[[Built, Built], None] = lambda _before, _after: None,
    ) -> None:
        self._folder = folder
        self._build = build
        self._what = what
        self._check_change = check_change
        self._counts: Built | None = None
        self._seen: Mapping[str, bytes] = {}
        self._files: Mapping[str, YamlFile] = {}
        """Parsed once as long as they do not change: a nation has thousands."""
        self._refused: tuple[Mapping[str, bytes], Failure] | None = None
        self.built: Final = self._made(yaml_contents(folder))
        """What the files meant at the start."""

    async def follow(self, take: Callable[[Built], None], *, poll_s: float) -> None:
        """Looks every ``poll_s`` until cancelled, and hands over what changed files mean.

        Refused files (those of ``read_yaml_folder``, of ``build`` and of ``check_change``) are logged with file, line
        and reason and counted in ``gongji_files_refused``; nothing is handed over then.
        """
        loop = asyncio.get_running_loop()
        refused: Failure | None = None
        told_at = float("-inf")
        _REFUSED.labels(files=self._what).set(0)
        _log.info("files count", files=self._what, digest=_digest(self._seen))
        while True:
            await asyncio.sleep(poll_s)
            before = self._seen
            try:
                built = await self._changed(rest_s=min(REST_S, poll_s))
            except Failure as failure:
                is_new = refused is None or failure.metadata != refused.metadata or failure.reason != refused.reason
                if is_new or loop.time() - told_at >= REMIND_S:
                    facts = {key: value for key, value in failure.metadata.items() if key != "source"}
                    refusal = "changed files are refused; the older ones count"
                    _log.error(refusal, reason=failure.reason, **facts, exc_info=failure.__cause__)
                    told_at = loop.time()
                refused = failure
                _REFUSED.labels(files=self._what).set(1)
                continue
            if refused is not None:
                _log.info("the files are sound again", files=self._what, digest=_digest(self._seen))
                _REFUSED.labels(files=self._what).set(0)
                refused = None
            if built is not None:
                take(built)
                changes = _changes(before, self._seen)
                _log.info("changed files count from now on", files=self._what, digest=_digest(self._seen), **changes)

    async def _changed(self, *, rest_s: float) -> Built | None:
        """What the files mean once they are at rest, if they are others than those that count; None otherwise."""
        found, before = await asyncio.to_thread(yaml_contents, self._folder), self._seen
        while found != before:
            await asyncio.sleep(rest_s)
            found, before = await asyncio.to_thread(yaml_contents, self._folder), found
        if found == self._seen:
            return None
        if self._refused is not None and found == self._refused[0]:
            raise self._refused[1]
        try:
            return await asyncio.to_thread(self._made, found)
        except Failure as failure:
            self._refused = found, failure
            raise
        except Exception as error:
            # Whatever it is, it came with the files: it must not end every replica of a room at once.
            where, problem = str(self._folder), type(error).__name__
            self._refused = found, Failure(Kind.INVALID, "FILE_MALFORMED", file=where, problem=problem)
            raise self._refused[1] from error

    def _made(self, contents: Mapping[str, bytes]) -> Built:
        files = {
            name: self._files[name]
            if self._seen.get(name) == content
            else parsed_yaml(content, name=str(self._folder / name))
            for name, content in contents.items()
        }
        built = built_from(files, self._build)
        if self._counts is not None:
            self._check_change(self._counts, built)
        self._seen, self._files, self._counts = contents, files, built
        return built


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Which files are new, other than they were, or gone; the first of each, and nothing of what there is none of."""
    names = {
        "added": after.keys() - before.keys(),
        "changed": {name for name in after.keys() & before.keys() if after[name] != before[name]},
        "removed": before.keys() - after.keys(),
    }
    return {how: sorted(which)[:NAMES_TOLD_MAX] for how, which in names.items() if which}


def _digest(contents: Mapping[str, bytes]) -> str:
    """The same in every replica that has the same files."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
