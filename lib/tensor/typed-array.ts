import { types } from 'node:util';

/** Reads a property through the intrinsic getter, which the array's realm, class and own properties cannot override. */
function getter<T>(name: string | symbol): (array: NodeJS.TypedArray) => T {
  const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), name) ?? {};
  return (array) => Reflect.apply(get as () => T, array, []);
}

export const kindOf = getter<string>(Symbol.toStringTag);
const bufferOf = getter<ArrayBufferLike>('buffer');
const offsetOf = getter<number>('byteOffset');
const bytesOf = getter<number>('byteLength');

/** The length of a typed array; 0 for one whose buffer was detached. */
export const lengthOf = getter<number>('length');

/** Whether two arrays have bytes in common; undefined for two shared buffers, which may be on the same memory. */
export function shareBytes(a: NodeJS.TypedArray, b: NodeJS.TypedArray): boolean | undefined {
  const [one, other] = [bufferOf(a), bufferOf(b)];
  if (one === other) {
    const [from, start] = [offsetOf(a), offsetOf(b)];
    return from < start + bytesOf(b) && start < from + bytesOf(a);
  }
  return one instanceof ArrayBuffer && other instanceof ArrayBuffer ? false : undefined;
}

/** A typed array of numbers, of any realm. */
export type NumberArray = Exclude<NodeJS.TypedArray, BigInt64Array | BigUint64Array>;

export function isNumberArray(value: unknown): value is NumberArray {
  return types.isTypedArray(value) && !types.isBigInt64Array(value) && !types.isBigUint64Array(value);
}

type Kind = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => NumberArray;

/** A view of the same numbers of this realm's class, without own properties that override its own. */
export function plainView(array: NumberArray): NumberArray {
  const length = lengthOf(array);
  // A view of a detached buffer would throw.
  if (length === 0) return new Float32Array(0);
  const kind = Reflect.get(globalThis, kindOf(array)) as Kind;
  return new kind(bufferOf(array), offsetOf(array), length);
}
