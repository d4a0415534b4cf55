"""The rows for PyTorch against PyTorch: calls are run, and what they change, draw, write and share is measured."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import measured
import pytest

torch = pytest.importorskip("torch")

SETUP = """\
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, WeightedRandomSampler, random_split
torch.manual_seed(0)
x = torch.randn(6, 3)
y = torch.randn(6, 1)
v = torch.ones(3)
labels = torch.tensor([0, 1, 0, 1, 0, 1])
arr = np.ones(3)
w = torch.ones(3, requires_grad=True)
net = nn.Linear(3, 1)
seq = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
drop = nn.Dropout(0.5)
mixed = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
resting = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
resting.eval()
norm = nn.BatchNorm1d(3)
lstm = nn.LSTM(3, 2)
mse = nn.MSELoss()
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
sched = torch.optim.lr_scheduler.StepLR(opt, 1)
loss = mse(net(x), y)
loss.backward()
again = mse(net(x), y)
own = (w * v).sum()
pred = seq(x)
data = TensorDataset(x, y)
loader = DataLoader(data, batch_size=2)
shuffled = DataLoader(data, batch_size=2, shuffle=True)
g = torch.Generator().manual_seed(1)
given = DataLoader(data, batch_size=2, shuffle=True, generator=g)
"""

EFFECTS = """
|| torch.tensor([1.0])
|| torch.zeros(2, 2)
|| torch.cat([x, x])
|| torch.stack([v, v])
|| torch.mean(x)
|| torch.max(x, dim=1)
|| torch.topk(v, 2)
|| torch.softmax(x, dim=1)
|| x.mean(dim=0)
|| x @ x.T
|| x.clone()
|| x.sum().item()
|| x.tolist()
|| x.argmax(dim=1)
|| (x > 0).float().mean()
|| x.size()
|| F.relu(x)
net,opt,sched,loss,again | | F.mse_loss(net(x), y)
|| F.cross_entropy(pred, labels)
|| F.one_hot(labels)
mse || mse(y, y)
|| nn.CrossEntropyLoss()(pred, labels)
|| sum(p.numel() for p in net.parameters())
|| [tuple(p.shape) for _, p in net.named_parameters()]
|| list(net.state_dict())
|| torch.allclose(v, v)
|| torch.from_numpy(arr)
|| torch.cuda.is_available()
|| TensorDataset(x, y)
|| DataLoader(data, batch_size=2, shuffle=True)
|| Subset(data, [0, 1])
|| len(loader)
|| data[0]
|| random_split(data, [4, 2], generator=torch.Generator().manual_seed(0))
|| torch.optim.Adam(net.parameters(), lr=0.01)
|| nn.ReLU()
|| nn.Dropout(0.5)
|| nn.BatchNorm1d(3)
|| nn.Sequential(net, nn.ReLU())
|| sched.get_last_lr()
| torch | torch.rand(2)
| torch | torch.randn(2, 2)
| torch | torch.randperm(4)
| torch | torch.rand_like(v)
| torch | nn.Linear(3, 2)
| torch | nn.Conv2d(1, 2, 3)
| torch | nn.LSTM(3, 2)
| torch | nn.Embedding(4, 2)
| torch | nn.MultiheadAttention(4, 2)
| torch | nn.TransformerEncoderLayer(4, 2)
| torch | F.dropout(x)
| torch | random_split(data, [4, 2])
| torch | [b for b in loader]
| torch | [b for b in shuffled]
| torch | next(iter(loader))
| torch | next(iter(shuffled))
| torch | torch.multinomial(v, 2)
g,given || torch.rand(2, generator=g)
g,given | | random_split(data, [4, 2], generator=g)
v || v.add_(1)
v || v.zero_()
v || v.clamp_(0, 0.5)
v | torch | v.normal_()
v || v.__setitem__(0, 5.0)
v || v.view(3, 1).fill_(7)
v || v[0:1].fill_(7)
v || torch.add(v, 1, out=v)
net,opt,sched,loss,again | | net.zero_grad()
net,opt,sched,loss,again | | opt.zero_grad()
net,opt,sched,loss,again | | opt.step()
net,opt,sched,loss,again | | again.backward()
net,opt,sched,loss,again | | nn.utils.clip_grad_norm_(net.parameters(), 0.1)
w,own | | own.backward()
seq,pred | | F.cross_entropy(pred, labels).backward()
net,opt,sched,loss,again | torch | nn.init.xavier_uniform_(net.weight)
net,opt,sched,loss,again | | nn.init.zeros_(net.bias)
net,opt,sched,loss,again | | net.load_state_dict(nn.Linear(3, 1).state_dict())
net,opt,sched,loss,again | | net.weight.data.fill_(0)
drop | torch | drop(x)
mixed | torch | mixed(x)
resting | | resting(x)
resting | | resting.train()
norm || norm(x)
mixed || mixed.eval()
net,opt,sched,loss,again | | net.requires_grad_(False)
opt,sched,net,loss,again | | (opt.step(), sched.step())
| | torch.save(v, "v.pt")
| | torch.save(net.state_dict(), "net.pt")
"""

OVER = {
    "net.load_state_dict(nn.Linear(3, 1).state_dict())": {"torch"},
}

SHARING = """
arr | torch.from_numpy(arr)
arr | torch.as_tensor(arr)
v | v.numpy()
v | v.view(3, 1)
v | v[0]
v | v.detach()
v | v.to("cpu")
x | x.T
x | torch.split(x, 2)
x | x.unbind()
x | data[0]
x | TensorDataset(x, y)
x | random_split(data, [4, 2])[0]
net | net.weight
net | net.state_dict()
net | list(net.parameters())
net | nn.Sequential(net, nn.ReLU())
net | torch.optim.SGD(net.parameters(), lr=0.1)
net | net.train()
net | net(x)
opt | opt.param_groups
opt | torch.optim.lr_scheduler.StepLR(opt, 1)
w | w * v
w | (w * v).sum()
"""

APART = """
x | net(x)
x | [b for b in loader]
y | mse(net(x), y)
v | torch.cat([v, v])
v | v + 1
v | v.clone()
x | F.relu(x)
"""


def _digest(value: Any) -> bytes:
    """Numbers, gradients and settings of what PyTorch makes; arrays."""
    import numpy as np

    if isinstance(value, torch.Tensor):
        grad = b"" if not value.is_leaf or value.grad is None else value.grad.numpy().tobytes()
        return bytes(value.detach().numpy().tobytes()) + grad + str(value.requires_grad).encode()
    if isinstance(value, torch.nn.Module):
        parts = [*value.parameters(), *value.buffers()]
        return b"".join(map(_digest, parts)) + str([m.training for m in value.modules()]).encode()
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().numpy().tobytes())
    if isinstance(value, (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)):
        state = io.BytesIO()
        torch.save(value.state_dict(), state)
        return state.getvalue()
    return value.tobytes() if isinstance(value, np.ndarray) else b""


LIBRARY = measured.Library(SETUP, _digest, {"torch": lambda: torch.get_rng_state().numpy().tobytes()})


@pytest.mark.parametrize(("names", "drawn", "expression"), measured.rows(EFFECTS), ids=lambda v: str(v)[:60])
def test_effects(names: frozenset[str], drawn: frozenset[str], expression: str, tmp_path: Path) -> None:
    names = frozenset(",".join(names).split(",")) - {""}
    seen, _ = LIBRARY.measured(expression, tmp_path)
    said, _, _ = LIBRARY.said(expression)
    assert seen.drawn - OVER.get(expression, set()) == drawn
    assert said.drawn - OVER.get(expression, set()) == drawn
    assert seen.changed <= said.changed == names
    assert said.written == seen.written


@pytest.mark.parametrize(("name", "expression"), [line.split(" | ") for line in SHARING.strip().splitlines()])
def test_sharing(name: str, expression: str) -> None:
    assert name in LIBRARY.said(expression)[1]


@pytest.mark.parametrize(("name", "expression"), [line.split(" | ") for line in APART.strip().splitlines()])
def test_apart(name: str, expression: str) -> None:
    assert name not in LIBRARY.said(expression)[1]
