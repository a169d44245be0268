// Which packages a test needs to run: those that one really loads, passing and failing, as Node's loader sees it. What a
// package merely depends on is three times as much: tap brings a compiler, an installer and a terminal interface.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { root, run, SetupError } from '../setup/run.mjs';

const modules = join(root, 'node_modules');

/** Notes every module that is imported, and at the end every one that was required. */
const tracer = (log) => `
import { appendFileSync } from 'node:fs';
import { createRequire, register } from 'node:module';
import { pathToFileURL } from 'node:url';
const log = ${JSON.stringify(log)};
const hook = \`import { appendFileSync } from 'node:fs';
export async function load(url, context, next) {
  appendFileSync(\${JSON.stringify(log)}, url + '\\\\n');
  return next(url, context);
}\`;
register('data:text/javascript,' + encodeURIComponent(hook));
process.on('exit', () => {
  for (const path of Object.keys(createRequire(log).cache)) appendFileSync(log, pathToFileURL(path).href + '\\n');
});
`;

/** What a failure takes besides: differences, sources, folders for a test. */
const exercise = (names) => `
${names.map((name, i) => `import * as module${i} from ${JSON.stringify(name)};`).join('\n')}
import t from 'tap';
t.test('passes', async (t) => {
  t.ok([${names.map((_, i) => `module${i}`).join()}]);
  t.testdir({ file: 'text' });
  t.teardown(() => undefined);
  t.test('inner', { skip: 'as some are' }, () => undefined);
});
t.test('fails', async (t) => {
  t.same({ a: [1, { b: 2 }] }, { a: [1, { b: 3 }] });
  t.match('text', /other/);
  t.equal(1, 2, 'with more', { found: new Map([[1, 2]]) });
  t.throws(() => undefined);
});
`;

/** Folders of packages, relative to node_modules, that a file which imports \`names\` loads. */
export function packagesFor(names, folder) {
  mkdirSync(folder, { recursive: true });
  const [log, trace, script] = ['loaded.txt', 'tracer.mjs', 'exercise.mjs'].map((name) => join(folder, name));
  writeFileSync(log, '');
  writeFileSync(trace, tracer(log));
  writeFileSync(script, exercise(names));
  const { log: output } = run(process.execPath, ['--import', pathToFileURL(trace).href, script], { cwd: folder });
  if (!/^# \{ total: \d+, pass: \d+, fail: 4/m.test(output))
    throw new SetupError(`${output}\nthe trace did not end well`);
  const found = new Set();
  for (const url of readFileSync(log, 'utf8').split('\n')) {
    if (!url.startsWith('file:')) continue;
    const owner = packageOf(relative(modules, fileURLToPath(url)));
    if (owner !== undefined) found.add(owner);
  }
  return [...found].sort();
}

/** The package that a path below node_modules belongs to, the innermost. */
function packageOf(path) {
  if (path.startsWith('..')) return undefined;
  const parts = path.split(sep);
  const start = parts.lastIndexOf('node_modules') + 1;
  return parts.slice(0, start + (parts[start].startsWith('@') ? 2 : 1)).join(sep);
}
