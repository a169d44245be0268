/** What the program says of itself: its commands, their options and examples, its version. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { sigmatune, sigmatuneAll } from '../support/cli.js';

const names = [
  'info',
  'inspect',
  'plan',
  'counts',
  'decompose',
  'erank',
  'plot',
  'merge',
  'export-lora',
  'export-gguf',
];

t.test('the program lists its commands and exit codes', async (t) => {
  for (const args of [[], ['--help'], ['-h'], ['help']]) {
    const { code, out, err } = await sigmatune(args);
    t.same([code, err], [0, ''], args.join(' '));
    for (const name of [...names, 'bench']) t.match(out, new RegExp(`^  ${name} `, 'm'));
    t.match(out, /Exit codes: 0 .*130/s);
  }
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  t.same(await sigmatune(['--version']), { code: 0, out: `${version}\n`, err: '' });
});

t.test('every command has a usage, its options and an example that begins with its name', async (t) => {
  const runs = await sigmatuneAll(names.map((name, i) => (i % 2 === 0 ? [name, '--help'] : ['help', name])));
  for (const [i, { code, out, err }] of runs.entries()) {
    const name = names[i] as string;
    t.same([code, err], [0, ''], name);
    t.match(out, new RegExp(`^sigmatune ${name}\\b`));
    for (const option of ['--json', '--quiet', '--help']) t.match(out, option);
    const [options = '', example = ''] = out.split('\nExample\n');
    t.match(example, new RegExp(`^  sigmatune ${name}\\b`));
    for (const [, option = ''] of example.matchAll(/ (--[a-z-]+)/g))
      t.match(options, option, `${name} lists ${option}`);
  }
});

t.test('help needs no addon', async (t) => {
  const env = { SIGMATUNE_ADDON: '/nonexistent/sigmatune.node' };
  t.equal((await sigmatune(['--help'], { env })).code, 0);
  const { code, out, err } = await sigmatune(['info'], { env });
  t.same([code, out], [1, '']);
  t.match(err, /^sigmatune info: the native addon could not be loaded/);
  t.notMatch(err, /^ +at /m, 'no stack');
});

t.test('info has what systemInfo has, for people and as JSON', async (t) => {
  const { code, out } = await sigmatune(['info', '--json']);
  t.equal(code, 0);
  const info = JSON.parse(out);
  t.equal(info.node, process.version);
  t.type(info.cuda.available, 'boolean');
  const text = (await sigmatune(['info'])).out;
  for (const key of Object.keys(info)) t.match(text, new RegExp(`^${key}`, 'm'));
});
