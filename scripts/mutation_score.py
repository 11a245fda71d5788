"""Mutate the client by a tool, and write into docs/reliability.md how many of the mutants its unit tests notice.

The mutants are mutmut's. Its runner is not used: it calls each function through others, and these show in tracebacks,
which the tests of secrets read. Here a mutant is a changed file in a copy of the repository, and each one's tests run
in a process of their own, forked when pytest and Airflow are already imported.

    python -m scripts.mutation_score                      # a sample, as make mutants does
    python -m scripts.mutation_score --sample 50 --seed 7
    python -m scripts.mutation_score --all --only rollout/executor

:func:`is_text` and pyproject.toml (``[tool.mutmut]``) say which mutants are left out, since no test of behavior can
notice them.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import libcst

from scripts.mutants import HERE, make_copy
from scripts.mutation_trials import PACKAGE, Coverage, Mutant, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 2
PACKAGES = ("api", "rollout", "triggers")
DOCUMENT = HERE / "docs/reliability.md"
BLOCK = re.compile(r"<!-- mutation score: written by make mutants -->\n.*?<!-- /mutation score -->\n", re.DOTALL)
WANTED = 90
# Names that mean the same in capitals: those of HTTP headers and of encodings.
NO_CASE = {
    *("accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type"),
    *("date", "location", "proxy-authorization", "retry-after", "server-timing", "user-agent", "ascii", "utf-8"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=400, help="how many mutants, drawn at random (default: 400)")
    parser.add_argument("--all", action="store_true", help="all mutants")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument(
        "--only", default="", help="mutants of files whose path holds this; the document stays as it is"
    )
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="airflow-provider-cm-mutants-") as folder:
        first = make_copy(Path(folder, "copy0").absolute())
        coverage = Coverage(first)
        seconds = time.monotonic() - began
        print(f"without a mutant, {len(coverage.seconds)} tests pass ({seconds:.0f} s)", flush=True)
        copies = [first] + [Path(shutil.copytree(first, Path(folder, f"copy{n}"))) for n in range(1, AT_ONCE)]
        candidates = [each for file in files(first, args.only) for each in Candidate.of(first, file)]
        number = len(candidates) if args.all else min(args.sample, len(candidates))
        sample = random.Random(args.seed).sample(candidates, number)  # noqa: S311  # repeatable on purpose
        print(f"{number} of {len(candidates)} mutants, seed {args.seed}", flush=True)
        survivors = run_all([each.mutant(coverage) for each in sample], copies, coverage.seconds)
    tally = Tally(
        Counter(each.package for each in candidates),
        Counter(each.package for each in sample),
        Counter(each.package for each in survivors),
        args.seed,
        time.monotonic() - began,
    )
    print(tally.table())
    if not args.only:
        write_block(tally.document())
    return 0 if tally.score() >= WANTED else 1


def files(copy: Path, part: str) -> list[str]:
    """Return the files to mutate whose path holds a text."""
    paths = [path for name in PACKAGES for path in (copy / PACKAGE / name).rglob("*.py")]
    return sorted(name for path in paths if part in (name := str(path.relative_to(copy))))


@dataclass(frozen=True)
class Candidate:
    """A mutant that is not written out yet."""

    file: str
    source: str
    module: libcst.Module
    before: libcst.CSTNode
    after: libcst.CSTNode

    @classmethod
    def of(cls, copy: Path, file: str) -> Iterator[Candidate]:
        """Yield mutmut's mutants of a file, except those that no test of behavior can notice."""
        from mutmut.mutation.file_mutation import create_mutations

        source = (copy / file).read_text()
        module, mutations, _, _ = create_mutations(file, source)
        for each in mutations:
            function = each.contained_by_top_level_function
            # What a module does when it is imported is run by no test of its own.
            if isinstance(function, libcst.FunctionDef) and not is_text(
                each.original_node, each.mutated_node, function
            ):
                yield cls(file, source, module, each.original_node, each.mutated_node)

    @property
    def package(self) -> str:
        """The package that it is in."""
        return self.file.split("/")[1]

    def mutant(self, coverage: Coverage) -> Mutant:
        """Write it out."""
        code = libcst.ensure_type(self.module.deep_replace(self.before, self.after), libcst.Module).code
        pairs = zip(self.source.splitlines(), code.splitlines(), strict=False)
        line = next((number for number, (old, new) in enumerate(pairs, start=1) if old != new), 1)
        return Mutant(self.file, line, self.source, code, coverage.tests(self.file, statement(self.source, line)))


def is_text(before: libcst.CSTNode, after: libcst.CSTNode, function: libcst.FunctionDef) -> bool:
    """Whether no test of behavior could notice a change.

    So it is with words for people (a text with a blank in it, a ``__repr__``), and with the case of :data:`NO_CASE`.
    """
    if function.name.value == "__repr__":
        return True
    if not isinstance(before, libcst.SimpleString):
        return False
    same = isinstance(after, libcst.SimpleString) and after.raw_value.lower() == before.raw_value.lower()
    return " " in before.raw_value.strip() or (same and before.raw_value.lower() in NO_CASE)


def statement(source: str, line: int) -> range:
    """Return the lines of the smallest statement that holds a line; of a compound one, those before its block."""
    best = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            block = getattr(node, "body", None)
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            end = block[0].lineno if block and not function else (node.end_lineno or node.lineno) + 1
            # ast.walk gives what is inside after what is around it.
            if line < end or function:
                best = range(node.lineno, end)
    return best


@dataclass(frozen=True)
class Tally:
    """How many mutants there were, by package."""

    all: Counter[str]
    sample: Counter[str]
    survived: Counter[str]
    seed: int
    seconds: float

    def score(self, *packages: str) -> float:
        """Return the percentage that was killed, in some packages or in all."""
        names = packages or PACKAGES
        tried = sum(self.sample[name] for name in names)
        return 100 * (1 - sum(self.survived[name] for name in names) / tried) if tried else 100.0

    def table(self) -> str:
        """Return a Markdown table."""
        rows = [
            f"| `{name}` | {self.all[name]} | {self.sample[name]} | {self.sample[name] - self.survived[name]} | "
            f"{self.score(name):.1f} % |"
            for name in PACKAGES
        ]
        tried, killed = self.sample.total(), self.sample.total() - self.survived.total()
        whole = f"| all | {self.all.total()} | {tried} | {killed} | **{self.score():.1f} %** |"
        return "\n".join(["| package | mutants | tried | killed | score |", "|---|---|---|---|---|", *rows, whole])

    def document(self) -> str:
        """Return the text of the document."""
        complete = self.sample == self.all
        tried = "All were tried." if complete else "A random sample was tried, so the score is that of the sample."
        again = "--all" if complete else f"--sample {self.sample.total()} --seed {self.seed}"
        return f"""## Mutants

Written by `make mutants` on {datetime.now(UTC):%Y-%m-%d}. mutmut {version("mutmut")} changes one thing at a time in the
functions of `api`, `rollout` and `triggers`, such as a comparison, a number or an argument; a unit test that runs the
changed statement must fail. {tried} Changes to text for people (`__repr__`, log calls, texts with a space in them), to
the case of HTTP header names, and to functions with a decorator do not count.

{self.table()}

Again: `python -m scripts.mutation_score {again}` ({self.seconds / 60:.0f} minutes). The promises of SECURITY.md have
mutants made by hand, in `scripts/mutants.py`; `make mutants` runs these first, and all of them are killed.
"""


def write_block(text: str, document: Path = DOCUMENT) -> None:
    """Put the block into the document, in its place or at the end."""
    block = f"<!-- mutation score: written by make mutants -->\n{text}<!-- /mutation score -->\n"
    old = document.read_text()
    match = BLOCK.search(old)
    document.write_text(old.replace(match[0], block) if match else f"{old.rstrip()}\n\n{block}")


if __name__ == "__main__":
    sys.exit(main())
