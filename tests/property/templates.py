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
<new> = [j for i in <nested> for j in i if j]
<new> = {i: [j for j in <list>] for i in range(<lit>)}
<new> = [(<new> := i) for i in <list>]
<new> = list(<dict>.keys())
<new> = sorted(<dict>.items(), key=str)
*<new>, <new> = <full>
<new>, (<new>, *<new>) = <lit>, <full>
<new> = deque(<list>, maxlen=4)
<new> = deque(<list>)
<new> = defaultdict(list, k=<list>)
<new> = dict(zip("km", (<data>, <mutable>)))
<new> = sorted(<nested>, key=lambda i: (len(i), <int>))
<new> = max(<nested>, key=len)
<new> = f"{<data>=}"
<new> = f"{<int>:>{<lit>}}"
<new> = "%s-%s" % (<int>, <data>)
<new> = "{} {}".format(<data>, <int>)
<new> = str(type(<data>))
<new> = <class>.__name__ + <function>.__qualname__
<new> = list(chain(<list>, <list>))
<new> = [list(i) for i in tee(<list>)]
<new> = [[k, list(g)] for k, g in groupby(<list>, key=str)]
<new> = reduce(lambda p, q: p + [q], <list>, <list>)
<new> = vars(<object>)
<new> = type(<object>)(<data>)
<new> = getattr(<object>, "w", <mutable>)
<new> = <list>[::-1]
<new> = <list> * 2
<new> = list(filter(None, <list>))
<new> = <function>.__defaults__
<new> = <queue>
<new> = <object>
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
<full>[-1:] = [<data>]
<list>[1:1] = <list>
<object>.v += <lit>
<object>.w = <object>
<class>.extra = <data>
<class>.items = <list>
<class>.items += [<lit>]
setattr(<class>, "count", <int>)
del <class>.count
<class>.get = lambda self: [self.v]
<function>.note = <mutable>
<dict>.setdefault("k", []).append(<lit>)
<queue>.append(<data>)
<queue>.rotate(1)
<groups>["q"].append(<lit>)
<groups>["k"] += [<int>]
heapq.heappush(<ints>, <lit>)
heapq.heapify(<ints>)
<new> = heapq.heappop(<ints>)
vars(<object>)["v"] = <data>
<object>.__dict__.update(w=<data>)
object.__setattr__(<object>, "w", <mutable>)
<dict>.update(<dict>)
<dict>.popitem()
del <list>[:1]
<list>.remove(<data>)
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
<new> = <class>.make(<data>)
<new> = <object>.twice(<mutable>)
<new> = list(<object>)
<new> = <function>.note
<new> = partial(<function>, <data>)()
<new> = <function>(p=<data>)
<new> = <function>(<data>, x=<mutable>)
<new> = sorted(<nested>, key=<function>)
<new> = getattr(<object>, "add")(<lit>)
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

try:
    raise ValueError(<mutable>)
except ValueError as error:
    <new> = error.args[0]
finally:
    <body>

for <new>, *<new> in [<full>, <full>]:
    <body>

for i in <list>:
    <body>
else:
    <body>

match <data>:
    case int() | str() as <new>:
        <body>
    case (<new>, _):
        <body>
    case {"m": <new>, **rest}:
        rest["new"] = <lit>

it = iter(<list>)
<new> = [next(it, <lit>), *it]
del it

if (<new> := <mutable>) and <int>:
    <body>

makers = [lambda p, i=i: [p, i] for i in range(2)]
<new> = [maker(<mutable>) for maker in makers]

with <function>(<data>) as <new>:
    <body>

with <object> as <new>:
    <body>

for <new> in <function>(<list>):
    <body>

first, second = tee(<list>)
<new> = [next(first, 0), list(second)]
del first, second

<new> = <full>
while <new> and len(<new>) > 2:
    <new> = <new>[1:]
""".strip().split("\n\n")
