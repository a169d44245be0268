/** This package's place on the disk, without import.meta, which a bundle in CommonJS does not have. */
import { basename, dirname, isAbsolute, join } from 'node:path';
import platforms from './platforms.cjs';

const { filename } = platforms;

/** This package's folder, or undefined in a bundle: the files next to a bundle are not this package's. */
export const packageRoot =
  filename !== undefined && isAbsolute(filename) && basename(filename) === 'platforms.cjs'
    ? join(dirname(filename), '..', '..')
    : undefined;

/** Node's own createRequire, which bundlers do not follow. */
export const requireFrom = (file: string): NodeJS.Require =>
  process.getBuiltinModule('node:module').createRequire(file);
