"""Who may know whom: read from the sources, so that a wrong import is found before it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("mdp", "lartpc", "services", "clients")
MAY_IMPORT = {
    "mdp": set[str](),
    "lartpc": set[str](),
    "services": {"mdp", "lartpc"},
    "clients": {"mdp", "lartpc", "services"},
}
PURE = (
    "wire",
    "broker",
    "state",
    "fingerprints",
    "management",
    "session",
    "lane",
    "host",
    "pipe",
    "throttle",
    "settings",
    "errors",
    "addresses",
)
PURE_IMAGES = (
    *("image", "frames", "chain", "rois", "tiles"),
    *("batches", "sparse", "training_crops"),
)
OUTSIDE = {
    *("zmq", "time", "socket", "threading", "multiprocessing", "asyncio", "os", "random"),
    *("datetime", "secrets", "uuid", "select", "selectors", "signal", "subprocess"),
}
SOCKETS_AND_CLOCK = {"zmq", "time", "socket"}
HOLD_THEM = ("sockets.py", "bench.py")  # bench.py is the load generator: the wire's other end
COMMANDS = ("cli.py", "calls.py", "discovery.py", "bench.py", "process.py")
UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MDP = [path for path in FILES if path.is_relative_to(ROOT / "mdp")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """One test a file."""
    return pytest.mark.parametrize("path", paths, ids=[name_of(path) for path in paths])


each_file = each(FILES)


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def imports(path: Path) -> set[str]:
    """The full names of the modules that a file imports, wherever in it; relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def calls(path: Path) -> set[str]:
    """The plain names that a file calls."""
    return {
        node.func.id
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_there_is_something_to_check() -> None:
    assert {f"{name}.py" for name in (*PURE, "sockets")} <= {path.name for path in MDP}
    sockets = ROOT / "mdp" / "sockets.py"
    assert packages(sockets) >= SOCKETS_AND_CLOCK
    assert {"mdp.pipe", "mdp.errors", "zmq.backend"} <= imports(sockets)
    assert "isinstance" in calls(sockets)


@each_file
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert packages(path) & set(ROOMS) <= MAY_IMPORT[room] | {room}


@each(MDP)
def test_only_one_file_holds_the_sockets_and_the_clock(path: Path) -> None:
    if path.name not in HOLD_THEM:
        assert not packages(path) & SOCKETS_AND_CLOCK


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_imports_nothing_that_reaches_outside(name: str) -> None:
    path = ROOT / "mdp" / f"{name}.py"
    assert not packages(path) & OUTSIDE
    within = {name.split(".")[1] for name in imports(path) if name.startswith("mdp.")}
    assert within & {path.stem for path in MDP} <= set(PURE)


@pytest.mark.parametrize("name", PURE_IMAGES)
def test_images_and_what_is_cut_from_them_are_pure(name: str) -> None:
    path = ROOT / "lartpc" / f"{name}.py"
    assert not packages(path) & OUTSIDE
    within = {name.split(".")[1] for name in imports(path) if name.startswith("lartpc.")}
    assert within & {path.stem for path in path.parent.glob("*.py")} <= {*PURE_IMAGES, "errors"}


@each_file
def test_only_command_lines_print(path: Path) -> None:
    if path.name not in COMMANDS:
        assert "print" not in calls(path)


@each_file
def test_no_file_unpickles_or_runs_text(path: Path) -> None:
    assert not packages(path) & UNSAFE
    assert not calls(path) & {"eval", "exec", "compile", "__import__"}
    allows = [
        node
        for node in nodes(path)
        if isinstance(node, ast.keyword)
        and node.arg == "allow_pickle"
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert not allows


@each_file
def test_the_first_line_of_a_module_says_what_it_is(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(ast.parse(source))
