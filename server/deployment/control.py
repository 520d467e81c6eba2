"""What the operator may say to a running coordinator, over the socket in `operator_line`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from fraudfl.errors import FraudflError, RuntimeFailure
from server.deployment.phases import Phases


class Start(BaseModel):
    """How a phase is to begin."""

    resume: bool = False


def control_app(phases: Phases, about: Callable[[], dict[str, Any]]) -> FastAPI:
    """The coordinator's own calls: status, start, resume, stop."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(FraudflError)
    def _refused(_request: Any, error: FraudflError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=409)

    @app.get("/status")
    def status() -> dict[str, Any]:
        return {**about(), "running": phases.running, "phases": phases.all()}

    @app.post("/phases/{name}/start")
    def start(name: str, how: Start) -> dict[str, Any]:
        phases.start(name, resume=how.resume)
        return phases.status(name)

    @app.post("/phases/{name}/stop")
    def stop(name: str) -> dict[str, Any]:
        if phases.running != name:
            raise RuntimeFailure(f"phase {name!r} is not under way")
        phases.stop()
        return phases.status(name)

    return app
