"""Check the English of the documents and of the package: docstrings, comments, messages, names of variables.

Usage: ``prose.py [--count] [PATH ...]``; by default the documents, README and the like, the example DAGs, and the parts
of the package that have no findings. ``--count`` prints one line for each file. Two checks run: proselint's, for common
mistakes, and a word list of our own, for British spelling and for phrases that read as translated. Code is not prose:
fenced blocks, code spans and links' targets are skipped.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("docs", "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "example_dags")
# The rooms of the package without findings. The others are checked by naming them: prose.py airflow_provider_cm.
CLEAN = ("emulator", "sensors", "links.py", "lineage.py", "metrics.py", "get_provider_info.py", "retry_policy.py")
DEFAULT = (*DOCUMENTS, *(f"airflow_provider_cm/{room}" for room in CLEAN))
# Written from docstrings and messages, which are checked where they stand.
GENERATED = re.compile(
    r"<!-- (messages|faults|settings|matrix: written by make matrix) -->.*?<!-- /\w+ -->|"
    r"<!-- written by scripts/api_reference.py.*",
    re.DOTALL,
)
# Typography is for typesetters, and the rest is about style in essays.
PROSELINT_OFF = ("typography", "annotations", "lexical_illusions", "restricted", "hedging", "weasel_words.very")

PARTICIPLES = "told|said|shown|seen|kept|found|given|asked|meant|wanted"
WORDS = {
    # British spelling; the rest of this project is American.
    r"behaviours?": "behavior",
    r"colours?": "color",
    r"favours?|honours?": "American spelling: -or",
    r"(?:normalis|recognis|serialis|deserialis|initialis|organis|summaris|prioritis|customis|optimis|minimis|maximis|"
    r"authoris|synchronis|utili[s]|categoris)(?:e|es|ed|ing|er|ers|ation|ations)": "American spelling: -ize",
    r"licences?": "license",
    r"whilst|amongst": "while, among",
    r"cancelled|cancelling": "canceled, canceling",
    r"labelled|labelling|travelled|modelling|totalled": "American spelling: one l",
    r"judgements?": "judgment",
    r"analys(?:e|es|ed|ing)": "analyze",
    r"catalogues?|programmes?|centres?|grey|artefacts?|fulfil|defence": "American spelling",
    r"towards|afterwards|forwards|backwards": "toward, afterward, ...",
    # The field's words.
    r"e-mails?": "email",
    r"mend(?:s|ed|ing)?": "fix",
    r"shall": "must, will",
    r"anew": "again, or a verb such as recreate",
    r"for ever": "forever",
    r"beside": "next to, besides, compared with",
    r"outlasts?": "run longer than, survive",
    r"mistaken": "wrong",
    r"becomes? of": "happens to",
    r"judg(?:e|es|ed|ing)": "check, validate, decide",
    r"time-outs?": "timeout",
    r"begun": "started",
    r"so long as": "as long as",
    r"nobody else's": "another's, other ...",
    r"whosoever|whoever": "the caller, the user, ...",
    r"thereof|therein|hereby": "plain words",
    r"told|tells?\b(?= (?:nothing|no more|so))": "a noun (message, text), or: say, report",
    # Clauses that stand for a noun.
    rf"(?:what|all that|that which) (?:\w+ )?(?:is|are|was|were|has been|had been) (?:{PARTICIPLES})": "use a noun",
    r"what (?:would|may|might|can|could|must|cannot) (?:not )?(?:be|come|pass|go|help)\b": "use a noun",
    r"what there is|all there is": "use a noun",
    rf"(?:the|a|its|of) (?:{PARTICIPLES})(?= (?:is|are|was|and|or)\b|[.,;:)])": "a participle is no noun",
    r"as is asked for|as asked for|as wanted|as it should be|asked for": "as requested, as specified",
    r"says? nothing to": "has no effect with",
    r"exists? not|is not there any more|not any more": "does not exist, no longer",
    r"the server's word on|word on": "plain words",
    r"neither ours|thin is": "plain words",
    r"comes? again|came again": "repeats",
    r"is as (?:asked|wanted|told|said)": "plain words",
    r"work that makes": "plain words",
    r"is stopped being|in peace|by itself alone": "plain words",
    r"makes? of it": "plain words",
}
PATTERNS = {
    re.compile(rf"(?<![\w`])(?:{pattern})(?!\w)".replace(" ", r"\s+"), re.IGNORECASE): advice
    for pattern, advice in WORDS.items()
}
CODE_BLOCK = r"(?:\.\. code-block::.*?|::)\n\n(?:[ ]+.*?$|\n)+"
NAMES = {"told", "said", "shown", "seen", "kept", "found", "given"}
GIVE = re.compile(r"(?:Give|Say|Tell|Be|Have)\b")


@dataclass(frozen=True)
class Finding:
    """One finding.

    :param path: the file.
    :param line: where in it.
    :param text: the words.
    :param advice: what to write instead.
    """

    path: Path
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}: {self.advice}"


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _without(pattern: str, text: str) -> str:
    return re.sub(pattern, lambda match: _blank(match[0]), text, flags=re.DOTALL | re.MULTILINE)


def _plain(text: str) -> str:
    """Blank what is code or markup, so that lines keep their numbers."""
    for pattern in (r"``.*?``", r"`[^`\n]*`", r":\w+:`[^`]*`", r"\]\([^)]*\)", r"<!--.*?-->", r"https?://\S+"):
        text = _without(pattern, text)
    return text


def markdown(text: str) -> str:
    """Keep the prose of a Markdown page.

    :param text: the page.
    :return: as many lines, with code, markup and generated tables blank.
    """
    text = GENERATED.sub(lambda match: _blank(match[0]), text)
    return _plain(_without(r"^--8<--.*?$", _without(r"^```.*?^```$", text)))


def python(text: str) -> str:
    """Keep the prose of a Python module: docstrings, comments, and texts of four words or more.

    :param text: the module.
    :return: as many lines, the rest blank.
    """
    lines: dict[int, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines.setdefault(token.start[0], []).append(re.sub(r"# (?:noqa|type):.*|^#+", "", token.string))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) >= 4:
            prose = _without(CODE_BLOCK, node.value)
            for number, line in enumerate(prose.splitlines(), start=node.lineno):
                lines.setdefault(number, []).append(line)
    last = max(lines, default=0)
    return _plain("\n".join(" ".join(lines.get(number, [])) for number in range(1, last + 1)))


def names(path: Path, text: str) -> Iterator[Finding]:
    """Find variables and arguments that a participle names, and docstrings that begin with the wrong verb."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMES:
            yield Finding(path, node.lineno, node.id, "name the thing, such as matches, message, text")
        if isinstance(node, ast.arg) and node.arg in NAMES:
            yield Finding(path, node.lineno, node.arg, "name the thing, such as matches, message, text")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            match = GIVE.match(ast.get_docstring(node) or "")
            if match:
                yield Finding(path, node.body[0].lineno, match[0], "begin with Return, Yield, or what it does")


def words(path: Path, prose: str) -> Iterator[Finding]:
    """Find what is in the word list."""
    for pattern, advice in PATTERNS.items():
        for match in pattern.finditer(prose):
            yield Finding(path, prose.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), advice)


def proselint(path: Path, prose: str) -> Iterator[Finding]:
    """Find what proselint finds."""
    from proselint.checks import __register__  # type: ignore[import-untyped]
    from proselint.config import DEFAULT as CONFIG  # type: ignore[import-untyped]
    from proselint.registry import CheckRegistry  # type: ignore[import-untyped]
    from proselint.tools import LintFile  # type: ignore[import-untyped]

    if not prose.strip():
        return
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    for result in LintFile(str(path), prose).lint(CONFIG):
        check = result.check_result
        if not check.check_path.startswith(PROSELINT_OFF):
            start, end = (position - 1 for position in check.span)  # it puts a line before the text
            matched = prose[max(start, 0) : end]
            line = prose.count("\n", 0, start + len(matched) - len(matched.lstrip())) + 1
            yield Finding(path, line, matched.strip(), f"{check.check_path}: {check.message}")


def check(path: Path) -> list[Finding]:
    """Check one file.

    :param path: a Markdown page or a Python module.
    :return: the findings, by line.
    """
    text = path.read_text(encoding="utf-8")
    prose = python(text) if path.suffix == ".py" else markdown(text)
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    findings = [*words(name, prose), *proselint(name, prose)]
    if path.suffix == ".py":
        findings += names(name, text)
    return sorted(findings, key=lambda each: each.line)


def files(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the pages and modules below some paths."""
    for name in paths:
        path = ROOT / name
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix in {".md", ".py"})
        else:
            yield path


def main() -> int:
    """Print the findings; 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", default=DEFAULT, metavar="PATH")
    parser.add_argument("--count", action="store_true", help="one line for each file")
    arguments = parser.parse_args()
    findings = [each for path in files(arguments.paths) for each in check(path)]
    if arguments.count:
        for path, count in sorted(Counter(each.path for each in findings).items()):
            print(f"{count:4} {path}")
    else:
        print(*findings, sep="\n", end="\n" if findings else "")
    if findings:
        print(f"{len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
