"""The peak memory of one step of the public SVFT form in PyTorch, in MB above what importing torch takes."""
import gc
import json
import re
import sys

import torch

n, m, tokens = map(int, sys.argv[1:])
torch.set_num_threads(2)


def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024


def forget_peak():
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


(torch.ones(64, 64) @ torch.ones(64, 64)).sum()
forget_peak()
start = peak()

r, d = min(n, m), 8
u, vt, s = torch.eye(n, r) - 2 / n, torch.eye(r, m) - 2 / m, torch.linspace(2, 1, r)
rows = torch.cat([torch.arange(max(0, -k), min(r, r - k)) for k in range(-d, d + 1)])
columns = torch.cat([torch.arange(max(0, -k), min(r, r - k)) + k for k in range(-d, d + 1)])
values, gate = torch.zeros(len(rows), requires_grad=True), torch.zeros(1, requires_grad=True)
diagonal = torch.arange(r)
optimizer = torch.optim.AdamW([values, gate])
x, dy = torch.ones(tokens, m, requires_grad=True), torch.ones(tokens, n)
forget_peak()
core = torch.sparse_coo_tensor(
    torch.stack([torch.cat([diagonal, rows]), torch.cat([diagonal, columns])]),
    torch.cat([s, values * torch.sigmoid(gate)]),
    (r, r),
)
y = x @ (torch.sparse.mm(core, vt).T @ u.T)
y.backward(dy)
x.grad = None
optimizer.step()
optimizer.zero_grad()
print(json.dumps({"peak": peak() - start}))
