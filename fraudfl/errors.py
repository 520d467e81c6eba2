"""Every error fraudfl raises on purpose, as one tree.

    FraudflError
    ├── ConfigError            the consortium's YAML is wrong (nothing was started)
    ├── DataError              what a bank or a user brought cannot be used
    │   ├── SourceError        a file, folder or database could not be read
    │   └── SchemaError        it was read, and does not keep the contract
    ├── PlanError              a request does not fit the plan it names
    ├── WireError              a record from the other side is malformed
    ├── TrainingError
    │   └── NonFiniteError     a loss, gradient or weight is not finite
    ├── PrivacyError           a budget cannot be met, or would be passed
    ├── TrustError             a key, certificate, signature or roster is missing, wrong or out of date
    ├── AccessRefused          a reader of the dashboard may not see or do this
    │   └── NotSignedIn        nobody is signed in, or no longer
    ├── ReleaseRefused         the gate said no; nothing left the bank
    │   ├── NotApproved        nobody at the bank has approved the plan yet, or it was rejected or revoked
    │   ├── NotNow             the bank's schedule is closed; it says from when on it is open
    │   └── WorkFailed         the work for a release failed; why is not said, for that may depend on rows
    ├── RoundError
    │   └── QuorumError        too few banks answered in time
    ├── CheckpointError        a checkpoint or a workspace cannot be used
    ├── BundleError            a model bundle is damaged or does not fit
    └── RuntimeFailure         Flower, MLflow or another process failed under us

A message says what was found, where, what was expected, and what to do.
"""


class FraudflError(Exception):
    """Root of all errors raised on purpose; the CLI prints its message without a traceback."""


class ConfigError(FraudflError):
    """The configuration is wrong; nothing was started."""


class DataError(FraudflError):
    """Input data cannot be used."""


class SourceError(DataError):
    """A source could not be read at all."""


class SchemaError(DataError):
    """A table was read, and does not keep the contract."""


class PlanError(FraudflError):
    """A request does not fit the plan it names."""


class WireError(FraudflError):
    """A record from the other side is malformed."""


class TrainingError(FraudflError):
    """Training could not go on."""


class NonFiniteError(TrainingError):
    """A loss, gradient or weight is not finite."""


class PrivacyError(FraudflError):
    """A privacy budget cannot be met, or would be passed."""


class AccessRefused(FraudflError):  # noqa: N818 - a refusal is an answer, not a fault
    """A reader of the dashboard may not see or do this."""


class NotSignedIn(AccessRefused):
    """Nobody is signed in, or no longer."""


class ReleaseRefused(FraudflError):  # noqa: N818 - a refusal is the gate's answer, not a fault
    """The gate said no; nothing left the bank."""


class NotApproved(ReleaseRefused):
    """The bank has not approved the plan, or has taken its approval back."""


class WorkFailed(ReleaseRefused):
    """The work for a release failed. The cause stays at the bank."""


class NotNow(ReleaseRefused):
    """The bank's schedule is closed.

    Attributes:
        opens_at: When it opens, as ISO 8601 with offset; empty when nobody knows.
    """

    def __init__(self, message: str, opens_at: str = "") -> None:
        """Say why, and from when on."""
        super().__init__(message)
        self.opens_at = opens_at


class TrustError(FraudflError):
    """A key, certificate, signature or roster is missing, wrong or out of date."""


class RoundError(FraudflError):
    """A round could not be finished."""


class QuorumError(RoundError):
    """Too few banks answered in time."""


class CheckpointError(FraudflError):
    """A checkpoint or a workspace cannot be used."""


class BundleError(FraudflError):
    """A model bundle is damaged or does not fit."""


class RuntimeFailure(FraudflError):  # noqa: N818 - names what failed: the runtime below us
    """Flower, MLflow or another process failed under us."""
