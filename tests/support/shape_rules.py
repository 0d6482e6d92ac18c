"""The rules that every file of Python keeps: sizes, docstrings, doors and directions.

Each rule is a function from a file to the ways in which it breaks the rule; test_shape.py holds the
whole of the code against them.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("vault", "agent", "restore")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# The one door of each library: the modules that may import it and translate its errors. A library
# that is not here may not be imported at all.
DOORS = {
    "apscheduler": ("safelight_agent.schedule",),
    "blake3": ("safelight_vault.format.chunk",),
    "boto3": ("safelight_vault.store.s3",),
    "botocore": ("safelight_vault.store.s3",),
    "urllib3": ("safelight_vault.store.s3",),
    "click": (
        "safelight_vault.command_line",
        "safelight_agent.cli",
        "safelight_restore.cli",
        "safelight_restore.cli_drill",
        "safelight_restore.cli_keys",
        "safelight_restore.cli_options",
        "safelight_restore.cli_proof",
        "safelight_restore.cli_restore",
    ),
    "cryptography": ("safelight_vault.format.crypto",),
    "prometheus_client": ("safelight_agent.metrics",),
    "pydicom": ("safelight_vault.dicom",),
    "pyfastcdc": ("safelight_agent.split.content",),
    "rich": ("safelight_vault.terminal",),
    "structlog": ("safelight_vault.logs",),
    "zstandard": ("safelight_vault.format.codec.zstd",),
    # Names of types that only type checkers know.
    "_typeshed": ("safelight_vault", "safelight_agent", "safelight_restore"),
}

MAY_IMPORT = {
    "safelight_vault": {"safelight_vault"},
    "safelight_agent": {"safelight_agent", "safelight_vault"},
    "safelight_restore": {"safelight_restore", "safelight_vault"},
}

# The modules in which the clock, randomness and the environment come in, to be passed on.
OUTERMOST = (
    "safelight_agent.cli",
    "safelight_agent.daemon",
    "safelight_restore.cli",
    "safelight_restore.cli_drill",
    "safelight_restore.cli_keys",
    "safelight_restore.cli_options",
    "safelight_restore.cli_proof",
    "safelight_restore.cli_restore",
)
OUTERMOST_ONLY = re.compile(
    r"datetime\.datetime\.(now|utcnow|today)|datetime\.date\.today|time\.time(_ns)?"
    r"|os\.(environb?|getenv|getenvb|putenv|urandom)|secrets\..*|uuid\.uuid[14]"
    r"|random\.(?!Random$).*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A file of Python; ``name`` is that of its module, or empty outside the packages."""

    name: str
    path: str
    text: str
    tree: ast.Module

    def at(self, node: ast.stmt | ast.expr, problem: str) -> str:
        return f"{self.path}:{node.lineno}: {problem}"


def code(text: str, *, name: str = "safelight_vault.sample") -> Code:
    return Code(name=name, path="sample.py", text=text, tree=ast.parse(text))


def read(path: Path) -> Code:
    relative = path.relative_to(ROOT)
    name = ""
    if relative.parts[0] in SOURCE_ROOTS:
        parts = relative.with_suffix("").parts[1:]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text()
    return Code(name=name, path=str(relative), text=text, tree=ast.parse(text))


@cache
def packages() -> tuple[Code, ...]:
    return tuple(
        read(path) for root in SOURCE_ROOTS for path in sorted((ROOT / root).rglob("*.py"))
    )


@cache
def all_python() -> tuple[Code, ...]:
    others = [
        p for folder in ("tests", "benchmarks") for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    return (*packages(), *(read(path) for path in others))


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def imports(module: Code) -> Iterator[tuple[ast.stmt, str]]:
    """Every import, wherever it stands, with the full name of what is imported."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Relative imports are refused by a rule of their own.
            yield from ((node, f"{node.module or ''}.{alias.name}") for alias in node.names)


def long_modules(module: Code) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield f"{module.path}: {lines} lines, of at most {MODULE_LINES_MAX}"


def long_functions(module: Code) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield module.at(node, f"{node.name} has {lines} of {FUNCTION_LINES_MAX} lines")


def missing_docstrings(module: Code) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield f"{module.path}: no docstring"
    yield from _undocumented(module, module.tree.body)


def _undocumented(module: Code, body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield module.at(node, f"{node.name} has no docstring")
            if isinstance(node, ast.ClassDef):
                yield from _undocumented(module, node.body)


def assertions(module: Code) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            yield module.at(node, "assert vanishes under python -O: raise")


def relative_imports(module: Code) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield module.at(node, "a relative import")


def wrong_directions(module: Code) -> Iterator[str]:
    may = MAY_IMPORT[module.name.partition(".")[0]]
    for node, name in imports(module):
        package = name.partition(".")[0]
        if package.startswith("safelight_") and package not in may:
            yield module.at(node, f"{module.name} imports {name}")


def closed_doors(module: Code) -> Iterator[str]:
    for node, name in imports(module):
        library = name.partition(".")[0]
        if library in sys.stdlib_module_names or library in MAY_IMPORT:
            continue
        if not within(module.name, DOORS.get(library, ())):
            yield module.at(node, f"{library} may be imported by {DOORS.get(library, 'nobody')}")


def outside_in(module: Code) -> Iterator[str]:
    """Uses of the clock, of randomness, of the environment and of print, under any alias."""
    known = {
        alias.asname or alias.name.partition(".")[0]: (
            alias.name if alias.asname else alias.name.partition(".")[0]
        )
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = _dotted(node, known)
        if name == "print":
            yield module.at(node, "print: results go through the terminal, events to the log")
        elif OUTERMOST_ONLY.fullmatch(name) and not within(module.name, OUTERMOST):
            yield module.at(node, f"{name} is to be passed in")


def _dotted(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, known)}.{node.attr}"
    return "?"


Rule = Callable[[Code], Iterator[str]]

EVERYWHERE: tuple[Rule, ...] = (long_modules, long_functions, relative_imports)
IN_PACKAGES: tuple[Rule, ...] = (
    missing_docstrings,
    assertions,
    wrong_directions,
    closed_doors,
    outside_in,
)
