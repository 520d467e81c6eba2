"""Features as rows of a declaration: which entity, which window, which aggregate, which label delay.

A declaration says what a feature is, never how it is computed; `windows.py` compiles it for a whole history. The words:

* A transaction's *past* is everything strictly before its time. Other transactions at exactly the same time are no
  part of it, so the order of simultaneous rows in a file cannot matter (and cannot give a label away).
* A window of w days at time t is the open interval (t - w, t) over the past, plus the transaction itself for
  `count`, `sum` and `mean`, whose amount is known when it is scored.
* A label is known from its label time on, or `delay_days` after its transaction where the data has no label times.
  `fraud_rate` over w days is the share of frauds among the entity's labels that *became known* within (t - w, t).
  With a constant delay d that is the rate over transactions in (t - d - w, t - d), the handbook's delayed window.
* `since_last` is seconds since the entity's last transaction in the past; of a `pair`, since this account last paid
  this counterparty. Missing where there was none.
* `distance` is how far the amount is from the entity's habit, in standard deviations of log amounts over the longest
  window of the past, shrunk so that one earlier payment does not make a habit. Missing where there is no past.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fraudfl.errors import ConfigError

if TYPE_CHECKING:
    from fraudfl.config import FeaturesConfig
    from fraudfl.data.schema import Contract

Entity = Literal["account", "counterparty", "pair", "row"]
CALENDAR = ("hour_sin", "hour_cos", "weekday", "is_weekend", "is_night")
_SHORTEST_DAYS, _LONGEST_DAYS = 1 / 86_400, 36_600.0


@dataclass(frozen=True)
class Feature:
    """One numeric feature.

    Attributes:
        name: Its column; for aggregate `value` also the source column it is read from.
        entity: Whose history it looks at; `row` looks at the transaction alone.
        aggregate: `count`, `sum`, `mean`, `since_last`, `distance`, `fraud_rate`, `value`, or a `CALENDAR` name.
        window_days: Length of the window in days; None where there is none.
        delay_days: Days until a label is known, where the data has no label times; 0 for what uses no labels.
    """

    name: str
    entity: Entity
    aggregate: str
    window_days: float | None = None
    delay_days: float = 0.0


def declare(config: FeaturesConfig, contract: Contract) -> tuple[Feature, ...]:
    """List the numeric features that a contract's data gets under a configuration, in column order.

    Raises:
        ConfigError: a window is impossible or doubled, an excluded name does not exist, or two features share a name.
    """
    values = tuple(Feature(name, "row", "value") for name in contract.numeric)
    if contract.kind == "features":
        declared = values
    else:
        _check_windows(config)
        calendar = tuple(Feature(name, "row", name) for name in CALENDAR)
        declared = (Feature("amount", "row", "value"), *calendar, *_behaviour(config), *values)
    return _without_excluded(declared, config, contract)


def declare_categorical(config: FeaturesConfig, contract: Contract) -> tuple[str, ...]:
    """List the categorical columns that become inputs: all that are not excluded."""
    return tuple(column for column in categorical_columns(contract) if column not in config.exclude)


def categorical_columns(contract: Contract) -> tuple[str, ...]:
    """List the contract's categorical columns, the currency first where there is one."""
    return (*(("currency",) if contract.currency else ()), *contract.categorical)


def _behaviour(config: FeaturesConfig) -> tuple[Feature, ...]:
    found: list[Feature] = []
    entities: tuple[Entity, ...] = ("account", "counterparty")
    for entity in entities:
        for aggregate in config.aggregates:
            if aggregate in ("since_last", "distance"):
                continue
            delay = config.label_delay_days if aggregate == "fraud_rate" else 0.0
            found += [
                Feature(f"{entity}_{aggregate}_{days:g}d", entity, aggregate, days, delay)
                for days in config.windows_days
            ]
        if "distance" in config.aggregates and config.windows_days:
            longest = max(config.windows_days)
            found.append(Feature(f"{entity}_distance_{longest:g}d", entity, "distance", longest))
        if "since_last" in config.aggregates:
            found.append(Feature(f"{entity}_since_last", entity, "since_last"))
    if "since_last" in config.aggregates:
        found.append(Feature("pair_since_last", "pair", "since_last"))
    return tuple(found)


def _check_windows(config: FeaturesConfig) -> None:
    for days in config.windows_days:
        if not _SHORTEST_DAYS <= days <= _LONGEST_DAYS:
            raise ConfigError(
                f"features.windows_days: found {days:g}; expected between one second ({_SHORTEST_DAYS:.6g}) and "
                f"{_LONGEST_DAYS:g} days. Correct or remove that window."
            )
    labels = [f"{days:g}" for days in config.windows_days]
    if len(set(labels)) != len(labels):
        raise ConfigError(f"features.windows_days: found {labels}; expected distinct lengths. Remove the doubled one.")
    if len(set(config.aggregates)) != len(config.aggregates):
        raise ConfigError(f"features.aggregates: found {list(config.aggregates)}; expected each once. Remove doubles.")


def _without_excluded(declared: tuple[Feature, ...], config: FeaturesConfig, contract: Contract) -> tuple[Feature, ...]:
    names = [feature.name for feature in declared]
    categorical = categorical_columns(contract)
    doubled = sorted({name for name in [*names, *categorical] if [*names, *categorical].count(name) > 1})
    if doubled:
        raise ConfigError(f"features: {doubled} are declared twice; rename these extra columns in the source mapping.")
    unknown = sorted(set(config.exclude) - set(names) - set(categorical))
    if unknown:
        raise ConfigError(f"features.exclude: found {unknown}; expected names among {sorted([*names, *categorical])}.")
    kept = tuple(feature for feature in declared if feature.name not in config.exclude)
    if not kept and set(categorical) <= set(config.exclude):
        raise ConfigError(
            "features: nothing is left to learn from; exclude fewer names, or name columns in the source."
        )
    return kept
