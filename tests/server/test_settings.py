"""Settings: command line over environment over file over default; nothing misspelt or out of bounds is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from tanager_server.errors import StartupError
from tanager_server.settings import load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith("TANAGER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes) -> str:
        path = tmp_path / "server.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def load(*arguments):
    return load_settings(["--bundle", "made", *arguments])


def refused(*arguments, bundle=True):
    with pytest.raises(StartupError) as caught:
        load(*arguments) if bundle else load_settings(arguments)
    return str(caught.value)


# Where a setting comes from


def test_defaults():
    settings = load()
    assert (settings.bundle, settings.host, settings.port, settings.config) == (
        Path("made"),
        "127.0.0.1",
        50051,
        None,
    )
    assert (settings.encoder.device, settings.metrics.enabled, settings.tls.cert_file) == ("cpu", True, None)
    assert settings.cache.max_mb == 32


def test_what_is_measured_at_start_is_open_by_default():
    settings = load()
    assert (settings.encoder.threads, settings.encoder.workers) == (0, 0)
    assert (settings.batching.max_batch_tokens, settings.batching.batch_cost_tokens) == (0, None)
    given = load("--batching.batch-cost-tokens", "0", "--batching.max-batch-tokens", "1", "--encoder.workers", "2")
    assert (given.encoder.workers, given.batching.max_batch_tokens, given.batching.batch_cost_tokens) == (2, 1, 0)


def test_each_source_gives_way_to_the_one_before_it(file, monkeypatch):
    config = file("port = 1\n[batching]\nmax_queue = 1\nwindow = 1\nmax_batch_size = 1\n")
    monkeypatch.setenv("TANAGER_BATCHING__MAX_QUEUE", "2")
    monkeypatch.setenv("TANAGER_BATCHING__WINDOW", "2")
    settings = load("--config", config, "--batching.max-queue", "3")
    assert (settings.batching.max_queue, settings.batching.window, settings.batching.max_batch_size) == (3, 2, 1)
    assert settings.batching.max_age_s == 2.0
    assert settings.port == 1


def test_everything_may_come_from_the_environment(file, monkeypatch):
    monkeypatch.setenv("TANAGER_CONFIG", file("bundle = 'from-file'\n"))
    assert load_settings([]).bundle == Path("from-file")
    monkeypatch.setenv("TANAGER_BUNDLE", "from-environment")
    monkeypatch.setenv("TANAGER_TLS__CERT_FILE", "cert.pem")
    monkeypatch.setenv("TANAGER_TLS__KEY_FILE", "key.pem")
    settings = load_settings([])
    assert (settings.bundle, settings.tls.key_file) == (Path("from-environment"), Path("key.pem"))


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (("--port", "0"), lambda settings: settings.port == 0),
        (("--port=65535",), lambda settings: settings.port == 65535),
        (("--metrics.enabled", "false"), lambda settings: settings.metrics.enabled is False),
        (("--log.format", "text"), lambda settings: settings.log.format == "text"),
        (("--encoder.device", "cuda"), lambda settings: settings.encoder.device == "cuda"),
        (("--shutdown.grace-s", "0"), lambda settings: settings.shutdown.grace_s == 0),
        (("--cache.max-mb", "0"), lambda settings: settings.cache.max_mb == 0),
        (("--cache.max-mb", "0.5"), lambda settings: settings.cache.max_mb == 0.5),
        (("--batching.bulk-handicap-s", "0"), lambda settings: settings.batching.bulk_handicap_s == 0),
        (("--batching.max-age-s", "0.5"), lambda settings: settings.batching.max_age_s == 0.5),
        (("--batching.stuck-after-s", "5"), lambda settings: settings.batching.stuck_after_s == 5),
    ],
)
def test_options(arguments, read):
    assert read(load(*arguments))


def test_the_clients_variable_is_not_the_servers(monkeypatch):
    monkeypatch.setenv("TANAGER_TARGET", "localhost:50051")
    assert load().port == 50051


def test_variables_of_others_are_not_looked_at(monkeypatch):
    monkeypatch.setenv("TANAGERINE", "1")
    monkeypatch.setenv("PORT", "1")
    assert load().port == 50051


# What is refused


@pytest.mark.parametrize(
    "name", ["TANAGER_PROT", "tanager_prot", "TANAGER_BATCHING__MAX_QUEU", "TANAGER_", "TANAGER_X__"]
)
def test_an_unknown_variable(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert refused().startswith(f"{name}: no such setting")


@pytest.mark.parametrize(
    ("content", "name"),
    [("prot = 1", "prot"), ("[batching]\nmax_queu = 1", "batching.max_queu"), ("[nothing]\na = 1", "nothing")],
)
def test_an_unknown_key_of_the_file(file, content, name):
    assert refused("--config", file(content)).startswith(f"{name}: no such setting")


@pytest.mark.parametrize("option", ["--prot", "--por", "--conf"])
def test_an_unknown_or_shortened_option(option):
    assert option in refused(option, "1")


@pytest.mark.parametrize("option", ["--batching.max-queue", "--batching.max_queue"])
def test_an_option_may_be_written_as_in_the_file(option):
    assert load(option, "2000").batching.max_queue == 2000
    assert load(f"{option}=2000").batching.max_queue == 2000


def test_what_kubernetes_sets_for_a_service_of_this_name_is_no_setting(monkeypatch):
    monkeypatch.setenv("TANAGER_PORT", "tcp://10.0.0.1:50051")
    monkeypatch.setenv("TANAGER_PORT_50051_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("TANAGER_SERVICE_HOST", "10.0.0.1")
    assert load().port == 50051


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_may_be_written_in_brackets(host):
    assert load("--host", host).host == "::1"


def test_a_missing_bundle():
    assert refused(bundle=False).startswith("bundle: required")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("metrics.port", "65536"),
        ("encoder.threads", "-1"),
        ("encoder.workers", "-1"),
        ("encoder.workers", "257"),
        ("batching.max-batch-tokens", "-1"),
        ("batching.batch-cost-tokens", "-1"),
        ("batching.max-age-s", "0"),
        ("batching.max-age-s", "inf"),
        ("batching.bulk-handicap-s", "-1"),
        ("batching.bulk-handicap-s", "nan"),
        ("batching.stuck-after-s", "0"),
        ("batching.stuck-after-s", "inf"),
        ("cache.max-mb", "-1"),
        ("cache.max-mb", "inf"),
        ("limits.keepalive-s", "0.5"),
        ("batching.max-batch-size", "0"),
        ("batching.window", "0"),
        ("batching.max-queue", "0"),
        ("limits.max-calls", "0"),
        ("limits.max-message-bytes", "1000"),
        ("limits.max-message-bytes", "2147483648"),
        ("limits.default-deadline-s", "0"),
        ("limits.default-deadline-s", "inf"),
        ("limits.default-deadline-s", "nan"),
        ("limits.max-connection-age-s", "inf"),
        ("limits.max-connection-age-s", "1e9"),
        ("shutdown.drain-delay-s", "-1"),
        ("shutdown.grace-s", "inf"),
        ("shutdown.grace-s", "nan"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(option, value):
    assert refused(f"--{option}={value}").startswith(f"{option.replace('-', '_')}: Input should be")


def test_every_value_at_fault_is_named(file):
    message = refused("--config", file("port = -1\n[batching]\nwindow = 0\n"), "--batching.max-queue", "x")
    assert all(f"{name}: " in message for name in ("port", "batching.window", "batching.max_queue"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--tls.cert-file", "c"), "tls: .*given together"),
        (("--tls.key-file", "k"), "tls: .*given together"),
        (("--tls.client-ca-file", "a"), "tls: .*client_ca_file needs cert_file"),
    ],
)
def test_half_of_a_tls_configuration(arguments, problem):
    with pytest.raises(StartupError, match=problem):
        load(*arguments)


@pytest.mark.parametrize("content", [b"port =", b"port = \xff", b"[a\n", b"port = 1\nport = 2\n", b"\xef\xbb\xbf="])
def test_a_file_that_is_no_toml_is_named(file, content):
    path = file(content)
    assert refused("--config", path).startswith(f"{path}: ")


def test_a_section_that_is_a_value(file):
    assert refused("--config", file("batching = 3")).startswith("batching: ")


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_file_that_is_not_there(tmp_path, monkeypatch, way):
    path = str(tmp_path / "nothing.toml")
    if way == "environment":
        monkeypatch.setenv("TANAGER_CONFIG", path)
    assert refused(*(("--config", path) if way == "option" else ())) == f"config: {path} is no file"


def test_settings_never_change():
    settings = load()
    for section, name in ((settings, "port"), (settings.batching, "window"), (settings.tls, "cert_file")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, 1)
