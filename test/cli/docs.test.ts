/** docs/cli.md shows what the program prints (npm run docs brings it up to date). */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { sigmatune, sigmatuneAll } from '../support/cli.js';
import { plainEnvironment } from '../support/process.js';

t.setTimeout(600_000);

const root = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/cli.md', root), 'utf8');

t.test('the outputs are those of now, but for digits, which differ between machines', async (t) => {
  const code = `import { readFileSync } from 'node:fs';
    import { withOutputs } from './scripts/docs/console.mjs';
    process.stdout.write(await withOutputs(readFileSync('docs/cli.md', 'utf8')));`;
  const options = { cwd: fileURLToPath(root), env: plainEnvironment(), encoding: 'utf8' } as const;
  const now = execFileSync(process.execPath, ['--input-type=module', '-e', code], options);
  const masked = (text: string) =>
    text
      .replaceAll(/\d[\d.,e-]*/g, '0')
      .replaceAll(/ {2,}/g, '  ')
      .split('\n');
  t.same(masked(now), masked(page));
});

t.test('every command has a section, and every option of the program is on the page', async (t) => {
  const list = (await sigmatune(['--help'])).out;
  const names = [...list.matchAll(/^ {2}([a-z-]+) {2,}/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name !== 'bench');
  t.ok(names.length >= 9);
  for (const name of names) t.match(page, new RegExp(`^## ${name}$`, 'm'));
  for (const { out } of await sigmatuneAll(names.map((name) => [name, '--help']))) {
    for (const [, option = ''] of out.matchAll(/^ {2}(?:-\w,| {2}) (--[a-z-]+)/gm)) {
      if (option !== '--help') t.match(page, option, option);
    }
  }
});
