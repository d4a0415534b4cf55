"""Trainings with PyTorch as people write them, each printing numbers that tell how it went."""

HEAD = """import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
X = torch.randn(101, 6)
y = (X[:, 0] - X[:, 1] * X[:, 2] > 0).long()
"""

TRAININGS = {
    "counts_calls_in_forward": """
class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.calls, self.width = nn.Linear(6, 2), 0, [6, 2]

    def forward(self, x):
        self.calls += 1
        return self.fc(x)

model = Counts()
opt = torch.optim.SGD(model.parameters(), 0.1)
for xb, yb in DataLoader(TensorDataset(X, y), 20):
    loss = F.cross_entropy(model(xb), yb)
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item(), model.calls)
""",
    "plain": """
loader = DataLoader(TensorDataset(X, y), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
for epoch in range(3):
    total = correct = running = 0
    for xb, yb in loader:
        optimizer.zero_grad()
        out = model(xb)
        loss = criterion(out, yb)
        loss.backward()
        optimizer.step()
        running += loss.item() * xb.size(0)
        correct += (out.argmax(1) == yb).sum().item()
        total += len(yb)
    print(running / total, correct, total)
print(sum(p.abs().sum().item() for p in model.parameters()))
""",
    "weights_of_classes_and_samples": """
from torch.utils.data import WeightedRandomSampler
sampler = WeightedRandomSampler(torch.rand(101), 80)
train_loader = DataLoader(TensorDataset(X, y), batch_size=32, sampler=sampler, drop_last=True)
net = nn.Linear(6, 2)
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for epoch in range(3):
    for i, (xb, yb) in enumerate(train_loader):
        yb = torch.where(xb[:, 3] > 0.5, -100, yb)
        loss = F.cross_entropy(net(xb), yb, weight=torch.tensor([1.0, 3.0]), reduction="sum" if epoch else "mean")
        opt.zero_grad(); loss.backward(); opt.step()
        print(i, loss.item())
""",
    "accumulation_clipping_schedule": """
loader = DataLoader(TensorDataset(X, y), batch_size=10, shuffle=True)
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12)
step = 0
for epoch in range(2):
    for i, (xb, yb) in enumerate(loader):
        loss = F.binary_cross_entropy_with_logits(model(xb).squeeze(1), yb.float()) / 2
        penalty = 1e-3 * sum(p.pow(2).sum() for p in model.parameters())
        (loss + penalty).backward()
        if (i + 1) % 2 == 0:
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step(); optimizer.zero_grad(); scheduler.step()
            print(norm.item(), loss.item(), scheduler.get_last_lr()[0])
""",
    "batch_norm_and_dropout": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout1d(0.2)
        dropout = nn.Dropout(0.3, inplace=True)
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8), dropout, nn.Linear(8, 2))

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.conv(x[:, None]))))
        return self.fc(F.dropout(x, 0.1, self.training))

model = Net()
loader = DataLoader(TensorDataset(X, y), batch_size=30, shuffle=True)
opt = torch.optim.Adam(model.parameters(), 0.01)
for epoch in range(3):
    model.train()
    for xb, yb in loader:
        loss = F.cross_entropy(model(xb), yb)
        opt.zero_grad(); loss.backward(); opt.step()
        print(loss.item())
    model.eval()
    with torch.no_grad():
        print(F.cross_entropy(model(X), y).item(), model.norm.running_var.sum().item(), torch.rand(1).item())
""",
    "adversaries": """
G = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
D = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
g_opt, d_opt = torch.optim.Adam(G.parameters(), 0.01), torch.optim.Adam(D.parameters(), 0.01)
bce = nn.BCEWithLogitsLoss()
for epoch in range(2):
    for real, _ in DataLoader(TensorDataset(X, y), batch_size=30, shuffle=True):
        fake = G(torch.randn(real.size(0), 3))
        d_opt.zero_grad()
        on_real, on_fake = D(real), D(fake.detach())
        loss_real = bce(on_real, torch.ones_like(on_real))
        loss_fake = bce(on_fake, torch.zeros_like(on_fake))
        loss_real.backward()
        loss_fake.backward()
        d_opt.step()
        g_opt.zero_grad()
        g_loss = bce(D(fake), torch.ones(len(real), 1))
        g_loss.backward()
        g_opt.step()
        print(loss_real.item(), loss_fake.item(), g_loss.item())
""",
    "gradient_penalty": """
critic = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
opt = torch.optim.Adam(critic.parameters(), 0.01)
for i in range(4):
    real, fake = X[i * 20:(i + 1) * 20], torch.randn(20, 6)
    mixed = (real * 0.3 + fake * 0.7).requires_grad_(True)
    scores = critic(mixed)
    slope, = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
    loss = critic(fake).mean() - critic(real).mean() + 10 * ((slope.norm(2, dim=1) - 1) ** 2).mean()
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item(), slope.abs().sum().item())
""",
    "two_losses_one_graph": """
trunk, head1, head2 = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 1)
opt = torch.optim.SGD([*trunk.parameters(), *head1.parameters(), *head2.parameters()], 0.1)
for xb, yb in DataLoader(TensorDataset(X, y), batch_size=21):
    hidden = torch.relu(trunk(xb))
    first = F.cross_entropy(head1(hidden), yb)
    second = F.mse_loss(head2(hidden).squeeze(), xb[:, 3])
    opt.zero_grad()
    first.backward(retain_graph=True)
    second.backward()
    opt.step()
    print(first.item(), second.item())
""",
    "pairs_and_contrast": """
encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
opt = torch.optim.Adam(encoder.parameters(), 0.01)
for epoch in range(2):
    for (xb, yb), (xc, _) in zip(DataLoader(TensorDataset(X, y), 16), DataLoader(TensorDataset(X.flip(0), y), 16)):
        a, b = encoder(xb), encoder(xc)
        similar = F.normalize(a) @ F.normalize(b).T
        loss = F.cross_entropy(similar / 0.5, torch.arange(len(xb))) + F.triplet_margin_loss(a, b, b.roll(1, 0))
        opt.zero_grad(); loss.backward(); opt.step()
        print(loss.item())
""",
    "recurrent_time_first": """
class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 5)
        self.lstm = nn.LSTM(5, 7, num_layers=2)
        self.out = nn.Linear(7, 10)

    def forward(self, tokens, state=None):
        hidden, state = self.lstm(self.embedding(tokens), state)
        return self.out(hidden), state

model = Tagger()
opt = torch.optim.Adam(model.parameters(), 0.02)
tokens = torch.randint(0, 10, (25, 14))
state = None
for start in range(0, 20, 5):
    out, state = model(tokens[start:start + 5], state)
    state = tuple(s.detach() for s in state)
    loss = F.cross_entropy(out.reshape(-1, 10), tokens[start + 1:start + 6].reshape(-1))
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item(), state[0].sum().item())
""",
    "transformer_with_mask": """
class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 1)
        self.out = nn.Linear(8, 10)

    def forward(self, src, mask):
        return self.out(self.encoder(self.embedding(src), mask))

model = Translator()
opt = torch.optim.SGD(model.parameters(), 0.1)
tokens = torch.randint(0, 10, (9, 12))
mask = nn.Transformer.generate_square_subsequent_mask(9)
for i in range(3):
    loss = F.cross_entropy(model(tokens, mask=mask).view(-1, 10), tokens.roll(1, 0).view(-1))
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item())
""",
    "variational": """
class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(6, 4)
        self.dec = nn.Linear(2, 6)

    def encode(self, x):
        return self.enc(x).chunk(2, dim=1)

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        return {"x": self.dec(z), "mu": mu, "logvar": logvar, "name": "vae"}

def vae_loss(out, x):
    kl = -0.5 * torch.sum(1 + out["logvar"] - out["mu"] ** 2 - out["logvar"].exp())
    return F.mse_loss(out["x"], x, reduction="sum") + kl

vae = VAE()
opt = torch.optim.Adam(vae.parameters(), 0.01)
for epoch in range(2):
    for (xb,) in DataLoader(TensorDataset(X), batch_size=30, shuffle=True):
        loss = vae_loss(vae(xb), xb)
        opt.zero_grad(); loss.backward(); opt.step()
        print(loss.item())
""",
    "functions_and_early_stopping": """
import copy
from torch.utils.data import random_split

def build(width):
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2)).to("cpu")

def batch_loss(net, batch):
    inputs, targets = batch
    return F.cross_entropy(net(inputs), targets)

def train_one_epoch(net, dl, opt):
    net.train()
    losses = []
    for batch in dl:
        loss = batch_loss(net, batch)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)

def evaluate(net, dl):
    net.eval()
    return sum(batch_loss(net, batch).item() * len(batch[0]) for batch in dl) / len(dl.dataset)

train, val = random_split(TensorDataset(X, y), [70, 31], generator=torch.Generator().manual_seed(3))
train_dl, val_dl = DataLoader(train, batch_size=16, shuffle=True), DataLoader(val, batch_size=64)
model = build(16)
opt = torch.optim.Adam(model.parameters(), lr=0.05)
best, best_state, waited = float("inf"), None, 0
for epoch in range(30):
    train_loss = train_one_epoch(model, train_dl, opt)
    val_loss = evaluate(model, val_dl)
    print(epoch, train_loss, val_loss)
    if val_loss < best:
        best, best_state, waited = val_loss, copy.deepcopy(model.state_dict()), 0
    else:
        waited += 1
        if waited == 2:
            break
model.load_state_dict(best_state)
twin = copy.deepcopy(model)
print(evaluate(twin, val_dl))
""",
    "trainer_class": """
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)] + [nn.Linear(6, 2)])

class Net(Base):
    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)

    def training_step(self, batch):
        return F.cross_entropy(self(batch[0]), batch[1])

class Trainer:
    def __init__(self, model, epochs):
        self.model, self.epochs = model, epochs
        self.optim = torch.optim.RMSprop(model.parameters(), 0.01)

    def fit(self, data):
        for self.epoch in range(self.epochs):
            for batch in data:
                loss = self.model.training_step(batch)
                self.optim.zero_grad()
                loss.backward()
                self.optim.step()
            print(loss.item())

Trainer(Net(), 3).fit(DataLoader(TensorDataset(X, y), batch_size=16, shuffle=True))
""",
    "closure": """
model = nn.Linear(6, 1)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
target = (X @ torch.arange(6.0)).unsqueeze(1)
for i in range(3):
    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(X), target)
        loss.backward()
        return loss
    print(optimizer.step(closure).item())
""",
    "batches_by_hand": """
model = nn.Linear(6, 2)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
seen, last = [], None
i = 0
while i < len(X):
    order = torch.randperm(len(X))[:13]
    last = model.forward(X[order])
    loss = F.nll_loss(F.log_softmax(last, 1), y[order])
    opt.zero_grad(); loss.backward(); opt.step()
    seen.append(loss.item())
    if loss.item() < 0.1:
        break
    i += 13
print(seen, last.sum().item())
print(model(X[:1]).sum().item())
one = F.cross_entropy(model(X[:1]), y[:1])
one.backward()
print(model.weight.grad.abs().sum().item())
""",
    "checkpointed": """
from torch.utils.checkpoint import checkpoint

class Saving(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x):
        return checkpoint(self.fc, x, use_reentrant=False)

model = Saving()
opt = torch.optim.SGD(model.parameters(), 0.5)
for i in range(3):
    loss = F.cross_entropy(model(X), y)
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item())
""",
    "ensemble": """
models = [nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3)]
optimizers = {i: torch.optim.Adam(m.parameters(), 0.02) for i, m in enumerate(models)}
for xb, yb in DataLoader(TensorDataset(X, y), batch_size=34, shuffle=True):
    losses = [F.cross_entropy(m(xb), yb) for m in models]
    for i, loss in enumerate(losses):
        optimizers[i].zero_grad()
        loss.backward()
        optimizers[i].step()
    print([loss.item() for loss in losses], F.cross_entropy(sum(m(X) for m in models), y).item())
""",
    "frozen_and_unused": """
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)
        self.aux = nn.Linear(5, 2)
        self.never = nn.Linear(5, 2)

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        return self.head(hidden), self.aux(hidden)

model = Two()
for p in model.body.parameters():
    p.requires_grad = False
opt = torch.optim.Adam(model.parameters(), 0.02)
for epoch in range(3):
    if epoch == 2:
        for p in model.body.parameters():
            p.requires_grad = True
        model.head = nn.Linear(5, 2)
        opt = torch.optim.Adam(model.parameters(), 0.02)
    for xb, yb in DataLoader(TensorDataset(X, y), batch_size=40):
        out, aux = model(xb)
        loss = F.cross_entropy(out, yb)
        opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item(), model.never.weight.grad, model.aux.weight.grad, model.body.weight.sum().item())
""",
    "loader_with_processes": """
class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return {"x": X[i], "y": y[i], "i": i}

model = nn.Linear(6, 2)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(Noisy(), batch_size=16, shuffle=True, num_workers=1)
for epoch in range(2):
    for batch in loader:
        loss = F.cross_entropy(model(batch["x"]), batch["y"])
        opt.zero_grad(); loss.backward(); opt.step()
        print(loss.item(), batch["i"].tolist(), len(loader))
""",
    "stream": """
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        for i in range(0, 90):
            yield X[i], y[i]

model = nn.Linear(6, 2)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
it = iter(DataLoader(Stream(), batch_size=15))
for step in range(5):
    xb, yb = next(it)
    loss = F.cross_entropy(model(xb), yb)
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item())
""",
    "mixed_precision_compiled": """
model = torch.compile(nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 2)), backend="eager")
opt = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu")
for xb, yb in DataLoader(TensorDataset(X, y), batch_size=30, shuffle=True):
    opt.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(model(xb), yb)
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    print(loss.item())
""",
    "doubles_and_mixup": """
import numpy as np
import random
np.random.seed(1)
random.seed(1)
X, y = X.double(), y.double()
model = nn.utils.parametrizations.weight_norm(nn.Linear(6, 1).double())
opt = torch.optim.Adam(model.parameters(), 0.05)
for xb, yb in DataLoader(TensorDataset(X, y), batch_size=17, shuffle=True):
    if random.random() < 0.2:
        continue
    lam, order = np.random.beta(1, 1), torch.randperm(len(xb))
    mixed = lam * xb + (1 - lam) * xb[order]
    loss = F.mse_loss(model(mixed)[:, 0], lam * yb + (1 - lam) * yb[order])
    opt.zero_grad(); loss.backward(); opt.step()
    print(loss.item(), lam)
""",
}

REFUSED_WHEN_RUN = {
    "gradients_clipped_on_their_way": """
class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-0.01, 0.01)

class Clipping(nn.Linear):
    def forward(self, x):
        return Clip.apply(super().forward(x))

model = Clipping(6, 2)
(F.cross_entropy(model(X), y) * 100).backward()
print("trained")
""",
    "a_count_in_forward": """
class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.seen = nn.Linear(6, 2), 0

    def forward(self, x):
        self.seen += len(x)
        return self.fc(x)

model = Counts()
F.cross_entropy(model(X), y).backward()
print("trained", model.seen)
""",
    "dropout_checkpointed": """
from torch.utils.checkpoint import checkpoint

class Saving(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x):
        return checkpoint(self.fc, x, use_reentrant=False)

model = Saving()
F.cross_entropy(model(X), y).backward()
print("trained")
""",
    "mean_over_the_batch_in_forward": """
class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(x - x.mean(0))

model = Centred()
for xb, yb in DataLoader(TensorDataset(X, y), batch_size=16):
    F.cross_entropy(model(xb), yb).backward()
print("trained")
""",
    "loss_in_forward": """
class WithLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x, labels):
        logits = self.fc(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}

model = WithLoss()
for xb, yb in DataLoader(TensorDataset(X, y), batch_size=16):
    model(xb, labels=yb)["loss"].backward()
print("trained")
""",
    "gradients_of_weights_by_grad": """
model = nn.Linear(6, 2)
for i in range(3):
    loss = F.cross_entropy(model(X), y)
    gradients = torch.autograd.grad(loss, model.parameters())
    with torch.no_grad():
        for p, g in zip(model.parameters(), gradients):
            p -= 0.1 * g
    F.cross_entropy(model(X), y).backward()
print("trained")
""",
    "another_order_on_each_worker": """
import os
model = nn.Linear(6, 2)
order = torch.randperm(101, generator=torch.Generator().manual_seed(os.getpid()))
for start in range(0, 101, 10):
    rows = order[start:start + 10]
    F.cross_entropy(model(X[rows]), y[rows]).backward()
print("trained")
""",
}
"""Trainings that two workers must refuse, and can only when they see the values."""
