"""Calls that make paths and texts, and calls that open, make, list or rename files as no row of a table can say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from nb2pipe.dataflow.contents import remember_each
from nb2pipe.dataflow.events import WORKING_DIRECTORY, Place
from nb2pipe.dataflow.machine import Machine, Template
from nb2pipe.dataflow.paths import ANYTHING, concatenated, escaped, formatted, path_joined
from nb2pipe.dataflow.tables import FileUse
from nb2pipe.dataflow.values import Val, join, typed

Keywords = Mapping[str | None, Val]
Special = Callable[[Machine, list[Val], Keywords, Place], Val]


def plain_text(val: Val) -> str | None:
    """A text that is known without running the notebook, parameters included."""
    return val.const if isinstance(val.const, str) and not isinstance(val.const, Template) else None


# --- texts and paths ------------------------------------------------------------------------------------------------
_TEXT_METHODS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "strip": str.strip,
    "title": str.title,
}


def text_method(receiver: Val, name: str, args: list[Val]) -> Val | None:
    """Texts and paths that stay known."""
    if not receiver.is_const or not isinstance(receiver.const, str):
        return None
    if receiver.type == "pathlib.Path":
        return _path_method(receiver, name, args)
    if name == "format":
        return Val(type="builtins.str", const=formatted(receiver.const, percent=False))
    if name in _TEXT_METHODS and not args and not isinstance(receiver.const, Template):
        return Val(type="builtins.str", const=_TEXT_METHODS[name](receiver.const))
    return None


def _path_method(receiver: Val, name: str, args: list[Val]) -> Val | None:
    if name in ("with_suffix", "with_name") and args and isinstance(args[0].const, str):
        if not isinstance(receiver.const, Template):
            return Val(type="pathlib.Path", const=str(getattr(PurePosixPath(receiver.const), name)(args[0].const)))
    if name in ("resolve", "absolute", "expanduser", "as_posix"):
        return Val(type="builtins.str" if name == "as_posix" else "pathlib.Path", const=receiver.const)
    if name == "joinpath":
        return Val(type="pathlib.Path", const=path_joined([receiver.const, *map(_path_text, args)]))
    return None


def _join_paths(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    return Val(type="builtins.str", const=path_joined(map(_path_text, args)))


def _path_text(val: Val) -> str:
    return val.const if isinstance(val.const, str) else ANYTHING


def _path(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    return Val(type="pathlib.Path", const=path_joined(map(_path_text, args)) or ".")


def _absolute_path(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    m.channel(WORKING_DIRECTORY, "use", place)
    return _same_path(m, args, keywords, place)


def _same_path(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """abspath and its kin: the same file."""
    return Val(type="builtins.str", const=args[0].const) if args else typed("builtins.str")


def _working_folder(type_name: str) -> Special:
    """The folder that the process runs in: where relative paths start."""

    def build(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
        m.channel(WORKING_DIRECTORY, "use", place)
        return Val(type=type_name, const=".")

    return build


# --- files ---------------------------------------------------------------------------------------------------------
def _opened(type_name: str, *, takes_urls: bool = False) -> Special:
    """Opening a file: what the mode says is done with it, is done here and now."""

    def build(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
        mode = keywords.get("mode") or (args[1] if len(args) > 1 else None)
        text = "r" if mode is None else plain_text(mode) or "r+"
        path = args[0] if args else next((keywords[n] for n in _PATH_NAMES if n in keywords), Val())
        path = keywords.get("fileobj", path)
        if in_memory(path):
            m.mutate(path.objs, place)
            return _handle(m, type_name, path)
        if not set(text) & set("wxa"):
            m.file("read", path, place, takes_urls=takes_urls)
        if "a" in text:
            m.file("probe", path, place, takes_urls=takes_urls)
        if set(text) & set("wxa+"):
            m.file("write", path, place, takes_urls=takes_urls)
        return _handle(m, type_name, path)

    return build


def _handle(m: Machine, type_name: str, path: Val) -> Val:
    made = m.fresh(type_name, path.objs)
    for index in made.objs:
        m.heap.objs[index].marks = frozenset(["unstorable"])
    return made


def in_memory(val: Val) -> bool:
    """Whether a path argument is not a path but a value: a buffer, an open file (noted when opened), None."""
    buffers = ("io.StringIO", "io.BytesIO", "builtins.file", "builtins.NoneType")
    return val.type in buffers or (isinstance(val.const, str) and val.const == ":memory:")  # sqlite's own word


_PATH_NAMES = ("file", "name", "filename")
_open = _opened("builtins.file")
_open_url = _opened("builtins.file", takes_urls=True)


def _make_folder(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A folder is made; with `exist_ok` one that is there is as good."""
    path = args[0] if args else keywords.get("name", keywords.get("path", Val()))
    exist_ok = keywords.get("exist_ok", args[2] if len(args) > 2 else Val(const=False))
    asked = path.is_const and any(f.use == "probe" and f.path == path.const for f in m.record.files)
    makes: FileUse = "folder" if exist_ok.const is True or (asked and m.maybe) else "write"
    m.file(makes, path, place, certain=asked)  # `if not exists(x): mkdir(x)`: then it is there
    return Val(type="builtins.NoneType", const=None)


def _make_folders(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A folder is made, or is there already."""
    return _make_folder(m, args[:1], {**keywords, "exist_ok": Val(const=True)}, place)


_ARCHIVES = {"gztar": ".tar.gz", "bztar": ".tar.bz2", "xztar": ".tar.xz"}


def _make_archive(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """The archive's name ends as its format says."""
    given = dict(zip(("base_name", "format", "root_dir", "base_dir"), args, strict=False)) | dict(keywords)
    kind, base = given.get("format", Val()).const, given.get("base_name", Val()).const
    folder = [given[n].const for n in ("root_dir", "base_dir") if n in given and given[n].const is not None]
    known = all(isinstance(text, str) for text in folder)
    m.file("read", Val(const=path_joined(folder) if known and folder else None if folder else "."), place)
    if isinstance(kind, str) and isinstance(base, str):
        written = Val(type="builtins.str", const=concatenated(base, _ARCHIVES.get(kind, "." + kind)))
        m.file("write", written, place)
        return written
    m.file("write", Val(), place)
    return typed("builtins.str")


def _glob(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """The files that match a pattern, as a list of their paths."""
    root = keywords.get("root_dir")
    path = Val(const=path_joined([_path_text(root), *map(_path_text, args[:1])])) if root else join(args[:1])
    m.file("read", path, place)
    made = m.fresh("builtins.list")
    if isinstance(path.const, str) and root is None:
        remember_each(m, made, Val(type="builtins.str", const=_found(path.const)))
    return made


def _found(pattern: str) -> Template:
    """The path of a file that a pattern of `glob` finds."""
    text = pattern if isinstance(pattern, Template) else escaped(pattern)
    return Template(re.sub(r"(?<!\{)[*?]|\[.*?\]", ANYTHING, text))


def _latest_checkpoint(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """The path of a file in that folder, or None."""
    path = join([*args[:1], *keywords.values()][:1])
    m.file("read", path, place)
    return Val(type="builtins.str", const=path_joined([_path_text(path), ANYTHING]))


def _shelf(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """A database of which only the system knows how its files end."""
    path = Val(const=concatenated(_path_text(args[0]) if args else ANYTHING, ANYTHING))
    m.file("read", path, place)
    m.file("write", path, place)
    made = m.fresh("shelve.Shelf", opaque=True)
    for index in made.objs:
        m.heap.objs[index].marks = frozenset(["unstorable"])
    return made


def _path_mkdir(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    path, *rest = args
    return _make_folder(m, [path], {"exist_ok": rest[2]} if len(rest) > 2 else keywords, place)


def _path_glob(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    """`folder.glob(pattern)`: paths in the folder."""
    path = path_joined(t for a in args if (t := _path_text(a)) != ".") or "."
    m.file("read", Val(const=path), place)
    made = m.fresh("builtins.iterator")
    remember_each(m, made, Val(type="pathlib.Path", const=_found(path)))
    return made


def _path_rename(m: Machine, args: list[Val], keywords: Keywords, place: Place) -> Val:
    path, target = args[0], join([*args[1:2], *keywords.values()])
    m.file("remove", path, place)
    m.file("write", target, place)
    return Val(type="pathlib.Path", const=_path_text(target))


PATH_METHODS: dict[str, Special] = {
    "open": _open,
    "mkdir": _path_mkdir,
    **dict.fromkeys(["glob", "rglob"], _path_glob),
    **dict.fromkeys(["rename", "replace"], _path_rename),
}
"""Methods of paths, called with the path as first argument."""

FILE_CALLS: dict[str, Special] = {
    **dict.fromkeys(["builtins.open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open"], _open),
    **dict.fromkeys(
        ["fsspec.open", "smart_open.open", "smart_open.smart_open", "tensorflow.io.gfile.GFile"], _open_url
    ),
    "zipfile.ZipFile": _opened("zipfile.ZipFile"),
    **dict.fromkeys(["tarfile.open", "tarfile.TarFile.open"], _opened("tarfile.TarFile")),
    "h5py.File": _opened("h5py.File"),
    **dict.fromkeys(["shelve.open", "dbm.open"], _shelf),
    **dict.fromkeys(["os.makedirs", "os.mkdir"], _make_folder),
    **dict.fromkeys(["tensorflow.io.gfile.makedirs", "tensorflow.io.gfile.mkdir"], _make_folders),
    "shutil.make_archive": _make_archive,
    "tensorflow.train.latest_checkpoint": _latest_checkpoint,
    **dict.fromkeys(["glob.glob", "glob.iglob", "tensorflow.io.gfile.glob"], _glob),
    **dict.fromkeys(["os.path.join", "tensorflow.io.gfile.join"], _join_paths),
    **dict.fromkeys(["os.path.abspath", "os.path.realpath"], _absolute_path),
    **dict.fromkeys(["os.path.normpath", "os.fspath"], _same_path),
    "os.getcwd": _working_folder("builtins.str"),
    "pathlib.Path.cwd": _working_folder("pathlib.Path"),
    **dict.fromkeys(["pathlib.Path", "pathlib.PurePath"], _path),
}
"""Functions by their import path."""
