"""Which distributions the imports of a step need, pinned to what is installed beside the notebook.

Nothing is imported to find out: modules are looked up as files, and the installed distributions say whose they are.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import all_suffixes
from pathlib import Path

from nb2pipe.findings import Finding, finding
from nb2pipe.pipeline.model import Requirement

Place = tuple[int, int]
"""A (cell, line) that asks for something."""

KNOWN: Mapping[str, tuple[str, ...]] = {
    "apache_beam": ("apache-beam",),
    "attr": ("attrs",),
    "bs4": ("beautifulsoup4",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "dateutil": ("python-dateutil",),
    "dotenv": ("python-dotenv",),
    "fitz": ("PyMuPDF",),
    "git": ("GitPython",),
    "hypertune": ("cloudml-hypertune",),
    "imblearn": ("imbalanced-learn",),
    "IPython": ("ipython",),
    "jose": ("python-jose",),
    "jwt": ("PyJWT",),
    "magic": ("python-magic",),
    "mpl_toolkits": ("matplotlib",),
    "OpenSSL": ("pyOpenSSL",),
    "PIL": ("pillow",),
    "pkg_resources": ("setuptools",),
    "psycopg2": ("psycopg2-binary", "psycopg2"),
    "pylab": ("matplotlib",),
    "serial": ("pyserial",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "skopt": ("scikit-optimize",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "umap": ("umap-learn",),
    "yaml": ("PyYAML",),
    "google.cloud.aiplatform": ("google-cloud-aiplatform",),
    "google.cloud.bigquery": ("google-cloud-bigquery",),
    "google.cloud.storage": ("google-cloud-storage",),
    "google.protobuf": ("protobuf",),
    "google.auth": ("google-auth",),
}
"""Import names that differ from their distribution's; the first is taken when none is installed."""

SAME_NAME = frozenset(
    """altair bokeh catboost category_encoders cloudpickle dask datasets duckdb fastai flax gensim jax joblib keras kfp
    lightgbm lxml matplotlib mlflow nltk numpy openpyxl optuna pandas patsy plotly polars prophet pyarrow pyspark
    requests scipy seaborn shap spacy sqlalchemy statsmodels sympy torch torchvision tqdm transformers
    xgboost""".split()
)
"""Well known distributions with the name of their module: named without a pin when they are not installed here."""

SPEC = re.compile(r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)(?P<extras>\[[^\]]*\])?\s*(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution: its name, version and the folder with its metadata."""

    name: str
    version: str
    folder: Path

    @property
    def pin(self) -> str:
        """The requirement for exactly this version; a local version label (`+cpu`) is on no index."""
        return f"{self.name}=={self.version.partition('+')[0]}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What imports need: requirements sorted by name, and `local`: modules beside the notebook (files or folders,
    relative to its folder) that have to travel with the project."""

    requirements: tuple[Requirement, ...]
    local: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """The modules of the notebook's own: those in its `folder`, and those in `written` (path by name), which cells
    write."""

    folder: Path | None = None
    written: Mapping[str, str] = field(default_factory=dict)

    def find(self, top: str, *, package: bool = True) -> str | None:
        """The path of a module; a folder without `__init__.py` counts only when nothing else has the name."""
        if top in self.written:
            return self.written[top]
        if self.folder is None:
            return None
        if package:
            if (self.folder / top / "__init__.py").is_file():
                return top
            return f"{top}.py" if (self.folder / f"{top}.py").is_file() else None
        return top if (self.folder / top).is_dir() and any((self.folder / top).rglob("*.py")) else None


def requirements(
    imports: Mapping[str, Place],
    packages: Mapping[str, str],
    extra: Iterable[tuple[str, str]] = (),
    beside: Beside | None = None,
) -> Resolved:
    """The requirements of the modules that `imports` names (dotted, with the place that imports them).

    `packages` maps import names to distributions and goes before what is found. `extra` are specs asked for by pip
    lines and options, each with its reason; they are added, and decide the version of what they name. `beside` are
    modules of the notebook's own.
    """
    specs: dict[str, Requirement] = {}
    local: dict[str, None] = {}
    found: list[Finding] = []
    for module, place in sorted(imports.items()):
        answer = _resolve(module, place, packages, beside or Beside())
        if isinstance(answer, Requirement):
            specs.setdefault(normalized(answer.spec), answer)
        elif isinstance(answer, str):
            local[answer] = None
            found.append(_local_note(module, answer, place))
        elif answer is not None:
            found.append(answer)
            spec = _known_name(module)
            if answer.code == "unpinned-requirement" and spec:
                specs.setdefault(normalized(spec), Requirement(spec, _why(module, place)))
    for text, why in extra:
        requirement, problem = _asked(text, why)
        specs[normalized(text)] = requirement
        found += [problem] if problem else []
    ordered = sorted(specs.values(), key=lambda requirement: requirement.spec.casefold())
    return Resolved(tuple(ordered), tuple(local), tuple(found))


def normalized(spec: str) -> str:
    """The name of a requirement as indexes compare it; a spec without a name (a URL) stands for itself."""
    match = SPEC.match(spec)
    if match is None or "://" in spec.partition("@")[0]:
        return spec
    return re.sub(r"[-_.]+", "-", match["name"]).lower()


def _why(module: str, place: Place) -> str:
    return f"cell {place[0]} line {place[1]}: import {module}"


def _local_note(module: str, path: str, place: Place) -> Finding:
    message = f"{module} is the notebook's own module {path}."
    return finding("local-module", message, cell=place[0], line=place[1], name=module)


def _resolve(
    module: str, place: Place, packages: Mapping[str, str], beside: Beside
) -> Requirement | Finding | str | None:
    """A requirement, the path of a local module, a finding; None for the standard library."""
    top = module.partition(".")[0]
    named = _longest(module, packages)
    if named:
        return Requirement(_pinned(named), _why(module, place))
    local = beside.find(top)
    if local:
        return local
    if top in sys.stdlib_module_names or top == "__main__":
        return None
    distribution = owner(module)
    if distribution:
        return Requirement(distribution.pin, _why(module, place))
    return beside.find(top, package=False) or _not_found(module, place)


def _longest(module: str, table: Mapping[str, str]) -> str | None:
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((table[prefix] for prefix in prefixes if prefix in table), None)


def _not_found(module: str, place: Place) -> Finding:
    known = _known_name(module)
    if known:
        message = f"{module} is not installed here: {known} is required without a version."
        return finding("unpinned-requirement", message, cell=place[0], line=place[1], name=module)
    top = module.partition(".")[0]
    message = f"{module} is not installed here, and no distribution of that name is known."
    spread = "." in module and any((site / top).is_dir() for site in _site_folders())
    key = f'"{module}"' if spread else top
    hint = f'Install it, or add to pyproject.toml under [tool.nb2pipe.packages]: {key} = "DISTRIBUTION==VERSION"'
    return finding("unknown-import", message, cell=place[0], line=place[1], name=module, hint=hint)


def _known_name(module: str) -> str | None:
    top = module.partition(".")[0]
    known = _longest(module, {name: names[0] for name, names in KNOWN.items()})
    return known or (top if top in SAME_NAME else None)


def _asked(text: str, why: str) -> tuple[Requirement, Finding | None]:
    """The requirement that a pip line asks for, pinned to what is installed if that satisfies it."""
    match = SPEC.match(text.strip())
    if match is None or re.match(r"@|.*://", match["rest"], re.DOTALL):
        return Requirement(text.strip(), why), None
    rest = match["rest"].strip()
    installed = _distribution(match["name"])
    if installed is None or ";" in rest:
        return Requirement(text.strip(), why), None
    if not _satisfies(installed.version, rest):
        message = f"{text.strip()} is asked for, but {installed.name} {installed.version} is installed."
        return Requirement(text.strip(), why), finding("other-version", message, name=installed.name)
    pin = installed.pin.replace("==", f"{match['extras'] or ''}==", 1)
    return Requirement(pin, why), None


def _satisfies(version: str, specifier: str) -> bool:
    if not specifier:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return False


def _pinned(spec: str) -> str:
    """A distribution from the options, with its installed version unless the options give one."""
    return _asked(spec, "")[0].spec if SPEC.fullmatch(spec) else spec


# --- installed distributions ------------------------------------------------------------------------------------------


@cache
def _site_folders() -> tuple[Path, ...]:
    """The folders of sys.path that distributions can be in: not the current one, not the standard library's."""
    standard = Path(os.__file__).parent
    folders = [Path(entry) for entry in dict.fromkeys(sys.path) if entry and Path(entry) != Path.cwd()]
    return tuple(f for f in folders if f.is_dir() and f != standard and f.name != "lib-dynload")


@cache
def _installed() -> Mapping[str, Distribution]:
    """Installed distributions by normalized name, from the names of their metadata folders alone."""
    found: dict[str, Distribution] = {}
    for site in _site_folders():
        for entry in sorted(path.name for path in site.iterdir()):
            name, dash, version = entry.removesuffix(".dist-info").partition("-")
            if entry.endswith(".dist-info") and dash:
                found.setdefault(normalized(name), Distribution(name.replace("_", "-"), version, site / entry))
    return found


def _distribution(name: str) -> Distribution | None:
    return _installed().get(normalized(name))


@cache
def owner(module: str) -> Distribution | None:
    """The installed distribution that `module` (dotted) comes from; None if there is none."""
    origin = _origin(module.split("."))
    if origin is None:
        return None
    site, file = origin
    likely = [d for d in map(_distribution, _likely_names(module)) if d]
    for distribution in likely:
        if _owns(distribution, site, file):
            return distribution
    others = (d for name, d in sorted(_installed().items()) if d.folder.parent == site and d not in likely)
    return next((d for d in others if _owns(d, site, file)), _editable(likely))


def _likely_names(module: str) -> Iterator[str]:
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        yield from KNOWN.get(".".join(parts[:count]), ())
        yield "-".join(parts[:count])


def _owns(distribution: Distribution, site: Path, file: str) -> bool:
    if distribution.folder.parent != site:
        return False
    try:
        record = (distribution.folder / "RECORD").read_bytes()
    except OSError:
        return False
    return record.startswith(f"{file},".encode()) or f"\n{file},".encode() in record


def _editable(likely: Sequence[Distribution]) -> Distribution | None:
    """A distribution of the module's own name whose files are elsewhere: an editable install."""
    return next((d for d in likely if (d.folder / "direct_url.json").is_file()), None)


def _origin(parts: Sequence[str]) -> tuple[Path, str] | None:
    """Where a module, or the regular package that it is in, lies: the site folder and the path in it.

    Folders without `__init__.py` (namespace packages such as `google`) are followed down, in every site folder.
    """
    homes = [(site, site) for site in _site_folders()]
    for part in parts:
        deeper: list[tuple[Path, Path]] = []
        for site, home in homes:
            file = _module_file(home, part)
            if file:
                return site, file.relative_to(site).as_posix()
            if (home / part).is_dir():
                deeper.append((site, home / part))
        homes = deeper
    return None


def _module_file(home: Path, name: str) -> Path | None:
    candidates = [home / name / f"__init__{suffix}" for suffix in (".py", ".pyc")]
    candidates += [home / f"{name}{suffix}" for suffix in all_suffixes()]
    return next((path for path in candidates if path.is_file()), None)
