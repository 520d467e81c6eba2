"""The coordinator's section: addresses that are ones, and what is served where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraudfl.config_coordinator import CoordinatorConfig, host_and_port


def test_by_default_nothing_is_open_to_the_network() -> None:
    config = CoordinatorConfig()
    assert host_and_port(config.listen)[0] == "127.0.0.1"
    assert config.metrics is not None
    assert host_and_port(config.metrics)[0] == "127.0.0.1"
    assert config.database is None


@pytest.mark.parametrize("text", ["", "9092", ":9092", "host", "host:", "host:x", "host:65536", "host:-1", "host:1.5"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    for field in ("listen", "metrics"):
        with pytest.raises(ValidationError, match=r"expected HOST:PORT, such as 0\.0\.0\.0:9092"):
            CoordinatorConfig.model_validate({field: text})


def test_metrics_can_be_off_and_listening_cannot() -> None:
    assert CoordinatorConfig(metrics=None).metrics is None
    with pytest.raises(ValidationError, match="listen"):
        CoordinatorConfig.model_validate({"listen": None})


def test_a_key_that_does_not_exist_and_a_negative_warning_are_refused() -> None:
    with pytest.raises(ValidationError, match="lisen"):
        CoordinatorConfig.model_validate({"lisen": "0.0.0.0:1"})
    with pytest.raises(ValidationError, match="warn_days"):
        CoordinatorConfig(warn_days=-1)


@given(host=st.sampled_from(["0.0.0.0", "coordinator.example", "localhost"]), port=st.integers(0, 65535))
def test_an_address_is_split_into_what_it_was_made_of(host: str, port: int) -> None:
    assert host_and_port(CoordinatorConfig(listen=f"{host}:{port}").listen) == (host, port)


def test_an_ipv6_address_loses_its_brackets() -> None:
    assert host_and_port(CoordinatorConfig(listen="[::1]:9092").listen) == ("::1", 9092)
