/** The addon behind lib/, for tests that call past it or watch what it calls. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { SigmaError } from 'sigmatune';

type Addon = Record<string, (this: unknown, ...args: unknown[]) => unknown>;

const built = fileURLToPath(new URL('../../build/Release/sigmatune.node', import.meta.url));
/** The addon's exports, from which the package's own object inherits. */
export const addon: Addon = createRequire(import.meta.url)(process.env['SIGMATUNE_ADDON'] ?? built);

const own: Addon = Object.create(addon, { SigmaError: { value: SigmaError } });

/** Calls a function of the addon as the package does, with the same name for errors. */
export function call(name: string, ...args: unknown[]): unknown {
  const method = own[name];
  if (!method) throw new Error(`no ${name}`);
  return method.call(own, name, ...args);
}

export interface Calls {
  begun: number;
  running: number;
  /** The largest number of concurrent calls. */
  most: number;
}

/**
 * Counts the native calls of svd while `body` runs. Calls `onBegin` with the number of each call (from 1) before it
 * starts.
 */
export async function watchSvd(body: (calls: Calls) => Promise<void>, onBegin?: (call: number) => void): Promise<void> {
  const { svd } = addon;
  if (!svd) throw new Error('no svd');
  const calls: Calls = { begun: 0, running: 0, most: 0 };
  addon['svd'] = async function (...args) {
    calls.begun++;
    calls.running++;
    calls.most = Math.max(calls.most, calls.running);
    onBegin?.(calls.begun);
    try {
      return await svd.apply(this, args);
    } finally {
      calls.running--;
    }
  };
  try {
    await body(calls);
  } finally {
    addon['svd'] = svd;
  }
}
