"""What is published: the wheel, the source distribution, and docstrings that agree with their signatures."""

from __future__ import annotations

import email
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, is_typeddict

import pytest

import airflow_provider_cm
from airflow_provider_cm.api import source_fields
from tests.features import has

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(airflow_provider_cm.__path__[0])
ROOT = PACKAGE.parent
VERSION = airflow_provider_cm.__version__
NAME = f"airflow_provider_cm-{VERSION}"


def source_files() -> set[str]:
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.relative_to(ROOT).as_posix() for path in files}


def example_files() -> set[str]:
    folder = ROOT / "example_dags"
    files = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {f"airflow_provider_cm/{path.relative_to(ROOT).as_posix()}" for path in files}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # Without "build", which would make an environment and ask PyPI for what is installed here.
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def test_the_wheel_holds_the_package_with_its_examples_and_nothing_else(dist: Path) -> None:
    (path,) = dist.glob("*.whl")
    assert path.name == f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        metadata = email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
        entry_points = wheel.read(f"{NAME}.dist-info/entry_points.txt").decode()
    info = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert {PurePosixPath(name).relative_to(f"{NAME}.dist-info").as_posix() for name in info} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    assert names - info == source_files() | example_files()
    assert "airflow_provider_cm/py.typed" in names
    assert {PurePosixPath(name).suffix for name in names - info} == {".csv", ".json", ".py", ".sql", ".typed", ".yaml"}
    assert (metadata["Name"], metadata["Version"]) == ("airflow-provider-cm", VERSION)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    assert {"emulator", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {re.split(r"[<>=!~ ;]", line)[0] for line in required} >= {
        "apache-airflow",
        "apache-airflow-providers-common-compat",
        "requests",
        "tenacity",
    }
    assert "provider_info = airflow_provider_cm.get_provider_info:get_provider_info" in entry_points
    assert "comms_mining_emulator = airflow_provider_cm.emulator.pytest_plugin" in entry_points


def test_the_source_distribution_holds_what_builds_and_tests_it(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    assert path.name == f"{NAME}.tar.gz"
    with tarfile.open(path) as archive:
        names = {PurePosixPath(name).relative_to(NAME).as_posix() for name in archive.getnames()}
    assert source_files() <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", "Makefile", "constraints.txt"} <= names
    assert "tests/unit/test_package.py" in names
    folders = {"airflow_provider_cm", "benchmarks", "docs", "example_dags", "scripts", "tests"}
    files = {"pyproject.toml", "PKG-INFO", "LICENSE", "Makefile", "constraints.txt", ".gitignore"}
    files |= {"hatch_build.py", "mkdocs.yml", "noxfile.py"}
    stray = {
        name
        for name in names
        if PurePosixPath(name).parts[0] not in folders | files and not re.fullmatch(r"[A-Z]+\.md", name)
    }
    assert stray == set()
    assert not [name for name in names if "cache" in name or name.endswith((".pyc", ".egg-info", ".orig", ".log"))]


# Docstrings


def _modules() -> Iterator[Any]:
    yield airflow_provider_cm
    # What refuses to be imported, and what starts a program.
    refusing = {"policies": "retry policies", "approval": "approvals"}
    passed_over = ("__main__", *(name for name, feature in refusing.items() if not has(feature)))
    for each in pkgutil.walk_packages(airflow_provider_cm.__path__, "airflow_provider_cm."):
        if each.name.rpartition(".")[2] not in passed_over:
            yield importlib.import_module(each.name)


def _functions(kind: type) -> Iterator[tuple[str, Any]]:
    """Give the public methods and properties that a class defines itself."""
    for name, item in vars(kind).items():
        function = item.fget if isinstance(item, property) else getattr(item, "__func__", item)
        if not name.startswith("_") and inspect.isfunction(function):
            yield f"{kind.__module__}.{kind.__name__}.{name}", function


@pytest.fixture(scope="module")
def public() -> dict[str, Any]:
    """Give every public class, function and method of the package by its name."""
    found: dict[str, Any] = {}
    for module in _modules():
        for name, item in vars(module).items():
            if name.startswith("_") or getattr(item, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(item) or inspect.isfunction(item):
                found[f"{module.__name__}.{name}"] = item
            if inspect.isclass(item):
                found.update(_functions(item))
    assert "airflow_provider_cm.hooks.comms_mining.CommsMiningHook.request" in found
    assert "airflow_provider_cm.hooks.comms_mining.CommsMiningHook.sources" in found
    assert "airflow_provider_cm.operators.sources.CreateSourceOperator" in found
    assert len(found) > 100
    return found


def _documented(item: Any) -> set[str]:
    return set(re.findall(r":param (\w+):", item.__doc__ or ""))


def _documented_with_bases(item: Any) -> set[str]:
    """Return the documented parameters; the reference adds to those of a class those of our classes that it extends."""
    if not inspect.isclass(item):
        return _documented(item)
    ours = [each for each in item.__mro__ if each.__module__.startswith("airflow_provider_cm")]
    return {name for each in ours for name in _documented(each)}


def _parameters(item: Any) -> set[str]:
    """Give the parameters; for a class also those that its constructor hands on to constructors of ours."""
    if not inspect.isclass(item):
        names = set(inspect.signature(item).parameters) - {"self", "cls"}
        unpacked = re.search(r"Unpack\[(\w+)\]", str(item.__annotations__))
        # The fields of `**fields: Unpack[...]` are parameters too.
        if not unpacked:
            return names
        fields = inspect.unwrap(item).__globals__.get(unpacked[1]) or getattr(source_fields, unpacked[1])
        return names | set(fields.__annotations__)
    # Of pydantic, whose constructor has no names, and of a NamedTuple and a TypedDict, which have no constructor.
    found = {*getattr(item, "model_fields", ()), *getattr(item, "_fields", ())}
    if is_typeddict(item):
        return set(item.__annotations__)
    for each in item.__mro__:
        if each.__module__.startswith("airflow_provider_cm") and "__init__" in vars(each):
            found |= set(inspect.signature(vars(each)["__init__"]).parameters)
    return found - {"self", "args", "kwargs"}


def test_every_module_that_holds_anything_says_what_it_is() -> None:
    silent = [module.__name__ for module in _modules() if not module.__doc__ and Path(module.__file__).read_text()]
    assert silent == []


def test_every_public_thing_has_a_docstring(public: dict[str, Any]) -> None:
    assert [name for name, item in public.items() if not (item.__doc__ or "").strip()] == []


def test_no_docstring_names_a_parameter_that_is_not_there(public: dict[str, Any]) -> None:
    wrong = {name: _documented(item) - _parameters(item) for name, item in public.items()}
    assert {name: names for name, names in wrong.items() if names} == {}


def test_what_dag_authors_use_documents_every_parameter(public: dict[str, Any]) -> None:
    missing: dict[str, set[str]] = {}
    for name, item in public.items():
        elsewhere = re.search(r"(result and errors are those|[Aa]rguments as for|arguments of a sensor)", item.__doc__)
        if re.search(r"\.(decorators|hooks|operators|sensors|transfers|triggers)\.", name) and not elsewhere:
            missing[name] = _parameters(item) - _documented_with_bases(item) - {"context"}
    assert {name: names for name, names in missing.items() if names} == {}
