"""Statements of random notebooks, by what they do. `<list>` and the like are slots, see `generate.KINDS`.

`<new>` is a name to bind, `<any>` one that may be unbound, `<lit>` a small number; `<fname>` and `<cname>` name what a
block defines, `<body>` is a statement. In a block a slot has one filling throughout. Blank lines part the blocks.
"""

from __future__ import annotations

ASSIGNMENTS = """
<new> = <lit>
<new> = <int> + <lit>
<new> = <int> * <int> - <lit>
<new> = [<lit>, <int>]
<new> = [<list>, [<lit>]]
<new> = [[<lit>], [<int>], [<lit>]]
<new> = {"k": <data>, "m": <lit>}
<new> = {"k": [<lit>], "m": <list>}
<new> = (<data>, <data>)
<new> = <mutable>
<new> = <mutable>
<new> = <data>
<new> = <full>[0]
<new> = <full>[-1]
<new> = <nested>[0]
<new> = <list>[1:]
<new> = <list>[:]
<new> = <list> + [<mutable>]
<new> = [<mutable>] * 2
<new> = list(<list>)
<new> = sorted(<list>, key=str)
<new> = [i for i in <list>]
<new> = [i for i in <nested> if i]
<new> = {str(i): i for i in <list>}
<new> = <lists>["k"]
<new> = <dict>.get("k", <lit>)
<new> = <dict>.setdefault("n", [<lit>])
<new> = dict(<dict>)
<new> = {**<dict>, "n": <data>}
<new> = <list>.copy()
<new> = <full>.pop()
<new> = <data> or <data>
<new> = <data> if <int> > <lit> else <data>
<new>, <new> = <data>, <data>
<new>, *<new> = <full>
<new>, <new> = <tuple>
<new> = <new> = <mutable>
<new> = f"{<int>}-{<data>}"
<new> = str(<data>)
<new> = <str> + "x"
<new> = len(<list>) + <int>
<new> = (<new> := <mutable>)
<new> = {<lit>, <int>}
<new> = tuple(<list>)
<new> = <class>(<data>)
<new> = <object>.v
<new> = list(zip(<list>, <list>))
<new> = list(map(str, <list>))
<new> = next(iter(<full>))
<new> = [*<list>, <data>]
<new> = list(<dict>.values())
<new> = [(i, j) for i, j in <dict>.items()]
<new> = copy.copy(<mutable>)
<new> = copy.deepcopy(<mutable>)
<new>: list = [<int>]
<new> = <data>, [<mutable>]
""".strip().splitlines()

MUTATIONS = """
<list>.append(<data>)
<list>.append(<lit>)
<nested>[0].append(<lit>)
<nested>[-1].extend([<int>])
<list>.extend([<mutable>])
<list>.insert(0, <int>)
<full>[0] = <data>
<list>[:] = [<lit>]
<list>[0:0] = [<int>]
<list> += [<lit>]
<int> += <lit>
<int> -= <int>
<str> += "y"
<tuple> += (<lit>,)
del <full>[0]
<list>.reverse()
<list>.sort(key=str)
<dict>["k"] = <data>
<dict>["n"] = <mutable>
<lists>["k"].append(<lit>)
<lists>["k"] += [<int>]
<dict>.update(m=<data>)
<dict>.pop("k", None)
<dict> |= {"z": <lit>}
<set>.add(<lit>)
<object>.v = <data>
<object>.add(<lit>)
<object>.add(<data>)
<object>[<lit>] = <lit>
<object>.v.append(<lit>)
<class>.count += 1
<class>.items.append(<lit>)
<full>[0].v = <lit>
<list>.clear()
list.append(<list>, <lit>)
[i.append(<lit>) for i in <nested>]
<new> = [i.append(<lit>) for i in <nested>]
<list>.append(<list>)
setattr(<object>, "v", <mutable>)
<object> += <lit>
del <object>.v
""".strip().splitlines()

CALLS = """
<new> = <function>(<data>)
<new> = <function>(<data>)
<new> = <function>(<mutable>)
<new> = <function>(<list>)
<new> = <function>()
<new> = <function>(<function>, <data>)
<new> = <function>(<data>, <data>)
<new> = <function>(*<tuple>)
<new> = list(<function>(<list>))
<new> = [<function>(i) for i in <nested>]
<new> = list(map(<function>, <nested>))
<new> = <function>
<new> = [<function>, <data>]
<new> = <object>.add(<lit>)
<new> = <object>.add
<new> = <list>.append
<new> = <object>.get()
<new> = <object>(<lit>)
<new> = partial(<function>, <mutable>)
<new> = {"k": <function>}
<new> = <dict>["k"](<data>)
""".strip().splitlines()

PRINTS = """
print(<data>)
print(<mutable>)
print(<data>, <data>)
print(f"{<data>}|{len(<list>)}")
print(<mutable> is <mutable>)
print(<data> == <data>)
print(isinstance(<object>, <class>))
print(<class>.count, <class>.items)
print(sum(<ints>))
print("%s" % [<data>])
print(<int> in <list>)
print(len(<object>))
print(<object> + <lit>)
print(<object> == <data>, <object> in <list>)
print(<list>.index(<object>))
""".strip().splitlines()

FLOWS = """
if <int> > <lit>:
    <body>

if <list>:
    <body>
else:
    <body>

if <int> % 2:
    <body>
    <body>

if not <dict>:
    <body>

for <new> in <nested>:
    <new>.append(<lit>)

for i in <nested>:
    i.append(<lit>)

for i in range(<lit>):
    <body>

for i in <list>:
    <new> = <mutable>
    if i:
        break
    <new> = [<lit>]

for i in range(2):
    <body>
    if <int>:
        continue
    <body>

with suppress(KeyError, ZeroDivisionError):
    <body>
    <new> = <dict>["missing"]
    <body>

<new> = <int> and (<new> := <mutable>)

<new> = [<new> for <new> in <list> if (<new> := <mutable>)]

for <new> in list(<list>):
    <body>

for <new> in []:
    <body>

for i, j in <dict>.items():
    <new> = j

for i, j in enumerate(<nested>):
    j.append(i)

for i in (<list>, <list>):
    i.append(<lit>)

n = <lit>
while n > 0:
    n -= 1
    <body>

try:
    <body>
    <new> = 1 // 0
except ZeroDivisionError:
    <body>

try:
    <new> = <dict>["missing"]
except KeyError as <new>:
    <body>
else:
    <body>
finally:
    <body>

try:
    print("callable" if callable(<any>) else <any>)
except NameError:
    print("unbound")

with nullcontext(<mutable>) as <new>:
    <body>

match <data>:
    case [<new>, *_]:
        <body>
    case {"k": <new>}:
        <body>
    case _:
        <body>

del <any>

if <int> > <lit>:
    del <any>

exec("<new> = <lit>")

globals()["<new>"] = <mutable>

import math as mod
<new> = mod.floor(<int> / 2)

from math import floor as down
<new> = down(<int>)
""".strip().split("\n\n")

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
""".strip().split("\n\n")
