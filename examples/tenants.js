// @ts-check
// Serves many tenants from one weight: each row of a batch goes through its tenant's adapter. Then mixes and swaps tenants.
import { applyEach, decompose, loraXs, memory, mixAdapters, siva, svft, tensor, tidy, vectorFit } from 'sigmatune';

const size = 256;
const noise = (/** @type {number} */ seed, /** @type {number} */ length) =>
  Float32Array.from({ length }, (_, i) => 0.1 * Math.sin(seed + i * i * 0.618)); // the same on every run
const weight = tensor(noise(1, size * size), [size, size]); // W0 [out, in]
const factors = await decompose(weight); // once, for all tenants

// Tenants may choose any family. Their numbers would come from loadAdapters; here they are made up.
const plans = [
  () => svft(weight, { factors, pattern: 'banded', offDiagonals: 1 }),
  () => vectorFit(weight, { factors }),
  () => siva(weight, { factors, count: 16 }),
  () => loraXs(weight, { factors, rank: 8 }),
];
const shared = memory().bytes['cpu'] ?? 0;
/** @type {import('sigmatune').AdaptedLinear<'float32'>[]} */
const tenants = [];
for (let i = 0; i < 64; i++) {
  const tenant = await plans[i % plans.length]();
  for (const { value } of tenant.parameters) value.assign(value.dataSync().map((v, k) => v + 0.1 * Math.sin(i + k)));
  tenants.push(tenant);
}
const bytes = ((memory().bytes['cpu'] ?? 0) - shared) / tenants.length;
console.log(`a tenant: ${(bytes / 1024).toFixed(1)} KB; a copy of the weight: ${(4 * size * size) / 1024} KB`);

// One batch: 128 rows in any order, each for its tenant.
const x = tensor(noise(2, 128 * size), [128, size]);
const which = Int32Array.from({ length: 128 }, (_, row) => (row * 37) % tenants.length);
const y = applyEach(tenants, x, which);

let worst = 0;
for (const row of which.keys()) {
  tidy(() => {
    const one = tensor(x.dataSync().slice(row * size, (row + 1) * size), [1, size]);
    const alone = tenants[which[row]].apply(one).dataSync();
    for (const [k, value] of alone.entries()) worst = Math.max(worst, Math.abs(value - y.dataSync()[row * size + k]));
  });
}
console.log(`the same as each row alone: ${worst < 1e-5}`);

// The exact mixture of two tenants of different families is a layer like any other.
const mixed = await mixAdapters([tenants[0], tenants[1]], [0.25, 0.75]);
console.log(`mixed: ${mixed.family}, ${mixed.parameterCount} numbers, change ${mixed.telemetry().change?.toFixed(3)}`);

// A new version of a tenant takes the place of the old one, in the layer that is being served.
tenants[0].assign(tenants[4]);
const [before, after] = [y, applyEach(tenants, x, which)].map((each) => each.dataSync()[0].toFixed(4));
console.log(`row 0, whose tenant was swapped: ${before} before, ${after} after`);
