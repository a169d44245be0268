"""The other side of torch.js: one line of JSON names what to do, one line answers with milliseconds."""
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))
ready = {}


def svft_reference(n, m, tokens):
    """As the public code: W' = U (S + M) Vt is built whole in every forward pass."""
    weight = torch.randn(n, m) / m**0.5
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    r = s.numel()
    d = 8
    rows, columns = zip(*[(i, j) for i in range(r) for j in range(max(0, i - d), min(r, i + d + 1))])
    rows, columns = torch.tensor(rows), torch.tensor(columns)
    values = (0.01 * torch.randn(len(rows))).requires_grad_()
    gate = torch.zeros(1, requires_grad=True)
    diagonal = torch.arange(r)
    x, dy = torch.randn(tokens, m, requires_grad=True), torch.randn(tokens, n)

    def step():
        core = torch.sparse_coo_tensor(
            torch.stack([torch.cat([diagonal, rows]), torch.cat([diagonal, columns])]),
            torch.cat([s, values * torch.sigmoid(gate)]),
            (r, r),
        )
        y = x @ (torch.sparse.mm(core, vt).T @ u.T)
        y.backward(dy)
        x.grad = values.grad = gate.grad = None

    return step


def svft_factored(n, m, tokens):
    """The factored form with a dense core, as plain PyTorch: y = ((x V) Ct) Ut."""
    u, v = torch.linalg.qr(torch.randn(n, min(n, m)))[0], torch.linalg.qr(torch.randn(m, min(n, m)))[0]
    r = min(n, m)
    values = torch.ones(r, requires_grad=True)
    x, dy = torch.randn(tokens, m, requires_grad=True), torch.randn(tokens, n)

    def step():
        y = ((x @ v) * values) @ u.T
        y.backward(dy)
        x.grad = values.grad = None

    return step


def lora(n, m, tokens):
    """LoRA of rank 8 on a frozen weight."""
    weight = torch.randn(n, m)
    a, b = torch.randn(8, m, requires_grad=True), torch.zeros(n, 8, requires_grad=True)
    x, dy = torch.randn(tokens, m, requires_grad=True), torch.randn(tokens, n)

    def step():
        y = x @ weight.T + (x @ a.T) @ b.T
        y.backward(dy)
        x.grad = a.grad = b.grad = None

    return step


def svd_loop(count, n):
    """count matrices, one after the other."""
    matrices = torch.randn(count, n, n)

    def step():
        for matrix in matrices:
            torch.linalg.svd(matrix, full_matrices=False)

    return step


def sparse(r, tokens):
    """torch.sparse: a random CSR core of 33 entries a row times a dense operand."""
    index = torch.randint(0, r, (2, 33 * r))
    core = torch.sparse_coo_tensor(index, torch.randn(33 * r), (r, r)).coalesce().to_sparse_csr()
    dense = torch.randn(r, tokens)
    return lambda: core @ dense


for line in sys.stdin:
    name, *arguments = json.loads(line)
    key = line.strip()
    if key not in ready:
        ready.clear()
        ready[key] = globals()[name](*arguments)
    start = time.perf_counter()
    ready[key]()
    print(json.dumps(1000 * (time.perf_counter() - start)), flush=True)
