"""The other side of gpu/torch.js: one line of JSON names what to do, one line answers with milliseconds on the card."""
import json
import sys
import time

import torch

device = torch.device("cuda")
torch.backends.cuda.matmul.allow_tf32 = False
ready = {}


def randn(*shape, dtype=torch.float32, scale=1.0, grad=False):
    return (scale * torch.randn(*shape, device=device)).to(dtype).requires_grad_(grad)


def kind(name):
    return getattr(torch, name)


def svft_reference(n, m, tokens, name):
    """As the public code: W' = U (S + M) Vt is built whole in every forward pass, its sparse part in float32."""
    dtype = kind(name)
    u, s, vt = torch.linalg.svd(randn(n, m, scale=m**-0.5), full_matrices=False)
    r, d = s.numel(), 8
    offsets = range(-d, d + 1)
    rows = torch.cat([torch.arange(max(0, -k), min(r, r - k)) for k in offsets]).to(device)
    columns = torch.cat([torch.arange(max(0, -k), min(r, r - k)) + k for k in offsets]).to(device)
    values = randn(len(rows), scale=0.01, grad=True)
    gate = torch.zeros(1, device=device, requires_grad=True)
    diagonal = torch.arange(r, device=device)
    x, dy = randn(tokens, m, dtype=dtype, grad=True), randn(tokens, n, dtype=dtype)
    thin = u.to(dtype)

    def step():
        core = torch.sparse_coo_tensor(
            torch.stack([torch.cat([diagonal, rows]), torch.cat([diagonal, columns])]),
            torch.cat([s, values * torch.sigmoid(gate)]),
            (r, r),
        )
        y = x @ (torch.sparse.mm(core, vt).to(dtype).T @ thin.T)
        y.backward(dy)
        x.grad = values.grad = gate.grad = None

    return step


def svft_factored(n, m, tokens, name):
    """The factored form with a dense core, as plain PyTorch: y = ((x V) d) Ut."""
    dtype = kind(name)
    r = min(n, m)
    u = torch.linalg.qr(randn(n, r))[0].to(dtype)
    v = torch.linalg.qr(randn(m, r))[0].to(dtype)
    values = torch.ones(r, device=device, requires_grad=True)
    x, dy = randn(tokens, m, dtype=dtype, grad=True), randn(tokens, n, dtype=dtype)

    def step():
        y = ((x @ v) * values.to(dtype)) @ u.T
        y.backward(dy)
        x.grad = values.grad = None

    return step


def lora(n, m, tokens, name):
    """LoRA of rank 8 on a frozen weight."""
    dtype = kind(name)
    weight = randn(n, m, dtype=dtype, scale=m**-0.5)
    a, b = randn(8, m, dtype=dtype, grad=True), randn(n, 8, dtype=dtype, scale=0.0, grad=True)
    x, dy = randn(tokens, m, dtype=dtype, grad=True), randn(tokens, n, dtype=dtype)

    def step():
        y = x @ weight.T + (x @ a.T) @ b.T
        y.backward(dy)
        x.grad = a.grad = b.grad = None

    return step


def sparse(r, tokens, row):
    """torch.sparse: a random CSR core times a dense operand (cuSPARSE)."""
    columns = torch.stack([torch.randperm(r, device=device)[:row].sort()[0] for _ in range(r)])
    pointers = torch.arange(0, row * r + 1, row, device=device)
    core = torch.sparse_csr_tensor(pointers, columns.flatten(), randn(row * r), (r, r))
    dense = randn(r, tokens)
    return lambda: core @ dense


def svd(batch, m, n):
    """torch.linalg.svd with the driver that it takes by itself."""
    a = randn(batch, m, n) if batch > 1 else randn(m, n)
    return lambda: torch.linalg.svd(a, full_matrices=False)


def peak(name, *arguments):
    """MB that a step takes at its peak, with all that it is made of."""
    ready.clear()
    torch.cuda.empty_cache()
    step = globals()[name](*arguments)
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**20


def timed(name, work):
    torch.cuda.synchronize()
    # What synchronises with the host is timed by the host, as its other side is.
    if name == "svd":
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        if name == "peak":
            print(json.dumps({"milliseconds": None, "megabytes": peak(*arguments)}), flush=True)
            continue
        if line not in ready:
            ready.clear()
            torch.cuda.empty_cache()
            ready[line] = globals()[name](*arguments)
        answer = {"milliseconds": timed(name, ready[line])}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
