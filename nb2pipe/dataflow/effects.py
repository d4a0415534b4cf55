"""What a call does to its receiver and arguments: by a row of an effect table, or, without one, the worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from nb2pipe.dataflow.contents import each_of, keys_of, rows
from nb2pipe.dataflow.events import Place
from nb2pipe.dataflow.filecalls import in_memory
from nb2pipe.dataflow.machine import Machine
from nb2pipe.dataflow.paths import ANYTHING, concatenated, is_name, with_suffix
from nb2pipe.dataflow.properties import run_properties
from nb2pipe.dataflow.scopes import arguments
from nb2pipe.dataflow.shown import note_text
from nb2pipe.dataflow.special import run_overrides, touch
from nb2pipe.dataflow.sql import pasted, table_path, tables_of
from nb2pipe.dataflow.summaries import call_function
from nb2pipe.dataflow.tables import SELF, Draw, Effect, FileUse
from nb2pipe.dataflow.values import ARRAYS, IMMUTABLE, Val, join, typed

Keywords = Mapping[str | None, Val]


def elements(m: Machine, val: Val) -> Val:
    """What iterating over a value gives."""
    if val.items is not None:
        return join(val.items)
    if val.type in IMMUTABLE:
        return typed("builtins.int") if val.type == "builtins.range" else Val()
    each = each_of(m, val) or keys_of(m, val)
    if each is not None:
        return each
    special = touch(m, [val], m.place)
    if special.objs:
        return Val(objs=special.objs | m.heap.elements(val.objs | special.objs))
    known = m.tables.method(val.type, "__iter__") if val.type else None
    if known is not None:
        return apply_effect(m, known, val, [], {}, m.place)
    return inside(m, val)


_WITH_VIEWS = ("numpy.", "pandas.", "torch.", "tensorflow.", "scipy.", "polars.", "pyarrow.", "jax.", "cupy.")
"""Libraries whose items and attributes may share the memory of what they are taken from."""


def has_views(type_name: str | None) -> bool:
    """Whether parts of such a value may share its memory: not under pandas 3, which copies on write."""
    if (type_name or "").startswith("pandas."):
        return not _pandas_copies()
    return (type_name or "").startswith(_WITH_VIEWS)


@cache
def _pandas_copies() -> bool:
    from importlib import metadata

    try:
        return int(metadata.version("pandas").partition(".")[0]) >= 3
    except (metadata.PackageNotFoundError, ValueError):
        return False


def inside(m: Machine, val: Val) -> Val:
    """What an item or attribute may be when no row says more: a part, or something that shares the value's memory."""
    parts = m.heap.elements(val.objs)
    if not has_views(val.type) or not val.objs:
        return Val(objs=parts, type=_of_one_type(m, val.objs, parts))
    return Val(objs=parts | {_sharing(m, None, val.objs)})


def _of_one_type(m: Machine, objs: frozenset[int], parts: frozenset[int]) -> str | None:
    """The type of what is in lists that were made of values of one type."""
    made = [mark.partition(":")[2] for o in objs for mark in m.heap.objs[o].marks if mark.startswith("each:")]
    types = {*made, *(m.heap.objs[p].type for p in parts)}
    return made[0] if len(made) == len(objs) and len(types) == 1 else None


def _sharing(m: Machine, type_name: str | None, bases: frozenset[int]) -> int:
    """A fresh object that shares memory with `bases`, and so does whatever it holds."""
    made = m.heap.new(type_name, opaque=True)
    m.heap.objs[made].element = made
    for base in bases:
        m.heap.view(made, base)
    return made


def namespace_of(m: Machine, val: Val) -> Val:
    """`vars(x)`: a dict of what `x` holds; what changes one changes the other, but they are stored apart."""
    made = _sharing(m, "builtins.dict", val.objs)
    m.heap.objs[made].marks = frozenset(["namespace"])
    for part in m.heap.elements(val.objs):
        m.heap.hold(made, part)
    return Val(frozenset([made]), "builtins.dict")


def apply_effect(m: Machine, effect: Effect, receiver: Val, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """Do what a table's row says; the value of the call."""
    if effect.cases:
        effect = effect.given(
            args[0].type if args else None, [*(["positional"] if args else ()), *_given_words(keywords)]
        )
    if not effect.files:
        m.record.texts += _names([*args, *keywords.values()])
    if effect.unknown:
        _channels(m, effect, keywords, place)
        return unknown_call(m, receiver, args, keywords, place)
    _mutations(m, effect, receiver, args, keywords, place)
    _channels(m, effect, keywords, place)
    _files(m, effect, receiver, args, keywords, place)
    _tables(m, effect, receiver, args, keywords, place)
    everything = [receiver, *args, *keywords.values()]
    touch(m, everything, place)
    _shows(m, effect, everything, place)
    m.draw(drawn_by(m, everything, used=False), place)
    results = call_back(m, everything, place)
    if effect.keeps or _holds_some(m, receiver, effect.keeps_with):
        _keep(m, receiver, [*args, *keywords.values()])
    return _value(m, effect, receiver, args, keywords, results)


def _given_words(keywords: Keywords) -> list[str]:
    """`NAME=` for each keyword argument that is given, `NAME=None` for one that may be None or a list."""
    given = [f"{n}=" for n, v in keywords.items() if not v.is_const or v.const not in (None, False)]
    return given + [f"{n}=None" for n, v in keywords.items() if not isinstance(v.const, (str, int))]


def _shows(m: Machine, effect: Effect, values: list[Val], place: Place) -> None:
    """Text made of a library's values depends on that library's display options."""
    if effect.shows:
        show(m, values, place)


def show(m: Machine, values: list[Val], place: Place) -> None:
    """Note that values are turned into text."""
    for val in values:
        note_text(m, val, place)
        if val.objs or val.type is None:
            root = (val.type or "?").partition(".")[0]
            if root != "builtins":
                m.channel("text of:" + root, "use", place)


def _at(place: int | str, receiver: Val, args: list[Val], keywords: Keywords) -> Val | None:
    if place == SELF:
        return receiver
    if isinstance(place, str):
        return keywords.get(place)
    if place < len(args):
        return args[place]
    return join(list(keywords.values())) if keywords else None


def _mutations(m: Machine, effect: Effect, receiver: Val, args: list[Val], keywords: Keywords, place: Place) -> None:
    for where in effect.mutates:
        val = _at(where, receiver, args, keywords)
        if val is not None:
            (m.patch if val.defs else m.mutate)(val.objs, place)
            if isinstance(where, str):
                m.use_parts(val.objs, place)
    if effect.retunes is not None:
        tuned = _at(effect.retunes, receiver, args, keywords) or Val()
        m.retune(tuned.objs, _settings(effect, args, keywords, m))
    if effect.wakes:
        m.wake(receiver.objs)
    if effect.rests and not m.maybe:
        m.mark(receiver.objs, "rests")
    if effect.learns:
        m.mark(receiver.objs, "learns")
    for number in effect.mutates_parts_of:
        m.use_parts((_at(number, receiver, args, keywords) or Val()).objs, place)
    for whose in effect.uses_parts_of:
        m.use_copies((_at(whose, receiver, args, keywords) or Val()).objs, place)
    twins = _at(effect.twins, receiver, args, keywords) if effect.twins is not None else None
    if twins is not None:
        m.record.compared |= m.heap.reach(twins.objs) - twins.objs
    if effect.mutates_parts:
        m.use_parts(receiver.objs, place, resting=effect.at_rest)
        if not effect.at_rest:
            run_overrides(m, receiver, place)
    inplace = keywords.get("inplace", keywords.get(None))
    if effect.inplace and inplace is not None and inplace.const is not False:
        m.mutate(receiver.objs, place)
    if effect.inplace and _uncopied(keywords) and args:
        m.mutate(args[0].objs, place)
    for written in _outputs(effect, args, keywords):
        m.mutate(written.objs, place)


def _outputs(effect: Effect, args: list[Val], keywords: Keywords) -> list[Val]:
    """What a call is told to write its result into."""
    placed = args[effect.out : effect.out + 1] if effect.out is not None else []
    return [v for v in [*placed, keywords.get("out", Val())] if v.objs]


def _channels(m: Machine, effect: Effect, keywords: Keywords, place: Place) -> None:
    for generator in effect.seeds:
        m.channel("random:" + generator, "seed", place)
    for generator in _drawn(m, effect.draws, keywords):
        m.channel("random:" + generator, "draw", place)
    for generator in _drawn(m, effect.advances, keywords):
        m.channel("random:" + generator, "advance", place)
    for channel in effect.uses:
        m.channel(channel, "use", place)
    for channel in effect.sets:
        m.channel(channel, "set", place)
    if effect.external:
        m.channel("external", "set", place)


def _drawn(m: Machine, draws: tuple[Draw, ...], keywords: Keywords) -> list[str]:
    """The global generators that a call draws from; one that is given instead changes."""
    found = []
    for draw in draws:
        given = _seeds(draw, keywords)
        for val in given:
            m.mutate(val.objs, m.place)
        if all(val.ref == "numpy.random" for val in given) and _asked(draw, keywords):
            found.append(draw.generator)
    return found


def _seeds(draw: Draw, keywords: Keywords) -> list[Val]:
    """The generators and seeds that a call is given."""
    return [v for n in draw.unless.names if (v := keywords.get(n)) is not None and v.const is not None]


def _settings(effect: Effect, args: list[Val], keywords: Keywords, m: Machine) -> frozenset[str | None]:
    """The settings that a call changes, by their names in the model that has them; None: any."""
    if effect.retunes == SELF:
        return frozenset(name and name.rpartition("__")[2] for name in keywords)
    grids = [*args[1:2], *(keywords[n] for n in ("param_grid", "param_distributions") if n in keywords)]
    names: set[str | None] = set()
    for grid in grids:
        known = m.heap.known(grid.objs) or []
        several = [k.items for k in known if grid.type == "builtins.dict"]
        names |= {str(key).rpartition("__")[2] for items in several for key in items or ()} if several else {None}
    return frozenset(names)


def _asked(draw: Draw, keywords: Keywords) -> bool:
    given = [keywords[name] for name in (*draw.when.names, None) if name in keywords]
    if draw.when.names and not any(_is_on(val, draw.when.words) for val in given):
        return False
    return not any(_is_off(keywords[name], draw.but.words) for name in draw.but.names if name in keywords)


def _is_on(val: Val, words: tuple[str, ...]) -> bool:
    """Whether a setting may be on, or one of the words."""
    if not val.is_const:
        return True
    return val.const in words if words else not (val.const is None or (val.const == 0 and val.type != "builtins.str"))


def _is_off(val: Val, words: tuple[str, ...]) -> bool:
    """Whether a setting is off, or one of the words."""
    return val.is_const and (val.const in words if words else val.const is False)


def _files(m: Machine, effect: Effect, receiver: Val, args: list[Val], keywords: Keywords, place: Place) -> None:
    named = {use for use, where in effect.files if isinstance(where, str)}
    known = [
        (use, path)
        for use, where in effect.files
        if not (use in named and isinstance(where, int) and where >= len(args))
        and (path := _at(where, receiver, args, keywords)) is not None
    ]
    for use, path in ((use, path) for use, given in known for path in _paths(m, given)):
        if not in_memory(path):
            whole = _as_written(effect, path, keywords) if use == "write" or effect.shards else path
            for one in _uses(use, keywords):
                m.file(one, whole, place, takes_urls=effect.takes_urls)
    if effect.or_here and not known:
        m.file(effect.files[0][0], Val(const="."), place)


def _tables(m: Machine, effect: Effect, receiver: Val, args: list[Val], keywords: Keywords, place: Place) -> None:
    """Tables of a database are followed like files; the steps keep their order where a name is not known."""
    for use, where in effect.tables:
        named = _at(where, receiver, args, keywords) if not isinstance(where, int) or where < len(args) else None
        text = named.const if named is not None and isinstance(named.const, str) else ""
        dataset = keywords["dataset"].const if "dataset" in keywords else None
        if text and isinstance(dataset, str) and use != "query" and not set(". ") & set(text):
            text = concatenated(concatenated(dataset, "."), text)
        for name in pasted(text) if use == "query" else ():
            m.say("pasted-into-sql", f"the parameter {name} is pasted into the text of a query", place, name)
        path = table_path(text)
        known: Iterable[tuple[FileUse, str]] = [("write" if use == "write" else "read", path)] if path else []
        for event, table in tables_of(text) if use == "query" or " " in text.strip() else known:
            m.file(event, Val(const=table), place)


def _uses(use: FileUse, keywords: Keywords) -> list[FileUse]:
    """What is done with a file: one that is appended to is there before, an array mapped for writing changes it."""
    mode, mapped = keywords.get("mode"), keywords.get("mmap_mode")
    if use == "write" and mode is not None and not (type(mode.const) is str and mode.const[:1] in ("w", "x")):
        return ["probe", "write"]
    if use == "read" and mapped is not None and mapped.const not in (None, "r", "c"):
        return ["read", "write"]
    return [use]


def _paths(m: Machine, given: Val) -> list[Val]:
    """The paths that an argument gives: one, or those of a list or tuple."""
    if isinstance(given.const, str):
        return [given]
    each = each_of(m, given)
    return rows(m, given) or [given] if each is None else [each]


def _as_written(effect: Effect, path: Val, keywords: Keywords) -> Val:
    if effect.shards and isinstance(path.const, str):
        whole = "shard_name_template" in keywords and keywords["shard_name_template"].const == ""
        suffix = keywords.get("file_name_suffix", Val(const="")).const
        rest = suffix if whole and isinstance(suffix, str) else ANYTHING
        return replace(path, const=concatenated(path.const, rest))
    if not effect.suffix or not isinstance(path.const, str):
        return path
    return replace(path, const=with_suffix(path.const, effect.suffix, only_without=effect.suffix_if_none))


def _holds_some(m: Machine, holder: Val, prefixes: tuple[str, ...]) -> bool:
    if not prefixes:
        return False
    types = [m.heap.objs[o].type for o in m.heap.reach(holder.objs)]
    return any(t is None or t.startswith(prefixes) for t in types)


def _keep(m: Machine, holder: Val, kept: list[Val]) -> None:
    unknown = m.heap.given(o for o in holder.objs if m.heap.objs[o].hub)  # it may be any of what it was given
    for index in holder.objs | unknown:
        for val in kept:
            for part in val.objs | m.heap.elements(val.objs):
                m.heap.hold(index, part)


def _value(m: Machine, effect: Effect, receiver: Val, args: list[Val], keywords: Keywords, results: list[Val]) -> Val:
    if effect.splits:
        return _split(m, args)
    everything = [receiver, *args, *keywords.values()]
    written = _outputs(effect, args, keywords)
    if written:
        return join([*written, *(Val(objs=m.heap.elements(v.objs)) for v in written if v.type == "builtins.tuple")])
    if effect.scalar or (effect.elementwise and not any(v.objs for v in everything)):
        return Val()
    found: list[Val] = []
    if effect.returns_self:
        found.append(receiver)
    found += [v for n in effect.returns_args if (v := _at(n, receiver, args, keywords)) is not None]
    for where in effect.parts_of:
        whole = _at(where, receiver, args, keywords) or Val()
        # What iterating over the receiver gives may be what this very row describes.
        parts = m.heap.elements(whole.objs)
        found.append(Val(parts, _of_one_type(m, whole.objs, parts)) if where == SELF else elements(m, whole))
    if effect.inplace and "inplace" in keywords and keywords["inplace"].const is True:
        return Val(type="builtins.NoneType", const=None)
    if found and effect.view is None and effect.returns is None:
        return join(found)
    held = frozenset().union(*(v.objs for v in [*args, *keywords.values()])) if effect.holds else frozenset()
    held |= frozenset().union(*(r.objs for r in results)) if results and not effect.apart else frozenset()
    if effect.holds_self:
        held |= receiver.objs
    if effect.gathers:
        gathered = m.heap.elements(receiver.objs) if effect.gathers_all else _held(m, receiver.objs)
        held |= m.fresh("builtins.tuple", gathered).objs if effect.rows else gathered
    for where, depth in effect.copies:
        held |= _copied(m, _at(where, receiver, args, keywords), depth, _of_objects(keywords))
    return join([*found, _fresh(m, effect, receiver, args, keywords, held)])


def _held(m: Machine, objs: frozenset[int]) -> frozenset[int]:
    """What `objs` hold, but not what shares their memory: a copy does not hold that."""
    sharing = m.heap.sharing(objs)
    of_themselves = {i for i in sharing if m.heap.objs[i].element == i}
    return m.heap.elements(sharing) - of_themselves


def _copied(m: Machine, source: Val | None, depth: int, of_objects: bool) -> frozenset[int]:
    objs = source.objs if source is not None else frozenset()
    for _ in range(depth):
        objs = _held(m, objs)
    if depth == 0 and of_objects:
        return frozenset(m.heap.reach(objs)) - objs
    return objs if depth else _leaves(m, objs)


def _of_objects(keywords: Keywords) -> bool:
    """Whether what is made may be an array of Python objects, which stay lists: `dtype=object`."""
    dtype = keywords.get("dtype", typed("builtins.NoneType"))
    known = dtype.type == "builtins.NoneType" or dtype.type == "numpy.dtype" or isinstance(dtype.const, str)
    return dtype.ref == "builtins.object" or dtype.const in ("object", "O") or (dtype.ref is None and not known)


_DISSOLVED = ("builtins.list", "builtins.tuple", *ARRAYS)


def _leaves(m: Machine, objs: frozenset[int]) -> frozenset[int]:
    """What lists of lists and arrays hold in the end."""
    seen: set[int] = set()
    todo = set(objs)
    found: set[int] = set()
    while todo:
        index = todo.pop()
        seen.add(index)
        if index in objs or m.heap.objs[index].type in _DISSOLVED:
            todo |= _held(m, frozenset([index])) - seen
        else:
            found.add(index)
    return frozenset(found)


def _copies(type_name: str) -> bool:
    return type_name.startswith("pandas.") and _pandas_copies()


def _kept_apart(type_name: str | None) -> bool:
    """Whether pandas 3 keeps what it makes apart from the frame: not arrays, and not what wraps a frame (a groupby)."""
    return type_name is None or type_name.startswith(("pandas.DataFrame", "pandas.Series", "pandas.Index"))


def _fresh(m: Machine, effect: Effect, receiver: Val, args: list[Val], keywords: Keywords, held: frozenset[int]) -> Val:
    type_name = _fresh_type(effect, receiver, args, keywords)
    if type_name in IMMUTABLE:
        return typed(str(type_name))
    base = _at(effect.view, receiver, args, keywords) if effect.view is not None else None
    bases = base.objs if base is not None else frozenset()
    if effect.view_items and base is not None and base.type in ("builtins.list", "builtins.tuple"):
        bases |= m.heap.elements(bases)
    if base is not None and base.type is not None and _copies(base.type) and _kept_apart(type_name):
        bases = frozenset()
    if _uncopied(keywords):
        bases = bases.union(receiver.objs, *(a.objs for a in args))
    items = [Val(frozenset([_sharing(m, t, bases)]), t) if t not in IMMUTABLE else typed(t) for t in effect.each]
    for part in held if items else ():
        for item in frozenset().union(*(i.objs for i in items)):
            m.heap.hold(item, part)
    held = held.union(*(i.objs for i in items))
    known = bool(effect.each) or effect.gathers or (type_name or "").startswith(_WITH_VIEWS)
    made = _sharing(m, type_name, bases) if bases else m.heap.new(type_name, opaque=not known)
    if not bases and _holds_itself(m, effect, type_name, receiver, args, keywords):
        for part in m.heap.elements([made]):
            m.heap.hold(part, made)
    for part in held:
        m.heap.hold(made, part)
    for owner in receiver.objs if effect.inside else ():
        m.heap.put_inside(made, owner)
    for part in keywords.get(effect.around, Val()).objs:
        m.heap.put_inside(part, made)
    marks = made_marks(m, effect, keywords) | drawn_by(m, [*args, *keywords.values()])
    if "requires_grad" in keywords and keywords["requires_grad"].const is not False:
        marks.add("learns")
    if effect.unstorable:
        marks.add("unstorable")
    if len(effect.each) == 1:
        marks.add("each:" + effect.each[0])
    if effect.like is not None:
        marks |= m.drawing((_at(effect.like, receiver, args, keywords) or Val()).objs)
    m.heap.objs[made].marks = frozenset(marks)
    result = Val(objs=frozenset([made]), type=type_name, items=tuple(items) if len(items) > 1 else None)
    return m.derived(result, [receiver, *args, *keywords.values()]) if type_name == "torch.Tensor" else result


def made_marks(m: Machine, effect: Effect, keywords: Keywords) -> set[str]:
    """The marks of what draws when it is used, of what a row makes: with these settings, or with others."""
    draws = (*effect.marks, *effect.draws) if effect.makes else effect.marks
    marks = {"draws:" + generator for generator in _drawn(m, draws, keywords)}
    advances = effect.advances if effect.makes else ()
    marks |= {
        f"retuned:{d.generator}:{'/'.join(d.when.names)}" for d in draws if d.when.names and not _seeds(d, keywords)
    }
    return marks | {"advances:" + generator for generator in _drawn(m, advances, keywords)}


def _holds_itself(
    m: Machine, effect: Effect, type_name: str | None, receiver: Val, args: list[Val], keywords: Keywords
) -> bool:
    """Whether items of items of what is made may be anything in it: the copy of what holds itself, rows of groups."""
    if effect.holds and type_name == "builtins.iterator":
        return True
    source = _at(effect.like, receiver, args, keywords) if effect.like is not None else None
    return source is not None and any(o in m.heap.reach(m.heap.objs[o].parts) for o in source.objs)


def _uncopied(keywords: Keywords) -> bool:
    return "copy" in keywords and keywords["copy"].const is not True


def _fresh_type(effect: Effect, receiver: Val, args: list[Val], keywords: Keywords) -> str | None:
    if effect.elementwise:
        return next((a.type for a in [receiver, *args] if a.type in ARRAYS), None)
    if effect.like is not None:
        like = _at(effect.like, receiver, args, keywords)
        return like.type if like is not None else None
    if effect.makes and effect.returns and _uncopied(keywords):
        return "uncopied." + effect.returns
    return effect.returns


def _split(m: Machine, args: list[Val]) -> Val:
    """train_test_split: two fresh parts of every argument, of its type."""
    items = tuple(m.fresh(a.type) for a in args for _ in range(2))
    parts = frozenset().union(*(i.objs for i in items)) if items else frozenset()
    return Val(frozenset([m.heap.new("builtins.list", parts)]), "builtins.list", items=items)


def call_back(m: Machine, values: list[Val], place: Place) -> list[Val]:
    """Functions of the notebook among the arguments may be called with whatever the other arguments hold."""
    functions = [d for v in values for d in v.defs if not hasattr(d.node, "bases")]
    getters = any(v.type == "operator.attrgetter" for v in values)
    if not functions and not getters:
        return []
    others = frozenset().union(*(v.objs for v in values if not v.defs))
    given = Val(objs=others | m.heap.elements(others))
    read = run_properties(m, given, None, "get", place) if getters else None
    results = [read] if read is not None else []
    for made in functions:
        names = arguments(made.node.args)  # type: ignore[union-attr]
        own = frozenset().union(*(v.objs for v in values if made in v.defs))
        with m.perhaps():
            results.append(call_function(m, made, [given] * len(names), {}, place, own))
    return results


def drawn_by(m: Machine, values: Iterable[Val], *, used: bool = True) -> set[str]:
    """The marks of what draws, of functions and classes of libraries among the values: they may be called.

    `used`: and what a class makes may be used."""
    rows = [row for v in values if v.ref and not v.defs and (row := m.tables.function(v.ref)) is not None]
    draws = [d for row in rows for d in (*row.draws, *(row.marks if used else ()))]
    marks = {"draws:" + generator for generator in _drawn(m, tuple(draws), {})}
    return marks | {"advances:" + generator for row in rows for generator in _drawn(m, row.advances, {})}


def _names(values: Iterable[Val]) -> list[str]:
    """The texts among arguments that may be the path of a file."""
    return [v.const for v in values if isinstance(v.const, str) and is_name(v.const)]


def unknown_call(m: Machine, callee: Val, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A call of which nothing is known: it may change, keep and return everything that it is given."""
    m.record.unknown_calls.append(place)
    m.record.called |= callee.objs
    values = [callee, *args, *keywords.values()]
    m.draw(drawn_by(m, values), place)
    results = call_back(m, values, place)
    touch(m, values, place)
    given = frozenset().union(*(v.objs for v in values))
    for index in sorted(m.heap.reach(given)):
        if index in m.heap.defined:
            m.shared.mention(m, Val(frozenset([index]), defs=(m.heap.defined[index],)), place)
    m.draw({mark.replace("draws:", "advances:") for mark in m.drawing(given)}, place)
    m.mutate(given, place, deep=True)
    m.record.mentions += [(text, place) for text in _names(values[1:])]
    return m.unknown(given.union(*(r.objs for r in results)))


def unknown_function(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A call of a library's function of which nothing is known: what it gives may look into arrays, too."""
    made = unknown_call(m, Val(), args, keywords, place)
    given = frozenset().union(*(v.objs for v in (*args, *keywords.values())))
    for base in (o for o in sorted(m.heap.reach(given)) if has_views(m.heap.objs[o].type)):
        for index in made.objs:
            m.heap.view(index, base)
    return made
