import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { required } from './arguments.js';
import { Failure } from './failures.js';

/** The value of `--out`, a file: its folder must be there before minutes go into what will be written. */
export async function outputFile(spec: { readonly value?: string }, given: string | undefined): Promise<string> {
  const path = required('out', spec, given);
  const folder = dirname(path);
  if ((await stat(folder).catch(() => undefined))?.isDirectory()) return path;
  throw new Failure(`'${path}': expected a file in a folder that there is, got no folder '${folder}'`);
}
