// Prints the addon's source files, for binding.gyp, which runs this on every system.
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));

/** Relative to the repository, with forward slashes. */
export const addonSources = ['addon', 'recipes', 'cpu'].flatMap((folder) =>
  readdirSync(join(native, folder), { recursive: true })
    .filter((name) => name.endsWith('.cc'))
    .map((name) => `native/${folder}/${name.replaceAll('\\', '/')}`)
    .sort(),
);

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(addonSources.join('\n'));
