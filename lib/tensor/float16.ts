/** Writes float16 numbers, given as their bits, as float32 numbers, given as their bits. Exact: NaNs keep their payload. */
export function widenHalves(halves: Uint16Array, singles: Uint32Array): void {
  for (let i = 0; i < halves.length; i++) singles[i] = widened(halves[i] as number);
}

function widened(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // A subnormal float16 is a normal float32: shift its leading bit to the implicit one.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

/** Writes float32 numbers, given as their bits, as float16 numbers, rounded to the nearest, ties to even. */
export function narrowSingles(singles: Uint32Array, halves: Uint16Array): void {
  for (let i = 0; i < singles.length; i++) halves[i] = narrowed(singles[i] as number);
}

function narrowed(single: number): number {
  const sign = (single >>> 16) & 0x8000;
  const rest = single & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00 | ((rest >>> 13) & 0x3ff);
  // From 65520 on the nearest float16 is infinity.
  if (rest >= 0x477ff000) return sign | 0x7c00;
  if (rest >= 0x38800000) return sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
  // A subnormal float16 counts units of 2^-24.
  const shift = 126 - (rest >>> 23);
  if (shift > 24) return sign;
  const digits = (rest & 0x7fffff) | 0x800000;
  const units = digits >>> shift;
  const [cut, middle] = [digits & ((1 << shift) - 1), 1 << (shift - 1)];
  return sign | (units + Number(cut > middle || (cut === middle && (units & 1) === 1)));
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The nearest float16, ties to even, as 16 bits. A NaN stays a NaN. */
export function toFloat16(value: number): number {
  single[0] = value;
  let bits = singleBits[0] as number;
  const near = single[0] as number;
  // Rounding to odd: the last bit tells whether float32 has rounded, so that a tie is none.
  if (near !== value && Number.isFinite(near)) bits = (Math.abs(near) > Math.abs(value) ? bits - 1 : bits) | 1;
  return narrowed(bits >>> 0);
}

export function fromFloat16(half: number): number {
  singleBits[0] = widened(half);
  return single[0] as number;
}
