/** Finds and loads the native addon, or says where it looked and what to do. */
import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { advice } from './addon-advice.js';
import { SigmaError } from './errors.js';
import { packageRoot, requireFrom } from './package-root.js';
import platforms from './platforms.cjs';

/** A place that has no addon that can be loaded. */
export interface Attempt {
  /** A path, or the name of a package. */
  readonly place: string;
  readonly reason: string;
  /** Whether nothing is there at all. */
  readonly absent: boolean;
}

/** The names of the packages that may fit this process. On Linux the one with the wrong C library fails to load. */
export function targetsHere(platform: string = process.platform, arch: string = process.arch): string[] {
  const name = `${platform}-${arch}`;
  return (platform === 'linux' ? [`${name}-gnu`, `${name}-musl`] : [name]).filter((target) =>
    platforms.targets.includes(target),
  );
}

/**
 * Loads the addon from the first of these that is there: SIGMATUNE_ADDON, an absolute path; a build in the clone; a build
 * from the published sources; the platform's package.
 */
export function loadAddon(): object {
  const tried: Attempt[] = [];
  const override = process.env['SIGMATUNE_ADDON'];
  if (override) {
    // A relative path or a bare name could load another user's file.
    if (!isAbsolute(override)) {
      throw new SigmaError('NATIVE', 'sigmatune', `SIGMATUNE_ADDON: expected an absolute path, got '${override}'`);
    }
    return loadFile(override, tried) ?? fail(tried);
  }
  for (const folder of packageRoot ? [packageRoot, join(packageRoot, 'source')] : []) {
    const file = join(folder, 'build', 'Release', 'sigmatune.node');
    const addon = loadFile(file, tried);
    if (addon) return addon;
    // A build that someone made is never passed over silently.
    if (!tried.at(-1)?.absent) return fail(tried);
  }
  for (const target of targetsHere()) {
    const loaded = platforms.load(target);
    if (loaded.addon) return loaded.addon;
    tried.push(attempt(`@sigmatune/${target}`, loaded.error));
  }
  return fail(tried);
}

function loadFile(file: string, tried: Attempt[]): object | undefined {
  if (!existsSync(file)) {
    tried.push({ place: file, reason: 'no such file', absent: true });
    return undefined;
  }
  try {
    return requireFrom(file)(file);
  } catch (error) {
    tried.push(attempt(file, error));
    return undefined;
  }
}

function attempt(place: string, error: unknown): Attempt {
  const { code, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { code: '', message: `${error}` };
  const absent = code === 'MODULE_NOT_FOUND' && !message.includes('sigmatune.node');
  return { place, reason: absent ? 'not installed' : (message.split('\n')[0] ?? ''), absent };
}

function fail(tried: readonly Attempt[]): never {
  const list = tried.map(({ place, reason }) => `\n- ${place}: ${reason}`).join('');
  throw new SigmaError(
    'NATIVE',
    'sigmatune',
    `the native addon could not be loaded on ${process.platform}-${process.arch}, Node ${process.versions.node}. ` +
      `Places, in order:${list || ' none'}\n${advice(tried)}`,
  );
}
