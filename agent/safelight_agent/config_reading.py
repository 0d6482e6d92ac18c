"""Takes the tables of a configuration apart by the rules in its schema.

The invariant: every name in a table is either read or complained of; a value is passed on only if
its rule accepted it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from safelight_agent import config_rules as rules
from safelight_agent.config_problems import Problems
from safelight_agent.config_schema import (
    CommandSettings,
    RetentionSettings,
    SourceSettings,
    TreeSettings,
)
from safelight_vault.errors import ConfigurationError

Accepted: TypeAlias = dict[str, Any]
"""Values by setting: accepted by their rules, or the defaults of settings that are not given.

A setting that was refused is absent. The types are those of the dataclass's fields, each of which
stands beside its rule; no type checker can follow that, hence ``Any``.
"""

_KINDS: dict[str, type[TreeSettings | CommandSettings]] = {
    "tree": TreeSettings,
    "command": CommandSettings,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceDraft:
    """One ``[[source]]`` as far as it was understood; ``kind`` is None if even that is wrong.

    ``key`` is how problems name it: by its name, or by its number if that is no good.
    """

    number: int
    key: str
    kind: type[TreeSettings | CommandSettings] | None
    values: Accepted
    retention: Accepted


def read_table(
    kind: type[Any],
    table: object,
    key: str,
    problems: Problems,
    *,
    also: tuple[str, ...] = (),
    defaults: Mapping[str, object] | None = None,
) -> Accepted:
    """The accepted values of one table.

    ``also`` are names that the caller reads itself; ``defaults`` go before those of the schema.
    """
    if not isinstance(table, dict):
        problems.add(key, f"must be a table: write [{key}] on a line of its own")
        return {}
    fields = dataclasses.fields(kind)
    problems.refuse_unknown(table, [*(field.name for field in fields), *also], key)
    accepted: Accepted = {}
    for field in fields:
        rule = field.metadata.get("rule")
        if rule is None:
            continue
        if field.name in table:
            try:
                accepted[field.name] = rule(table[field.name])
            except ConfigurationError as error:
                problems.add(f"{key}.{field.name}", error.message)
        elif defaults is not None and field.name in defaults:
            accepted[field.name] = defaults[field.name]
        elif field.default is not dataclasses.MISSING:
            accepted[field.name] = field.default
        else:
            problems.add(f"{key}.{field.name}", "is required")
    return accepted


def read_source(table: object, number: int, retention: Accepted, problems: Problems) -> SourceDraft:
    """One ``[[source]]``, the ``number``-th (from 1); ``retention`` is what it inherits."""
    key = f"source[{number}]"
    if not isinstance(table, dict):
        problems.add(key, "must be a table: write [[source]] on a line of its own")
        return SourceDraft(number=number, key=key, kind=None, values={}, retention={})
    key = _source_key(table, key)
    kind = _source_kind(table, key, problems)
    if kind is None:
        # Which other settings belong here is not known: what all kinds share is checked.
        shared = {field.name for field in dataclasses.fields(SourceSettings)}
        known = {name: value for name, value in table.items() if name in shared}
        values = read_table(SourceSettings, known, key, problems)
    else:
        values = read_table(kind, table, key, problems, also=("kind",))
    own = read_table(
        RetentionSettings,
        table.get("retention", {}),
        f"{key}.retention",
        problems,
        defaults=retention,
    )
    return SourceDraft(number=number, key=key, kind=kind, values=values, retention=own)


def _source_key(table: Mapping[str, object], numbered: str) -> str:
    try:
        return f"source.{rules.label(table.get('name'))}"
    except ConfigurationError:
        return numbered


def _source_kind(
    table: Mapping[str, object], key: str, problems: Problems
) -> type[TreeSettings | CommandSettings] | None:
    wanted = table.get("kind")
    kind = _KINDS.get(wanted) if isinstance(wanted, str) else None
    if kind is None:
        names = " or ".join(f'"{name}"' for name in _KINDS)
        problems.add(f"{key}.kind", f"is required and must be {names}")
    return kind
