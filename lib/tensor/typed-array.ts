import { types } from 'node:util';

/** A getter that every typed array has, whatever its realm, class and own properties say. */
function getter<T>(name: string | symbol): (array: NodeJS.TypedArray) => T {
  const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), name) ?? {};
  return (array) => Reflect.apply(get as () => T, array, []);
}

const kindOf = getter<string>(Symbol.toStringTag);
const bufferOf = getter<ArrayBufferLike>('buffer');
const offsetOf = getter<number>('byteOffset');

/** The length of a typed array; 0 for one whose buffer was detached. */
export const lengthOf = getter<number>('length');

/** Whether two arrays surely share no memory. Only SharedArrayBuffers may be two objects on one memory. */
export function areApart(a: NodeJS.TypedArray, b: NodeJS.TypedArray): boolean {
  const [one, other] = [bufferOf(a), bufferOf(b)];
  return one !== other && one instanceof ArrayBuffer && other instanceof ArrayBuffer;
}

/** A typed array of numbers, of any realm. */
export type NumberArray = Exclude<NodeJS.TypedArray, BigInt64Array | BigUint64Array>;

export function isNumberArray(value: unknown): value is NumberArray {
  return types.isTypedArray(value) && !types.isBigInt64Array(value) && !types.isBigUint64Array(value);
}

type Kind = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => NumberArray;

/** The same numbers as an array of this realm's own class, whose properties are what they seem. */
export function plainView(array: NumberArray): NumberArray {
  const length = lengthOf(array);
  // A detached buffer takes no view.
  if (length === 0) return new Float32Array(0);
  const kind = Reflect.get(globalThis, kindOf(array)) as Kind;
  return new kind(bufferOf(array), offsetOf(array), length);
}
