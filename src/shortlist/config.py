"""One TOML file, environment overrides, read once: names become frozen settings and components.

Order, last wins: the defaults in this package, `shortlist.toml`, `SHORTLIST__SECTION__KEY` in the environment.
"""

from __future__ import annotations

import difflib
import importlib
import os
import tomllib
import types as python_types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from shortlist import protocols
from shortlist.data.mapping import Mapping as ColumnMapping
from shortlist.dataset import DEFAULT_KINDS, Kind, Kinds, duration
from shortlist.errors import ConfigError, NotFound

T = TypeVar("T")
Table = Mapping[str, Any]
ROOMS = (
    *("recall", "models", "features", "filters", "rank", "rerank", "stores", "data", "eval"),
    *("pipeline", "descent", "terms", "types"),
)
ROLES: Mapping[type, str] = {
    protocols.Catalog: "catalog",
    protocols.EventLog: "log",
    protocols.State: "state",
    protocols.Index: "index",
}
SIZES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "small": {"als": {"factors": 32}, "knn": {"neighbours": 50}},
    "medium": {},
    "large": {"als": {"factors": 128}, "knn": {"neighbours": 300}},
}


@dataclass(frozen=True, slots=True)
class Dial:
    """[shortlist] size: one dial before many knobs; derives factors and neighbours of the default models."""

    size: str = "medium"


@dataclass(frozen=True, slots=True)
class Stores:
    """[stores] Where things live, by URL. A relative file: path is relative to the folder of shortlist.toml."""

    catalog: str = "file:shortlist-data/store"
    log: str = "file:shortlist-data/store"
    state: str = "file:shortlist-data/store"
    index: str = "file:shortlist-data/store"


@dataclass(frozen=True, slots=True)
class Releases:
    """[releases] Where trained pipelines are kept, which foreign modules they may name, how often one is made."""

    path: str = "shortlist-data/releases"
    trust: tuple[str, ...] = ()
    schedule: str = ""  # "1d": a release twice as old is told at /readyz; empty = never


@dataclass(frozen=True, slots=True)
class EventKinds:
    """[events] What an event is worth, see dataset.Kind; what becomes of an event whose item nobody knows."""

    unknown_items: Literal["create", "hold", "reject"] = "hold"  # hold = keep it until the item is put
    kinds: Mapping[str, Kind] = field(default_factory=lambda: DEFAULT_KINDS)
    context: tuple[str, ...] = ()  # facts of the moment kept with events, beside those of [ingest.NAME]


@dataclass(frozen=True, slots=True)
class History:
    """[history] How many of a person's newest events are kept at hand for requests."""

    keep: int = 5000


@dataclass(frozen=True, slots=True)
class Train:
    """[train] What is learned from which window."""

    window: str = ""  # "180d"; empty = everything
    seed: int = 0
    validation: str = "leave-last"  # leave-last | global | hold-out | impressions: what rankers learn from
    likings: int = 1  # newest liked items of each person that rankers learn from (leave-last)
    others: int = 0  # candidates kept beside what was taken, by lot, for rankers to learn from; 0 = all
    uniform: int = 0  # items of the whole catalogue beside them, by lot, for each question
    position: float = 0.0  # of impressions not taken, how fast their weight falls: place ** -position; 0 = not at all
    impressions: int = 0  # newest impressions that rankers learn from (validation = "impressions"); 0 = nine tenths
    models: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CoarseTable:
    """[pipelines.NAME.coarse] A cheap ranker before the features: only its best go on to them and to `rank`."""

    keep: int = 0  # candidates of a request that go on; 0 = all, without a coarse ranker
    rank: Table = field(default_factory=dict)  # none = reciprocal-rank fusion
    features: Mapping[str, Table] = field(default_factory=dict)
    always: tuple[str, ...] = ()  # sources whose candidates go on in any case


@dataclass(frozen=True, slots=True)
class PipelineTable:
    """[pipelines.NAME] One funnel as a table: each stage names its file and class with `use`, or a trained `model`."""

    limit: int = 20
    sources: Mapping[str, Table] = field(default_factory=dict)
    filters: Mapping[str, Table] = field(default_factory=dict)
    coarse: CoarseTable = field(default_factory=CoarseTable)
    features: Mapping[str, Table] = field(default_factory=dict)
    rank: Table = field(default_factory=dict)
    rerank: Table = field(default_factory=dict)
    late_filters: Mapping[str, Table] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    fallback: Table = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluate:
    """[evaluate] The offline protocol."""

    split: str = "leave-last"  # leave-last | global | hold-out
    k: tuple[int, ...] = (10, 20)
    resamples: int = 1000
    seed: int = 0
    ratings: tuple[str, ...] = ()  # models under [train.models] that predict ratings: RMSE and MAE on what is hidden


@dataclass(frozen=True, slots=True)
class Serve:
    """[serve] The HTTP door."""

    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 1_000_000  # bytes; ten times that for batches
    deadline_ms: int = 1000  # of an answer; from then on it does without what a page can do without
    static_list: tuple[str, ...] = ()  # ids of items, best first: shown when nothing else can be
    last_lists_mb: int = 32  # memory for the last good list of each person
    timeout_ms: int = 10_000  # a question that has no answer by then is given up with deadline_exceeded
    keys: Literal["optional", "required"] = "optional"  # off loopback they are required in any case
    keys_path: str = "shortlist-data/keys.json"
    rate: float = 0.0  # requests a second of one key; 0 = no limit
    burst: int = 100  # requests of one key at once, before the rate counts
    titles: str = "title"  # item column shown on the page
    traces: str = ""  # URL that OpenTelemetry spans are sent to (OTLP over HTTP); empty = none
    log_pii: bool = False  # whether logs hold the ids of people as they are
    remember: int = 1000  # answers kept in memory, to look at and to ask about; 0 = none
    remember_for: str = "15m"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured. `home` is the folder that relative paths start from."""

    home: Path = field(default_factory=Path)
    shortlist: Dial = field(default_factory=Dial)
    stores: Stores = field(default_factory=Stores)
    releases: Releases = field(default_factory=Releases)
    events: EventKinds = field(default_factory=EventKinds)
    history: History = field(default_factory=History)
    retention: Mapping[str, str] = field(default_factory=dict)  # kind of event -> how long its events are kept
    ingest: Mapping[str, ColumnMapping] = field(default_factory=dict)
    train: Train = field(default_factory=Train)
    pipelines: Mapping[str, PipelineTable] = field(default_factory=dict)
    evaluate: Evaluate = field(default_factory=Evaluate)
    serve: Serve = field(default_factory=Serve)

    @property
    def kinds(self) -> Kinds:
        return Kinds(self.events.kinds)

    @property
    def context(self) -> tuple[str, ...]:
        """The facts of the moment that are kept with events, whichever way they come."""
        return tuple(dict.fromkeys([*self.events.context, *chain(*(each.context for each in self.ingest.values()))]))

    @property
    def releases_path(self) -> Path:
        return self.home / self.releases.path

    @property
    def rejects_path(self) -> Path:
        return self.home / "shortlist-data" / "rejects"

    @property
    def searches_path(self) -> Path:
        return self.home / "shortlist-data" / "searches.sqlite"

    @property
    def keys_path(self) -> Path:
        return self.home / self.serve.keys_path

    def store_url(self, role: str) -> str:
        """The URL of a role, a relative path of a file: or milvus: made absolute."""
        url: str = getattr(self.stores, role)
        scheme, _, path = url.partition(":")
        local = scheme == "file" or (scheme == "milvus" and not path.startswith("//"))
        return f"{scheme}:{self.home / path}" if local else url


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `path` (a file, or a folder that may hold shortlist.toml; nothing there means defaults)."""
    path = path or Path()
    file = path / "shortlist.toml" if path.is_dir() else path
    if not file.exists() and file != path / "shortlist.toml":
        raise NotFound(
            "no such configuration file", where=str(file), hint="write one with: shortlist init YOUR_EVENTS.csv"
        )
    given: dict[str, Any] = {}
    if file.exists():
        try:
            given = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"not valid TOML: {error}", where=str(file)) from error
    return parse(_overridden(given, environment), home=file.parent)


def parse(given: Table, *, home: Path = Path()) -> Settings:
    """Settings from a nested table: default models and pipelines first, then what is given.

    A model given under [train.models] adds to or changes the default of that name key by key; a pipeline given under
    [pipelines] replaces the default of that name as a whole.
    """
    default = tomllib.loads((files("shortlist") / "blueprints" / "default.toml").read_text("utf-8"))
    merged = dict(given)
    train = dict(_table(given.get("train", {}), "train"))
    models = {name: dict(table) for name, table in default["train"]["models"].items()}
    size = _table(given.get("shortlist", {}), "shortlist").get("size", "medium")
    if size not in SIZES:
        raise ConfigError(f"is {size!r}", where="shortlist.size", hint=f"choose one of: {', '.join(SIZES)}")
    for name, table in (*SIZES[size].items(), *_table(train.get("models", {}), "train.models").items()):
        base = models.get(name, {})
        table = _table(table, f"train.models.{name}")
        models[name] = {**(base if table.get("use", base.get("use")) == base.get("use") else {}), **table}
    train["models"] = models
    merged["train"] = train
    merged["pipelines"] = {**default["pipelines"], **_table(given.get("pipelines", {}), "pipelines")}
    events = dict(_table(given.get("events", {}), "events"))
    if "kinds" in events:
        known = {name: asdict(kind) for name, kind in DEFAULT_KINDS.items()}
        tables = {name: {**known.get(name, {}), **_table(t, "")} for name, t in events["kinds"].items()}
        unused = {name: kind for name, kind in DEFAULT_KINDS.items() if name not in tables}
        merged["events"] = {**events, "kinds": {**unused, **tables}}
    if "home" in merged:
        raise ConfigError("is not a key", where="home")
    settings = convert(Settings, {**merged, "home": home}, "")
    check_keys(settings.retention, [*Kinds(settings.events.kinds).table], "[events.kinds]", "retention")
    lengths = {f"retention.{kind}": limit for kind, limit in settings.retention.items()}
    if settings.releases.schedule:
        lengths["releases.schedule"] = settings.releases.schedule
    for where, length in lengths.items():
        try:
            duration(length)
        except ConfigError as error:
            raise ConfigError(error.message, where=where, hint=error.hint) from None
    counts = (settings.train.others, settings.train.uniform, settings.train.impressions)
    if settings.train.likings < 1 or min(counts) < 0:
        raise ConfigError(
            f"likings is {settings.train.likings}, others {settings.train.others}, uniform {settings.train.uniform},"
            f" impressions {settings.train.impressions}: at least 1, and 0 or more",
            where="train",
        )
    if not 0 <= settings.train.position < float("inf"):
        raise ConfigError(f"is {settings.train.position}, expected a number of at least 0", where="train.position")
    shown = settings.train.validation == "impressions"
    if (settings.train.position and not shown) or (shown and max(settings.train.others, settings.train.uniform)):
        raise ConfigError(
            "impressions have places and are their own negatives; candidates have none, and are drawn",
            where="train",
            hint='position belongs to validation = "impressions", others and uniform to all else',
        )
    if settings.train.likings > 1 and settings.train.validation != "leave-last":
        raise ConfigError(
            f"several of each person are held out by leave-last, not by {settings.train.validation}",
            where="train.likings",
            hint='validation = "leave-last", or likings = 1',
        )
    for name, pipeline in settings.pipelines.items():
        if not pipeline.sources:
            raise ConfigError(
                "a pipeline without sources proposes nothing",
                where=f"pipelines.{name}",
                hint="a pipeline replaces the default of that name as a whole: copy that one and change it",
            )
        check_coarse(pipeline, f"pipelines.{name}")
    return settings


def check_coarse(pipeline: PipelineTable, where: str) -> None:
    """ConfigError unless the coarse ranker of `pipeline` lets something through, and knows its sources."""
    coarse, where = pipeline.coarse, f"{where}.coarse"
    if coarse == CoarseTable():
        return
    if coarse.keep < pipeline.limit:
        raise ConfigError(
            f"keep is {coarse.keep}: at least as many candidates must go on as a page has places, {pipeline.limit}",
            where=where,
            hint="keep = 100, or leave the table out to rank all candidates at once",
        )
    unknown = [name for name in coarse.always if name not in pipeline.sources]
    if unknown:
        raise ConfigError(
            f"there is no source {unknown[0]!r}",
            where=f"{where}.always",
            hint=f"there are: {', '.join(pipeline.sources)}",
        )


def convert(cls: type[T], value: Any, where: str) -> T:
    """`value` as `cls`, strictly: unknown keys and wrong types are ConfigErrors naming the key and what is allowed."""
    made: Any = _convert(cls, value, where)
    return typing.cast(T, made)


def _convert(cls: Any, value: Any, where: str) -> Any:
    if is_dataclass(cls) and isinstance(cls, type):
        if isinstance(value, cls):
            return value
        return _construct(cls, _table(value, where), where)
    origin = get_origin(cls)
    if origin in (typing.Union, python_types.UnionType):
        options = [each for each in get_args(cls) if each is not type(None)]
        if value is None or len(options) != 1:
            return value
        return _convert(options[0], value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = get_args(cls)[1]
        return {
            name: _convert(inner, each, f"{where}.{name}".lstrip(".")) for name, each in _table(value, where).items()
        }
    if origin is tuple and get_args(cls)[1:] == (...,):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"is {value!r}, expected a list", where=where)
        return tuple(_convert(get_args(cls)[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    if cls in (Any, Path) or origin is typing.Literal:
        if origin is typing.Literal and value not in get_args(cls):
            raise ConfigError(
                f"is {value!r}", where=where, hint=f"choose one of: {', '.join(map(repr, get_args(cls)))}"
            )
        return value
    if cls is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(cls, type) and not (isinstance(value, cls) and isinstance(value, bool) == (cls is bool)):
        try:
            return msgspec.convert(value, cls)
        except (msgspec.ValidationError, TypeError):
            raise ConfigError(f"is {value!r}, expected {cls.__name__}", where=where) from None
    return value


def _construct(cls: type[Any], table: Table, where: str) -> Any:
    check_keys(table, [each.name for each in fields(cls) if each.init], cls.__name__, where)
    hints = hints_of(cls)
    given = {name: _convert(hints[name], each, f"{where}.{name}".lstrip(".")) for name, each in table.items()}
    missing = [
        each.name
        for each in fields(cls)
        if each.default is MISSING and each.default_factory is MISSING and each.name not in given and each.init
    ]
    if missing:
        raise ConfigError(f"{cls.__name__} needs {', '.join(map(repr, missing))}", where=where)
    return cls(**given)


def check_keys(table: Table, allowed: Sequence[str], owner: str, where: str) -> None:
    """ConfigError for the first key of `table` that is not in `allowed`, with the nearest one that is."""
    for name in table:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"{owner} has no field {name!r} ({guess}it has: {', '.join(allowed)})", where=where or "the top level"
            )


def _table(value: Any, where: str) -> Table:
    if not isinstance(value, Mapping):
        raise ConfigError(f"is {value!r}, expected a table", where=where)
    return value


def _overridden(given: Table, environment: Mapping[str, str]) -> dict[str, Any]:
    """`given` with SHORTLIST__A__B=value laid over it; values are TOML, or text when they are not."""
    out = _copied(given)
    for name in sorted(environment):
        if not name.startswith("SHORTLIST__"):
            continue
        *sections, key = name.removeprefix("SHORTLIST__").lower().split("__")
        table = out
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{section!r} is not a table", where=f"environment {name}")
        try:
            table[key] = tomllib.loads(f"value = {environment[name]}")["value"]
        except tomllib.TOMLDecodeError:
            table[key] = environment[name]
    return out


def _copied(table: Table) -> dict[str, Any]:
    return {name: _copied(each) if isinstance(each, Mapping) else each for name, each in table.items()}


# names -> classes


def resolve(use: str, *, where: str = "", trust: Sequence[str] = ()) -> type[Any]:
    """The dataclass that `use` names: "models.als:Als" in this package, or "module:Class" in a trusted module."""
    module, _, name = use.partition(":")
    if not name or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ConfigError(f"use = {use!r} is not of the form 'models.als:Als'", where=where)
    if module.split(".")[0] in ROOMS:
        module = f"shortlist.{module}"
    elif not any(module == each or module.startswith(f"{each}.") for each in trust):
        raise ConfigError(
            f"use = {use!r} is neither in shortlist ({', '.join(ROOMS)}) nor in a trusted module",
            where=where,
            hint=f"to load it, put {module.split('.')[0]!r} into [releases] trust",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"use = {use!r} cannot be loaded ({error})", where=where) from error
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ConfigError(f"use = {use!r} is not a dataclass", where=where)
    return found


def use_path(cls: type[Any]) -> str:
    """The inverse of `resolve`."""
    return f"{cls.__module__.removeprefix('shortlist.')}:{cls.__qualname__}"


def hints_of(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, names resolved."""
    return get_type_hints(cls)


def store_roles(cls: Any) -> dict[str, str]:
    """Which fields of a dataclass are stores, by role: filled by the loader, skipped by publishing."""
    roles = {}
    for each in fields(cls):
        hint = hints_of(cls)[each.name]
        for option in get_args(hint) or (hint,):
            if isinstance(option, type) and option in ROLES:
                roles[each.name] = ROLES[option]
    return roles


@dataclass(frozen=True)
class Builder:
    """Turns tables of the configuration into components: `use` names a class, `model` a trained model, stores are put
    into the fields that ask for them, and whatever can learn is fitted by `fit` on the way."""

    models: Mapping[str, Any]
    stores: Mapping[str, object]
    fit: typing.Callable[[Any, str], Any]  # (component, where) -> the fitted component, or itself
    trust: Sequence[str] = ()

    def component(self, table: Table, where: str) -> Any:
        """The component that `table` describes; keys other than `use` and `model` are fields of its dataclass."""
        if "model" in table:
            check_keys(table, ["model"], "a model reference", where)
            name = table["model"]
            if name not in self.models:
                raise ConfigError(f"no model {name!r}", where=where, hint=f"trained models: {', '.join(self.models)}")
            return self.models[name]
        if "use" not in table:
            raise ConfigError("names neither `use` nor `model`", where=where, hint='use = "recall.popular:Popular"')
        cls = resolve(table["use"], where=where, trust=self.trust)
        roles = store_roles(cls)
        given = {name: self._value(each, f"{where}.{name}") for name, each in table.items() if name != "use"}
        allowed = [each.name for each in fields(cls) if each.init and each.name not in roles]
        check_keys(given, allowed, cls.__name__, where)
        injected = {name: self.stores[role] for name, role in roles.items() if role in self.stores}
        hints = hints_of(cls)
        typed = {
            name: each if name in self._built(table) else _convert(hints[name], each, f"{where}.{name}")
            for name, each in given.items()
        }
        try:
            made = cls(**typed, **injected)
        except TypeError as error:
            raise ConfigError(f"{cls.__name__}: {error}", where=where) from error
        return self.fit(made, where)

    def _value(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            if "use" in value or "model" in value:
                return self.component(value, where)
            return {name: self._value(each, f"{where}.{name}") for name, each in value.items()}
        if isinstance(value, list):
            return tuple(self._value(each, f"{where}[{i}]") for i, each in enumerate(value))
        return value

    @staticmethod
    def _built(table: Table) -> set[str]:
        """The keys whose values hold components, which are of their right type already."""

        def holds(value: Any) -> bool:
            if isinstance(value, Mapping):
                return "use" in value or "model" in value or any(map(holds, value.values()))
            return isinstance(value, list) and any(map(holds, value))

        return {name for name, value in table.items() if name != "use" and holds(value)}
