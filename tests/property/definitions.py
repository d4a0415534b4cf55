"""Functions and classes of random notebooks: blocks with slots, as in `templates`."""

from __future__ import annotations

DEFINITIONS = """
def <fname>(p):
    return p

def <fname>(p):
    return <data>

def <fname>(p):
    p.append(<lit>)
    return p

def <fname>(p):
    <list>.append(p)
    return len(<list>)

def <fname>(p):
    <list>.append(<lit>)

def <fname>(p, q=<data>):
    return [p, q]

def <fname>(p, q=<mutable>):
    q.append(p)
    return q

def <fname>(p, q=[]):
    q.append(p)
    return q

def <fname>(p=None):
    global <int>
    <int> += 1
    return <int>

def <fname>(p=None):
    global <new>
    <new> = p

def <fname>(p):
    <list> = [p]
    <list>.append(<lit>)
    return <list>

def <fname>(p):
    if p:
        <list>.append(<lit>)
        return <list>
    return p

def <fname>(p):
    return <function>(p)

def <fname>(p):
    <dict>["n"] = p
    return <dict>

def <fname>(p=None):
    return <any>

def <fname>(*args, **kwargs):
    args[0].append(<lit>)
    return args

def <fname>(p, q=None):
    return [p(q), q]

def <fname>(p=0):
    n = p
    items = []
    def inner(x):
        nonlocal n
        n += 1
        items.append(x)
        return [n, items]
    return inner

def <fname>(p):
    def inner(*a):
        <list>.append("called")
        return p(*a)
    return inner

@<function>
def <fname>(p):
    return [p, <data>]

def <fname>(p):
    for i in p:
        <list>.append(i)
        yield i

def <fname>(p):
    p = list(p)
    p.append(<lit>)
    return p

def <fname>(p):
    p[0] = <lit>
    p += [<lit>]
    return p

def <fname>(p):
    q = p
    q.append(<lit>)

def <fname>(p):
    <object>.add(p)
    return <object>

def <fname>(p, n=3):
    return p if n < 1 else <fname>([p], n - 1)

<fname> = lambda p: [p, <data>]

<fname> = lambda p, q=<mutable>: [p, q]

<fname> = lambda p: <list>.append(p)

class <cname>:
    count = 0
    items = []
    def __init__(self, v):
        self.v = v
        <cname>.count += 1
    def add(self, x):
        self.v = [self.v, x]
        return self
    def __repr__(self):
        return f"<cname>({self.v})"

class <cname>:
    count = <int>
    items = <list>
    def __init__(self, v):
        self.v = v
    def add(self, x):
        self.items.append(x)
        return self.v
    def get(self):
        return self
    def __len__(self):
        self.v = [1]
        return 1
    def __repr__(self):
        return f"<cname>({self.v}, {self.items})"

class <cname>:
    count = 1
    items = []
    def __init__(self, v=None):
        self.v = [v]
    def add(self, x):
        self.v.append(x)
        <list>.append(x)
    def get(self):
        return self.v
    def __add__(self, other):
        self.v.append(other)
        return self
    def __iadd__(self, other):
        self.v.append(other)
        return self
    def __setitem__(self, key, value):
        self.v = [key, value]
    def __call__(self, x):
        self.v.append(x)
        return self.v
    def __repr__(self):
        return f"<cname><{self.v}>"

class <cname>(<class>):
    def add(self, x):
        self.w = x
        return self

@lru_cache
def <fname>(p=0):
    return [p]

@lru_cache(maxsize=None)
def <fname>(p=0):
    return <int>

def <fname>(p=None):
    global <list>
    <list> = [p, *<list>]

def <fname>(p):
    try:
        p.append(<lit>)
        return p[99]
    except IndexError:
        return <list>
    finally:
        <list>.append(<lit>)

def <fname>(p=None):
    def outer():
        nonlocal p
        p = [p]
        return p
    outer()
    return outer

def <fname>(fn=str):
    @wraps(fn)
    def inner(*args, **kwargs):
        <list>.append(fn.__name__)
        return fn(*args, **kwargs)
    return inner

@contextmanager
def <fname>(p=None):
    <list>.append(<lit>)
    yield <list>
    <list>.append(p)

def <fname>(p=None, *, q=<list>, **kw):
    q.extend(kw.values())
    return q

def <fname>(p=None):
    yield p
    yield from <list>

def <fname>(p):
    match p:
        case [x, *rest]:
            rest.append(x)
            return rest
        case {"k": x}:
            return x
        case _:
            return <data>

def <fname>(p=None):
    return [y for x in <list> if (y := x)] + [p]

def <fname>(p=None):
    <fname>.note = [p]
    return <fname>.note

class <cname>:
    __slots__ = ("v", "w")
    def __init__(self, v=None):
        self.v = v
    def add(self, x):
        self.w = x
        return self.v
    def __repr__(self):
        return f"<cname>({self.v}, {getattr(self, 'w', 0)})"

class <cname>:
    count = 0
    items = <list>
    def __init__(self, v=None):
        self._v = v
    @property
    def v(self):
        <cname>.count += 1
        return self._v
    @v.setter
    def v(self, value):
        self.items.append(value)
        self._v = value
    def add(self, x):
        self.v = x
        return self
    @classmethod
    def make(cls, v):
        cls.count += 1
        return cls(v)
    @staticmethod
    def twice(x):
        return [x, x]
    def __repr__(self):
        return f"<cname>({self._v})"

class <cname>(<class>):
    def __init__(self, v=None):
        super().__init__(v)
        self.w = [v]
    def add(self, x):
        self.w.append(x)
        return super().add(x)

@dataclass
class <cname>:
    v: object = None
    items: list = field(default_factory=list)
    def add(self, x):
        self.items.append(x)
        return self.items

class <cname>:
    def __init__(self, v=None):
        self.v = v
    def add(self, x):
        self.v = x
    def __eq__(self, other):
        return self.v == getattr(other, "v", None)
    def __iter__(self):
        yield from <list>
    def __enter__(self):
        <list>.append(<lit>)
        return self
    def __exit__(self, *error):
        self.v = <data>
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return <list>
    def __repr__(self):
        return f"<cname>({self.v})"
""".strip().split("\n\n")
