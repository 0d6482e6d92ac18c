"""What only several settings together can get wrong.

Each check is a pure look at accepted values (a setting that was refused is absent and is not
complained of twice) and adds its problems. The invariant they guard: the agent never backs up its
own vault or working files, never sends what it protects over a network in the clear, never takes
emulated locks for real ones, and never has two sources of one name.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safelight_agent import config_rules as rules
from safelight_agent.config_problems import Problems
from safelight_agent.config_reading import Accepted, SourceDraft
from safelight_agent.source.patterns import Selection


def check_vault(vault: Accepted, s3: Accepted, problems: Problems) -> None:
    """Emulated locks must be accepted in so many words, and plain HTTP is for the loopback."""
    if _vault_directory(vault) is not None and not vault.get("accept_emulated_locks", True):
        problems.add(
            "vault.accept_emulated_locks",
            "must be true for a file:// vault: its locks are kept by this program only. They "
            "guard against mistakes, not against anyone who can write to the directory (a thief, "
            "ransomware, the administrator of the disk), and never count as lock coverage",
        )
    endpoint = s3.get("endpoint_url")
    if endpoint is None or not rules.is_plaintext(endpoint):
        return
    if not rules.is_loopback(endpoint):
        problems.add(
            "vault.s3.endpoint_url", "must be https://: only this machine is spoken to without TLS"
        )
    elif not s3.get("allow_plaintext_loopback", True):
        problems.add(
            "vault.s3.endpoint_url",
            "must be https://, or vault.s3.allow_plaintext_loopback must be true",
        )


def check_memory(agent: Accepted, problems: Problems) -> None:
    """One pack must be able to fill while another one is on its way."""
    budget, pack = agent.get("memory_budget_bytes"), agent.get("pack_size_bytes")
    if budget is not None and pack is not None and budget < 2 * pack:
        problems.add(
            "agent.memory_budget_bytes",
            f"must be at least twice agent.pack_size_bytes, {2 * pack} for packs of {pack} bytes",
        )


def check_retention(retention: Accepted, key: str, problems: Problems) -> None:
    """A longer class must not end before a shorter one."""
    for shorter, longer in (("daily_days", "monthly_days"), ("monthly_days", "yearly_days")):
        least, value = retention.get(shorter), retention.get(longer)
        if least is not None and value is not None and value < least:
            problems.add(
                f"{key}.{longer}",
                f"must not be less than {shorter}, and {value} is less than {least}",
            )


def check_names(sources: Sequence[SourceDraft], problems: Problems) -> None:
    """A name belongs to one source: it names a chain of snapshots, a lease and a directory."""
    first_numbers: dict[str, int] = {}
    for source in sources:
        name = source.values.get("name")
        if name is None:
            continue
        first = first_numbers.setdefault(name, source.number)
        if first != source.number:
            problems.add(f"{source.key}.name", f"is given to sources {first} and {source.number}")


def check_places(
    vault: Accepted, agent: Accepted, resolve: Callable[[Path], Path], problems: Problems
) -> None:
    """The agent's state may be deleted at any time: a vault must not go with it."""
    directory, state = _vault_directory(vault), agent.get("state_directory")
    if directory is None or state is None:
        return
    outer, inner = resolve(directory), resolve(state)
    if outer.is_relative_to(inner) or inner.is_relative_to(outer):
        problems.add(
            "agent.state_directory",
            f"{state} and the vault, {directory}, must not lie in one another: the state may be "
            "deleted at any time, the vault never",
        )


def check_nesting(
    vault: Accepted,
    agent: Accepted,
    sources: Sequence[SourceDraft],
    resolve: Callable[[Path], Path],
    problems: Problems,
) -> None:
    """Neither the vault nor the agent's working files may be part of what is backed up."""
    directory = _vault_directory(vault)
    own_places: list[tuple[str, Path | None, str]] = [
        (
            "agent.state_directory",
            agent.get("state_directory"),
            "the agent would back up its own working files",
        ),
        ("vault.url", directory, "the vault would be backed up into itself"),
    ]
    for source in sources:
        path = source.values.get("path")
        if path is None:
            continue
        root = resolve(path)
        for key, place, consequence in own_places:
            if place is not None and _takes(source.values, root, resolve(place)):
                problems.add(
                    key,
                    f"{place} is part of {source.key} ({path}): {consequence}. Move it, or "
                    "exclude it from the source",
                )
        if directory is not None and resolve(directory) in root.parents:
            problems.add(f"{source.key}.path", f"{path} lies in the vault, {directory}")


def _vault_directory(vault: Accepted) -> Path | None:
    url = vault.get("url")
    return rules.file_url_directory(url) if url is not None else None


def _takes(values: Accepted, root: Path, directory: Path) -> bool:
    """Whether a source takes a directory, as far as its patterns are known."""
    if not directory.is_relative_to(root):
        return False
    selection = Selection.of(values.get("include", ("**",)), values.get("exclude", ()))
    below = directory.relative_to(root).parts
    return selection.takes(b"/".join(map(os.fsencode, below)), directory=True)
