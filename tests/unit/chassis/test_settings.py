"""Settings: read from the environment, checked, explained."""

from __future__ import annotations

import pytest
from pydantic import Field

from chassis.settings import Address, ProcessSettings, ServiceSettings, load, settings_of, unknown_variables

GOOD = {
    "GONGJI_DATABASE_URL": "postgresql://identity@127.0.0.1:5432/gongji_identity",
    "GONGJI_NATS_URL": "nats://127.0.0.1:4222",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


class RoomSettings(ServiceSettings):
    """A room's settings."""

    identity_address: Address | None = Field(default=None, description="Where identity answers.")
    code_life_s: int = Field(default=60, ge=30, le=60, description="How long a code lives.", examples=["60"])


def test_a_room_reads_its_own_field_and_those_of_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass's field is read from GONGJI_ and its name in capitals, beside the inherited ones."""
    monkeypatch.setenv("GONGJI_CODE_LIFE_S", "45")
    settings = load(RoomSettings)
    assert (settings.code_life_s, settings.bus_prefix, settings.environment) == (45, "gongji", "production")


def test_an_empty_variable_is_a_variable_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty value means the default, since manifests cannot leave a variable out."""
    monkeypatch.setenv("GONGJI_METRICS_LISTEN", "")
    assert load(RoomSettings).metrics_listen is None


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("GONGJI_CODE_LIFE_S", "61", "GONGJI_CODE_LIFE_S: Input should be less than or equal to 60 (example: 60)"),
        ("GONGJI_GRPC_LISTEN", "localhost", "GONGJI_GRPC_LISTEN: must be HOST:PORT; port 0 means any free port"),
        ("GONGJI_GRPC_LISTEN", "localhost:70000", "GONGJI_GRPC_LISTEN: must be HOST:PORT"),
        (
            "GONGJI_DATABASE_URL",
            "postgresql://root:hunter2@db:70000/x",
            "GONGJI_DATABASE_URL: has a port that is not between",
        ),
        (
            "GONGJI_DATABASE_URL",
            "postgresql://root:hunter2@a:5432,b:0/x",
            "GONGJI_DATABASE_URL: has a port that is not",
        ),
        (
            "GONGJI_NATS_URL",
            "nats://a:4222,nats://b:65536",
            "GONGJI_NATS_URL: has a port that is not between 1 and 65535",
        ),
        (
            "GONGJI_IDENTITY_ADDRESS",
            "dns:///identity:70000",
            "GONGJI_IDENTITY_ADDRESS: must be HOST:PORT, the port between",
        ),
        (
            "GONGJI_IDENTITY_ADDRESS",
            "identity",
            "GONGJI_IDENTITY_ADDRESS: must be HOST:PORT, the port between 1 and 65535",
        ),
        ("GONGJI_DATABASE_URL", "mysql://root:hunter2@db/x", "GONGJI_DATABASE_URL: must begin with postgresql://"),
        ("GONGJI_NATS_URL", "", "GONGJI_NATS_URL: is missing (example: nats://127.0.0.1:4222)"),
        ("GONGJI_ENVIRONMENT", "prod", "GONGJI_ENVIRONMENT: Input should be 'production', 'development' or 'test'"),
    ],
)
def test_a_wrong_setting_is_named_with_the_reason_and_never_with_its_value(
    variable: str,
    value: str,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, the variable, what is wrong, an example; a password in the value stays unseen."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as exit_info:
        load(RoomSettings)
    said = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert complaint in said
    assert "hunter2" not in said


def test_a_variable_that_no_setting_reads_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the pen in a variable's name is a warning at start."""
    monkeypatch.setenv("GONGJI_LOGLEVEL", "debug")
    load(RoomSettings)
    assert "GONGJI_LOGLEVEL is set, but RoomSettings knows no such setting" in capsys.readouterr().err


def test_unknown_variables_are_those_that_no_class_reads() -> None:
    """A variable of another class given is known; one of no class is not; other prefixes do not matter."""
    environ = {"GONGJI_CODE_LIFE_S": "1", "GONGJI_NATS_URL": "x", "GONGJI_NAT_URL": "x", "PATH": "/"}
    assert unknown_variables([ProcessSettings, RoomSettings], environ) == ["GONGJI_NAT_URL"]


def test_the_list_of_settings_tells_all_there_is_to_know() -> None:
    """Name, variable, default and description of every field; None as default means that it must be given."""
    by_name = {setting.name: setting for setting in settings_of(RoomSettings)}
    assert by_name["code_life_s"].variable == "GONGJI_CODE_LIFE_S"
    assert by_name["code_life_s"].default == "60"
    assert by_name["database_url"].default is None
    assert by_name["ready_file"].default == ""
    assert all(setting.description for setting in by_name.values())


def test_addresses_with_passwords_are_not_shown_when_settings_are_printed() -> None:
    """The text of a settings object holds neither the database's nor NATS's address."""
    shown = repr(load(RoomSettings))
    assert "identity@" not in shown
    assert "4222" not in shown
