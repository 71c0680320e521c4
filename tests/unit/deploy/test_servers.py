"""NATS, PostgreSQL and the README are held against the code and the manifests."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.deploy.conftest import Broken
from tools import bus_permissions, server_rules
from tools.bus_permissions import MODULES, findings, permissions, speeches
from tools.check_kubernetes import DEPLOY, secrets_told, settings_left, table_told, write_table
from tools.make_bus_keys import PROCESSES, make_keys
from tools.manifests import rendered

NATS: Final = "nats/values.yaml"
CLUSTERS: Final = "postgres/clusters.yaml"
SETTINGS: Final = "kubernetes/base/kustomization.yaml"
README: Final = "README.md"


def test_what_each_process_says_and_hears_is_read_from_its_code() -> None:
    """The whole table, written out: a change of who talks to whom over NATS changes this test."""
    told = {name: (one.owns, one.reads, one.serves, one.asks) for name, one in speeches().items()}
    commands, inquire = "ledger.*.command", "settlement.inquire"
    assert told == {
        "identity": ("identity", {("settlement", "identity")}, set(), set()),
        "family": (
            "family",
            {
                ("identity", "family"),
                ("identity", "family-kinship"),
                ("settlement", "family-uses"),
                ("settlement", "family-moves"),
            },
            set(),
            {commands},
        ),
        "settlement": (
            "settlement",
            {("identity", "settlement"), ("family", "settlement")},
            {inquire},
            {commands},
        ),
        "ledger": (None, set(), {commands}, {inquire}),
        "notify": (None, {(name, "notify") for name in ("identity", "family", "settlement")}, set(), set()),
    }


def test_nobody_may_say_what_another_says() -> None:
    """Of events, each process may publish its own alone; a durable consumer is one process's alone."""
    given = permissions("x").items()
    events = {name: {one for one in may.publish if one.startswith("x.event.")} for name, may in given}
    assert events == {
        "identity": {"x.event.identity.>"},
        "family": {"x.event.family.>"},
        "settlement": {"x.event.settlement.>"},
        "ledger": set(),
        "notify": set(),
    }
    consumers = [one for _, may in given for one in may.publish if "CONSUMER" in one or "$JS.ACK" in one]
    assert len(consumers) == len(set(consumers))


def values() -> Any:  # noqa: ANN401  A YAML document.
    """deploy/nats/values.yaml, to be broken."""
    return yaml.safe_load((DEPLOY / NATS).read_text(encoding="utf-8"))


def user(document: Any, process: str) -> Any:  # noqa: ANN401  As above.
    """That process's permissions."""
    users = document["config"]["merge"]["authorization"]["users"]
    (found,) = [one for one in users if f"_{process.upper()}_" in one["nkey"]]
    return found["permissions"]


BREAKS: Final[dict[str, tuple[Callable[[Any], object], str]]] = {
    "a subject nobody speaks": (
        lambda it: user(it, "ledger")["publish"].append("gongji.ledger.*.query"),
        "values: ledger may publish gongji.ledger.*.query, but no code does",
    ),
    "another's events": (
        lambda it: user(it, "identity")["publish"].append("gongji.event.family.>"),
        "values: identity may publish gongji.event.family.>, but no code does",
    ),
    "everything": (
        lambda it: user(it, "notify")["subscribe"].append(">"),
        "values: notify may subscribe >, but no code does",
    ),
    "a spoken subject nobody may speak": (
        lambda it: user(it, "settlement")["publish"].remove("gongji.ledger.*.command"),
        "values: settlement must publish gongji.ledger.*.command, but may not",
    ),
    "a consumer that cannot fetch": (
        lambda it: user(it, "family")["publish"].remove("$JS.API.CONSUMER.MSG.NEXT.gongji-identity.family"),
        "values: family must publish $JS.API.CONSUMER.MSG.NEXT.gongji-identity.family, but may not",
    ),
    "a stream that cannot be made": (
        lambda it: user(it, "family")["publish"].remove("$JS.API.STREAM.CREATE.gongji-family"),
        "values: family must publish $JS.API.STREAM.CREATE.gongji-family, but may not",
    ),
    "a process that cannot answer": (
        lambda it: user(it, "ledger").pop("allow_responses"),
        "values: allow_responses of ledger should be True",
    ),
    "a process that may answer unasked": (
        lambda it: user(it, "identity").update(allow_responses=True),
        "values: allow_responses of identity should be False",
    ),
    "no user": (
        lambda it: it["config"]["merge"]["authorization"]["users"].pop(),
        "values: there is no user for notify",
    ),
    "a user of nobody": (
        lambda it: it["config"]["merge"]["authorization"]["users"].append({"nkey": "<< $X >>", "permissions": {}}),
        "values: the user << $X >> is no process of ours",
    ),
    "a key of another": (
        lambda it: it["container"]["env"].update(
            GONGJI_FAMILY_NKEY={"valueFrom": {"configMapKeyRef": {"name": "gongji-bus-users", "key": "identity"}}}
        ),
        "values: GONGJI_FAMILY_NKEY does not come from the key family of gongji-bus-users",
    ),
}


@pytest.mark.parametrize(("change", "finding"), [pytest.param(*row, id=name) for name, row in BREAKS.items()])
def test_a_permission_too_many_or_too_few_is_found(change: Callable[[Any], object], finding: str) -> None:
    """The process, the verb and the subject are named; nothing else is found."""
    document = values()
    assert list(findings(document, "gongji", "values")) == []
    change(document)
    assert list(findings(document, "gongji", "values")) == [finding]


def test_another_prefix_asks_for_other_subjects(broken: Broken) -> None:
    """GONGJI_BUS_PREFIX of the manifests is what the permissions must begin with."""
    deploy, rendering = broken(SETTINGS, "GONGJI_BUS_PREFIX=gongji", "GONGJI_BUS_PREFIX=shared")
    found = set(server_rules.bus(deploy, rendering))
    assert "deploy/nats/values.yaml: identity must publish shared.event.identity.>, but may not" in found
    assert "deploy/nats/values.yaml: identity may publish gongji.event.identity.>, but no code does" in found


def test_more_copies_than_servers_are_found(broken: Broken) -> None:
    """A stream of three copies needs three servers."""
    deploy, rendering = broken(NATS, "replicas: 3", "replicas: 2")
    assert list(server_rules.bus(deploy, rendering)) == [
        "deploy/nats/values.yaml: 2 servers cannot keep 3 copies of a stream"
    ]


def test_code_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer whose stream is no constant is a finding with file and line, not a permission left out."""
    room = tmp_path / "services" / "notify"
    room.mkdir(parents=True)
    (room / "consumer.py").write_text("def one(source):\n    return Consumer(Stream('p', source), name='n')\n")
    monkeypatch.setattr(bus_permissions, "ROOT", tmp_path)
    monkeypatch.setattr(bus_permissions, "MODULES", {"notify": MODULES["notify"]})
    with pytest.raises(bus_permissions.Unclear, match=r"services/notify/consumer\.py:2: name the stream"):
        speeches()


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        pytest.param(
            "name: gongji_family\n", "name: gongji_families\n", "there is no database gongji_family", id="no database"
        ),
        pytest.param(
            "name: gongji_family\n", "name: gongji_families\n", "nobody uses gongji_families", id="a database of nobody"
        ),
        pytest.param(
            "owner: gongji_notify", "owner: gongji_nobody",
            "gongji_notify is owned by gongji_nobody, which is no role of gongji-services", id="no such role",
        ),
        pytest.param(
            "{name: gongji-ledger-database}", "{name: gongji-ledger}",
            "the password of gongji_ledger is not in gongji-ledger-database, which ledger reads", id="another password",
        ),
    ],
)  # fmt: skip
def test_databases_that_do_not_fit_the_processes_are_found(broken: Broken, old: str, new: str, finding: str) -> None:
    """Missing, unused, owned by nobody, or with a password that the pods do not get."""
    deploy, rendering = broken(CLUSTERS, old, new)
    assert f"deploy/{CLUSTERS}: {finding}" in set(server_rules.databases(deploy, rendering))


def test_an_area_without_a_database_is_found(broken: Broken) -> None:
    """An area named in the manifests needs a database of its own."""
    deploy, rendering = broken(SETTINGS, "areas=650100,650500", "areas=650100,650500,650200")
    assert list(server_rules.databases(deploy, rendering)) == [
        f"deploy/{CLUSTERS}: there is no database gongji_ledger_650200"
    ]


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("`gongji-notify-bus`", "the last one", "the secret gongji-notify-bus with the key seed"),
        ("`url-template`", "`template`", "the secret gongji-ledger-database with the key url-template"),
        ("`identity.json`", "a file", "the secret gongji-identity-secrets with the key identity.json"),
        ("`gongji-policies` (ConfigMap)", "`policies`", "the ConfigMap gongji-policies"),
    ],
)
def test_a_secret_the_readme_does_not_tell_of_is_found(broken: Broken, old: str, new: str, finding: str) -> None:
    """Somebody must make it before the pods start."""
    deploy, rendering = broken(README, old, new)
    assert list(secrets_told(deploy, rendering)) == [f"deploy/README.md: does not tell of {finding}"]


def test_a_setting_left_at_its_default_stands_in_the_readme(broken: Broken) -> None:
    """A row gone is found, and written back by the tool; a setting the manifests give has no row."""
    deploy, rendering = broken(README, "| `GONGJI_LOG_LEVEL` | all | `info`", "| `GONGJI_LOG_LEVEL` | all | `debug`")
    assert len(list(table_told(deploy, rendering))) == 1
    write_table(deploy, rendering)
    assert list(table_told(deploy, rendering)) == []
    assert (deploy / README).read_text(encoding="utf-8") == (DEPLOY / README).read_text(encoding="utf-8")
    assert "GONGJI_DRAIN_S" not in settings_left(rendered(deploy, "base"))


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    """A pair for each process; a second time nothing is written."""
    public = make_keys(tmp_path)
    assert set(public) == set(PROCESSES) == set(MODULES)
    for process, key in public.items():
        seed = tmp_path / f"{process}.seed"
        assert (seed.read_text()[:2], key[:1], len(key)) == ("SU", "U", 56)
        assert stat.S_IMODE(seed.stat().st_mode) == 0o600
        assert (tmp_path / "users" / process).read_text() == key
    with pytest.raises(FileExistsError):
        make_keys(tmp_path)
    assert (tmp_path / "users" / "identity").read_text() == public["identity"]
