// Prints the addon's source files, for binding.gyp, which runs this on every system.
import { readdirSync, realpathSync } from 'node:fs';
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

// The folders of the addon's variants reach this file through a symbolic link.
const program = process.argv[1];
if (program && realpathSync(program) === fileURLToPath(import.meta.url)) console.log(addonSources.join('\n'));
