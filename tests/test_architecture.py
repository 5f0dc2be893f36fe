"""Who may know whom: read from the sources, so that a wrong import is found before it runs."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("mdp", "lartpc", "services", "clients", "benches")
MAY_IMPORT = {
    "mdp": set[str](),
    "lartpc": set[str](),
    "services": {"mdp", "lartpc"},
    "clients": {"mdp", "lartpc", "services"},
    "benches": {"mdp", "lartpc", "services", "clients"},
}
PURE = (
    *(
        "wire",
        "settings",
        "errors",
        "sockets/addresses",
        "sockets/pipe",
        "sockets/unread",
        "keys/rights",
    ),
    *("broker/broker", "broker/state", "broker/fingerprints", "broker/management"),
    *("broker/clients", "broker/fair_queue", "broker/serving_times", "broker/figures"),
    "broker/orders",
    *("broker/throttle", "worker/session", "worker/host"),
    *("worker/lifetime", "worker/broker_search"),
    *("pool/keeper", "pool/pool_settings", "pool/job_script", "pool/launcher"),
    *("client/lane", "client/probe", "client/steps", "client/deadlines"),
    "commands/operate/selection",
    "arrays/array_frames",
    *("client/patience", "pool/advice", "pool/launcher", "pool/pending"),
)
PURE_IMAGES = (
    *("image", "frames", "larcv_objects", "crops/chain", "crops/rois", "crops/tiles"),
    *("files/names", "files/ticks", "files/root/vectors"),
    *("training/batches", "training/sparse", "training/training_crops"),
)
PURE_CAMPAIGN = ("campaign/driving/progression",)
OUTSIDE = {
    *("zmq", "time", "socket", "threading", "multiprocessing", "asyncio", "os", "random"),
    *("datetime", "secrets", "uuid", "select", "selectors", "signal", "subprocess"),
}
SOCKETS_AND_CLOCK = {"zmq", "time", "socket"}
HOLD_THEM = ("sockets", "load_generator.py")
COMMANDS = (
    "keys.py",
    *("cli.py", "calls.py", "discovery.py", "load_generator.py", "process.py"),
    "pool_reports.py",
)
MOST_ROOMS = 15  # more files and folders than this are not found at a glance
UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MDP = [path for path in FILES if path.is_relative_to(ROOT / "mdp")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """One test a file."""
    return pytest.mark.parametrize("path", paths, ids=[name_of(path) for path in paths])


each_file = each(FILES)


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))


def imports(path: Path) -> set[str]:
    """The full names of the modules that a file imports, wherever in it; relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_between_files() -> dict[str, set[str]]:
    """Which modules of ours each module imports.

    `from ..files import provenance` imports the module `files.provenance`, not all of `files`:
    a package counts only where a name of its own is imported.
    """
    modules = {module_of(path): path for path in FILES}
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {name for name in imports(path) if name in modules} - {module}
        arrows[module] = {
            name for name in names if not any(other.startswith(f"{name}.") for other in names)
        }
    return arrows


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The path of one circle of imports, its first module again at its end; empty if none."""
    done: set[str] = set()

    def follow(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(arrows.get(module, ())):
            if way := follow(other, [*path, module]):
                return way
        done.add(module)
        return []

    return next((way for module in sorted(arrows) if (way := follow(module, []))), [])


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
    assert {ROOT / "mdp" / f"{name}.py" for name in PURE} <= set(MDP)
    loop = ROOT / "mdp" / "sockets" / "loop.py"
    assert packages(loop) >= SOCKETS_AND_CLOCK
    messages = ROOT / "mdp" / "sockets" / "messages.py"
    assert {"mdp.wire", "mdp.wire.Frame", "zmq.backend"} <= imports(messages)
    assert "isinstance" in calls(messages)


@each_file
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert packages(path) & set(ROOMS) <= MAY_IMPORT[room] | {room}


@each(MDP)
def test_only_one_folder_holds_the_sockets_and_the_clock(path: Path) -> None:
    if not {path.name, path.parent.name} & set(HOLD_THEM):
        assert not packages(path) & SOCKETS_AND_CLOCK


@each(MDP)
def test_only_the_folder_of_arrays_needs_numpy_and_only_the_fixtures_need_pytest(
    path: Path,
) -> None:
    if path.parent.name != "arrays":
        assert "numpy" not in packages(path)
    if path.name != "pytest_fixtures.py":
        assert "pytest" not in packages(path)


def check_pure(room: str, pure: tuple[str, ...], path: Path) -> None:
    assert not packages(path) & OUTSIDE
    allowed = {f"{room}.{name.replace('/', '.')}" for name in (*pure, "errors", "version")}
    assert imports_between_files()[module_of(path)] <= allowed


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_imports_nothing_that_reaches_outside(name: str) -> None:
    check_pure("mdp", PURE, ROOT / "mdp" / f"{name}.py")


@pytest.mark.parametrize("name", PURE_IMAGES)
def test_images_and_what_is_cut_from_them_are_pure(name: str) -> None:
    check_pure("lartpc", PURE_IMAGES, ROOT / "lartpc" / f"{name}.py")


@pytest.mark.parametrize("name", PURE_CAMPAIGN)
def test_what_a_campaign_decides_is_pure(name: str) -> None:
    check_pure("clients", PURE_CAMPAIGN, ROOT / "clients" / f"{name}.py")


def test_no_files_import_each_other_in_a_circle() -> None:
    assert " -> ".join(circle(imports_between_files())) == ""


@pytest.mark.parametrize("room", ROOMS)
def test_no_folders_of_a_package_import_each_other_in_a_circle(room: str) -> None:
    """A folder, and a file beside it, count as one each: `mdp.broker`, `mdp.wire`."""
    arrows: dict[str, set[str]] = {}
    for module, others in imports_between_files().items():
        inside = [other for other in others if other.startswith(f"{room}.")]
        if module.startswith(f"{room}."):
            place = ".".join(module.split(".")[:2])
            others_places = {".".join(other.split(".")[:2]) for other in inside}
            arrows.setdefault(place, set()).update(others_places - {place})
    assert " -> ".join(circle(arrows)) == ""


def test_a_circle_is_found_and_its_path_is_named() -> None:
    arrows = {"a": {"b"}, "b": {"c", "e"}, "c": {"d"}, "d": {"b"}, "e": set[str]()}
    assert circle(arrows) == ["b", "c", "d", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}) == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_name_occurs_twice_in_a_package(room: str) -> None:
    names = [path.name for path in FILES if path.is_relative_to(ROOT / room)]
    faces = {"__init__.py", "__main__.py"}
    assert {name for name in names if names.count(name) > 1} <= faces


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=name_of)
def test_a_folder_holds_what_can_be_seen_at_a_glance(folder: Path) -> None:
    rooms = [
        path.name
        for path in folder.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and not path.name.startswith("__")
    ]
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)


@each_file
def test_only_command_lines_print(path: Path) -> None:
    if path.name not in COMMANDS and path.parts[len(ROOT.parts)] != "benches":
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


def test_the_architecture_page_names_every_file_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {text.split("/")[-1] for text in re.findall(r"`([\w/]+\.py)`", page)}
    installed = {path.name for path in FILES if not path.is_relative_to(ROOT / "benches")}
    wanted = {name for name in installed if not name.startswith("__")}
    assert wanted - named == set()
    assert named - wanted <= {path.name for path in (ROOT / "tests").rglob("*.py")}
