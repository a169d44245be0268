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
