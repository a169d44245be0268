// Pages show an example as the file that runs, and what it printed.
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from '../setup/run.mjs';

const place = /<!-- (examples\/\S+\.js) -->\n(?:\n```js\n[\s\S]*?\n```\n\n```text\n[\s\S]*?\n```\n)?/g;

/** The page with each `<!-- examples/….js -->` followed by that file and its current output. */
export async function withExamples(page) {
  const named = [...page.matchAll(place)].map(([, file]) => file);
  const shown = new Map();
  for (const file of named) {
    const code = (await readFile(join(root, file), 'utf8')).replace('// @ts-check\n', '').trim();
    const printed = execFileSync(process.execPath, [join(root, file)], { encoding: 'utf8' }).trim();
    shown.set(file, `\n\`\`\`js\n${code}\n\`\`\`\n\n\`\`\`text\n${printed}\n\`\`\`\n`);
  }
  return page.replaceAll(place, (_, file) => `<!-- ${file} -->\n${shown.get(file)}`);
}
