"""Prometheus metrics and the health page of the coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from server.deployment.serve import Coordinator

PREFIX = "fraudfl_coordinator_"


class Figures(Collector):
    """Reads the coordinator when somebody asks."""

    def __init__(self, coordinator: Coordinator) -> None:
        """Look at `coordinator`."""
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        about = self._coordinator.about()
        yield GaugeMetricFamily(PREFIX + "up_seconds", "Seconds since the start.", about["up_seconds"])
        yield CounterMetricFamily(PREFIX + "refused_calls", "Calls refused at the door.", about["refused_calls"])
        connected = GaugeMetricFamily(PREFIX + "bank_connected", "Whether a bank is connected.", labels=["bank"])
        for bank, there in about["roster"].items():
            connected.add_metric([bank], float(there))
        yield connected
        yield from _of_phases(self._coordinator.phases.all())


def _of_phases(phases: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, text in (
        ("round", "Last finished round."),
        ("bytes_up", "Bytes that banks sent."),
        ("bytes_down", "Bytes sent to banks."),
        ("late", "Updates that came after their round."),
    ):
        gauge = GaugeMetricFamily(f"{PREFIX}phase_{name}", text, labels=["phase"])
        for phase in phases:
            gauge.add_metric([phase["name"]], float(phase.get(name) or 0))
        yield gauge
    waiting = GaugeMetricFamily(PREFIX + "phase_waiting", "Banks that are waited for.", labels=["phase"])
    running = GaugeMetricFamily(PREFIX + "phase_running", "Whether the phase is under way.", labels=["phase"])
    for phase in phases:
        waiting.add_metric([phase["name"]], float(len(phase["waiting"])))
        running.add_metric([phase["name"]], float(phase["status"] == "running"))
    yield from (waiting, running)


def metrics_app(coordinator: Coordinator) -> FastAPI:
    """`/metrics` for Prometheus, `/health` for whoever restarts a coordinator that does not answer."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    registry = CollectorRegistry()
    registry.register(Figures(coordinator))

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(registry).decode(), media_type="text/plain; version=0.0.4")

    @app.get("/health")
    def health() -> dict[str, Any]:
        about = coordinator.about()
        return {"status": "ok", "running": coordinator.phases.running, "banks": sum(about["roster"].values())}

    return app
