"""The other side of torch.js: rival.py DEVICE THREADS. One line of JSON names what to do, one line answers with
milliseconds by the device's clock, or for a peak with megabytes."""
import gc
import json
import re
import sys
import time

import torch

device = torch.device(sys.argv[1])
on_cpu = device.type == "cpu"
torch.set_num_threads(int(sys.argv[2]))
torch.backends.cuda.matmul.allow_tf32 = False
ready = {}


def randn(*shape, dtype=torch.float32, scale=1.0, grad=False):
    return (scale * torch.randn(*shape, device=device)).to(dtype).requires_grad_(grad)


def batch(n, m, tokens, dtype):
    return randn(tokens, m, dtype=dtype, grad=True), randn(tokens, n, dtype=dtype)


def known_svd(n, m):
    """A weight's factors without a decomposition: corners of reflections."""
    r = min(n, m)
    u, vt = torch.eye(n, r, device=device) - 2 / n, torch.eye(r, m, device=device) - 2 / m
    return u, torch.linspace(2, 1, r, device=device), vt


def svft_reference(n, m, tokens, name):
    """As the public code: W' = U (S + M) Vt is built whole in every forward pass, its sparse part in float32."""
    dtype = getattr(torch, name)
    u, s, vt = known_svd(n, m)
    r, d = s.numel(), 8
    offsets = range(-d, d + 1)
    rows = torch.cat([torch.arange(max(0, -k), min(r, r - k)) for k in offsets]).to(device)
    columns = torch.cat([torch.arange(max(0, -k), min(r, r - k)) + k for k in offsets]).to(device)
    values = randn(len(rows), scale=0.01, grad=True)
    gate = torch.zeros(1, device=device, requires_grad=True)
    diagonal = torch.arange(r, device=device)
    x, dy = batch(n, m, tokens, dtype)
    thin = u.to(dtype)

    def step():
        core = torch.sparse_coo_tensor(
            torch.stack([torch.cat([diagonal, rows]), torch.cat([diagonal, columns])]),
            torch.cat([s, values * torch.sigmoid(gate)]),
            (r, r),
        )
        y = x @ (torch.sparse.mm(core, vt).to(dtype).T @ thin.T)
        y.backward(dy)
        x.grad = None

    return step, [values, gate]


def svft_factored(n, m, tokens, name):
    """The factored form with a dense core, as plain PyTorch: y = ((x V) d) Ut."""
    dtype = getattr(torch, name)
    u, s, vt = known_svd(n, m)
    u, v = u.to(dtype), vt.to(dtype).T.contiguous()
    values = s.clone().requires_grad_()
    x, dy = batch(n, m, tokens, dtype)

    def step():
        y = ((x @ v) * values.to(dtype)) @ u.T
        y.backward(dy)
        x.grad = None

    return step, [values]


def lora(n, m, tokens, name):
    """LoRA of rank 8 on a frozen weight."""
    dtype = getattr(torch, name)
    weight = randn(n, m, dtype=dtype, scale=m**-0.5)
    a, b = randn(8, m, dtype=dtype, grad=True), randn(n, 8, dtype=dtype, scale=0.0, grad=True)
    x, dy = batch(n, m, tokens, dtype)

    def step():
        y = x @ weight.T + (x @ a.T) @ b.T
        y.backward(dy)
        x.grad = None

    return step, [a, b]


def peft_mixed(n, m, tokens, adapters, rank):
    """PEFT's LoRA with `adapter_names`: each row of a batch goes through its own adapter. Inference, as PEFT has it."""
    from peft import LoraConfig, get_peft_model

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(m, n, bias=False, device=device)

        def forward(self, x):
            return self.linear(x)

    config = LoraConfig(r=rank, target_modules=["linear"], init_lora_weights=False)
    model = get_peft_model(Layer(), config, adapter_name="a0")
    for i in range(1, adapters):
        model.add_adapter(f"a{i}", config)
    model.to(device).eval()
    names = [f"a{row % adapters}" for row in range(tokens)]
    x = randn(tokens, m)

    def forward():
        with torch.inference_mode():
            model(x, adapter_names=names)

    return forward, []


def sparse(r, tokens, row):
    """torch.sparse: a random CSR core times a dense operand (MKL or cuSPARSE)."""
    columns = torch.stack([torch.randperm(r, device=device)[:row].sort()[0] for _ in range(r)])
    pointers = torch.arange(0, row * r + 1, row, device=device)
    core = torch.sparse_csr_tensor(pointers, columns.flatten(), randn(row * r), (r, r))
    dense = randn(r, tokens)
    return lambda: core @ dense, []


def svd(count, m, n):
    """torch.linalg.svd with the driver that it takes by itself; on the CPU one matrix after the other."""
    if on_cpu:
        matrices = [randn(m, n) for _ in range(count)]
    else:
        matrices = [randn(count, m, n) if count > 1 else randn(m, n)]
    return lambda: [torch.linalg.svd(matrix, full_matrices=False) for matrix in matrices], []


def resident_peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024


def forget_peak():
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak(name, *arguments):
    """MB that a step with AdamW takes at its peak, with all that it is made of. On the CPU: above what torch itself takes."""
    start = 0
    if on_cpu:
        (torch.ones(64, 64) @ torch.ones(64, 64)).sum()
        forget_peak()
        start = resident_peak()
    step, parameters = globals()[name](*arguments)
    optimizer = torch.optim.AdamW(parameters)
    if on_cpu:
        forget_peak()
    else:
        torch.cuda.reset_peak_memory_stats()
    step()
    optimizer.step()
    optimizer.zero_grad()
    if on_cpu:
        return resident_peak() - start
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**20


def timed(name, work):
    # What synchronises with the host is timed by the host, as its other side is.
    if on_cpu or name == "svd":
        start = time.perf_counter()
        work()
        if not on_cpu:
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
            print(json.dumps({"answer": peak(*arguments)}), flush=True)
            continue
        if line not in ready:
            ready.clear()
            ready[line] = globals()[name](*arguments)
        work, parameters = ready[line]
        answer = {"answer": timed(name, work)}
        for parameter in parameters:
            parameter.grad = None
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
