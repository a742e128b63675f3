"""Imports run one way, without a circle; only certain packages import torch or Kafka's client."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent

# The lowest first: a package imports nothing from those after it.
PACKAGES = ("model", "experiments", "stream", "paper", "service")
STREAM = ("stream.log", "stream.weights", "stream.learn")
SERVICE = ("service.api", "service.up", "service.commands", "service.bench", "service.cli")
ORDERS = (PACKAGES, STREAM, (*STREAM[:1], "stream.join"), SERVICE, ("paper.offline", "paper.online"))

# Serving and learning on one rank start without torch.
WITH_TORCH = (
    "model.networks",
    "paper",
    "stream.learn.ranks",
    "stream.learn.ranks",
    "service.bench",
    "service.export.graph",
    "service.export.tensor_file",
)
WITH_KAFKA = ("stream.log.kafka",)

Graph = dict[str, set[str]]  # module → the modules of ours that it imports


def _sources(root: Path) -> dict[str, Path]:
    """Return every module of the packages: dotted name → path."""
    paths = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def _imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(root: Path) -> Graph:
    """Return the graph of imports between our modules."""
    sources = _sources(root)
    return {
        module: {found for name in _imports(path) for found in (name, name.rpartition(".")[0]) if found in sources and found != module}
        for module, path in sources.items()
    }


def _inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def upward(root: Path) -> list[str]:
    """Return the imports that run up."""
    return sorted(
        f"{module} imports {imported}"
        for module, found in graph(root).items()
        for imported in found
        for order in ORDERS
        for height, package in enumerate(order)
        if _inside(module, package) and any(_inside(imported, above) for above in order[height + 1 :])
    )


def circle(modules: Graph) -> list[str]:
    """Return the modules of a circle, if there is one."""
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def folders(modules: Graph) -> Graph:
    """Merge the modules of each folder within a package into one node; modules directly in the package remain."""

    def folder(module: str) -> str:
        return module if module in PACKAGES else next((p for p in parents if _inside(module, p)), module)

    parents = {".".join(module.split(".")[:2]) for module in modules if module.count(".") > 1}
    linked: Graph = {}
    for module, found in modules.items():
        own = folder(module)
        linked.setdefault(own, set()).update({folder(each) for each in found} - {own})
    return linked


def outside(root: Path, library: str, allowed: tuple[str, ...]) -> list[str]:
    """Return the modules outside the ``allowed`` packages that import a library."""
    return sorted(
        module
        for module, path in _sources(root).items()
        if not any(_inside(module, package) for package in allowed) and any(_inside(name, library) for name in _imports(path))
    )


def test_imports_run_one_way() -> None:
    assert upward(ROOT) == []


def test_no_module_and_no_folder_imports_itself_in_a_circle() -> None:
    modules = graph(ROOT)

    assert circle(modules) == []
    assert circle(folders(modules)) == []


def test_torch_is_imported_by_networks_paper_and_benchmarks_only() -> None:
    assert outside(ROOT, "torch", WITH_TORCH) == []


def test_kafkas_clients_are_imported_by_the_log_only() -> None:
    assert outside(ROOT, "kafka", WITH_KAFKA) == []
    assert outside(ROOT, "aiokafka", WITH_KAFKA) == []


def _tree(root: Path, **sources: str) -> Path:
    """Write a tree of modules; ``__`` in a name separates folders."""
    for name, source in sources.items():
        path = (root / name.replace("__", "/")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


def test_an_upward_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        model__step="def later():\n    from stream.log import topics\n",
        stream__log__topics="",
        stream__log__contract="import stream.learn.learner\n",
        stream__learn__learner="from model import step\n",
    )

    assert upward(root) == ["model.step imports stream.log.topics", "stream.log.contract imports stream.learn.learner"]


def test_a_circle_of_modules_or_of_folders_is_found(tmp_path: Path) -> None:
    modules = graph(_tree(tmp_path / "modules", model__one="from model import two\n", model__two="from model.one import x\n"))
    between = graph(
        _tree(
            tmp_path / "folders",
            model__kernels__step="import model.delay\n",
            model__delay="from model.kernels.target import kernel\n",
            model__kernels__target="",
        )
    )

    assert set(circle(modules)) == {"model.one", "model.two"}
    assert circle(between) == []
    assert set(circle(folders(between))) == {"model.kernels", "model.delay"}


def test_a_library_in_the_wrong_place_is_found(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        model__networks__dnn="from torch import nn\n",
        model__online="import torch.nn.functional as F\n",
        stream__log__kafka__log="import kafka\n",
        stream__replay="from kafka.structs import TopicPartition\n",
    )

    assert outside(root, "torch", WITH_TORCH) == ["model.online"]
    assert outside(root, "kafka", WITH_KAFKA) == ["stream.replay"]
