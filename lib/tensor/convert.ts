import { fromBfloat16, toBfloat16 } from './bfloat16.js';
import { allocate, type DType, type TypedArrayOf } from './dtype.js';

/** A copy of numbers of one type in another. */
export function convert<E extends DType>(op: string, data: ArrayLike<number>, from: DType, to: E): TypedArrayOf<E> {
  const out = allocate(op, to, data.length);
  if (from === to) {
    out.set(data);
  } else if (from === 'bfloat16') {
    for (let i = 0; i < data.length; i++) out[i] = fromBfloat16(data[i] as number);
  } else if (to === 'bfloat16') {
    for (let i = 0; i < data.length; i++) out[i] = toBfloat16(data[i] as number);
  } else {
    out.set(data);
  }
  return out;
}
