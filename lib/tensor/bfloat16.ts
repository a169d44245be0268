const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The nearest bfloat16, ties to even, as 16 bits. A NaN stays a NaN. */
export function toBfloat16(value: number): number {
  float[0] = value;
  const word = bits[0] as number;
  if (Number.isNaN(value)) return (word >>> 16) | 0x40;
  // Double rounding: the float32 landed half-way between two bfloat16, so the float64 decides to which side.
  if ((word & 0xffff) === 0x8000 && float[0] !== value) {
    return (word >>> 16) + (Math.abs(value) > Math.abs(float[0] as number) ? 1 : 0);
  }
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

export function fromBfloat16(word: number): number {
  bits[0] = word << 16;
  return float[0] as number;
}
