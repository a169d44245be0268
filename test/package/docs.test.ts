/** The documentation is current: examples and their outputs, tables of options, counts, API reference, links. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as sigmatune from 'sigmatune';
import t from 'tap';
import { type Maker, makers } from '../support/cases.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const run = (...args: string[]): string =>
  execFileSync(process.execPath, args, { cwd: fileURLToPath(root), encoding: 'utf8' });

const { SigmaError, tensor } = sigmatune;

/** A family's options, from its error for an unknown option. */
async function knownOptions(name: string, make: Maker): Promise<string[]> {
  const weight = tensor([[1]]);
  try {
    await make(weight, { unheardOf: true } as object);
  } catch (error) {
    const list = error instanceof SigmaError && /only the options (.*), got/.exec(error.message)?.[1];
    if (list) return list.split(', ').sort();
    throw error;
  } finally {
    weight.dispose();
  }
  throw new Error(`${name} takes any option`);
}

/** The names in the first column of a page's table of options. */
function documentedOptions(page: string): string[] {
  const table = /## Options\n\n((?:\|.*\n)+)/.exec(page)?.[1] ?? '';
  const names = table.split('\n').flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)]);
  return names.map((match) => match[1] ?? '').sort();
}

t.test('every family of the registry has a test case', async (t) => {
  const registered = [...read('lib/families/registry.ts').matchAll(/Options, (\w+) \}/g)].map(([, name]) => name);
  t.same(registered.sort(), Object.keys(makers).sort());
});

for (const [name, make] of Object.entries(makers)) {
  const file = name.toLowerCase();

  t.test(`the page of ${name}`, async (t) => {
    const page = read(`docs/${file}.md`);
    t.same(documentedOptions(page), await knownOptions(name, make), 'its table has every option, and no other');
    t.match(page, `<!-- examples/${file}.js -->`, 'it has an example');
  });
}

t.test('the pages show the examples that run (npm run docs brings them up to date)', async (t) => {
  for (const name of readdirSync(new URL('docs', root))) {
    const page = name.endsWith('.md') ? read(`docs/${name}`) : '';
    for (const [place, file = ''] of page.matchAll(/<!-- (examples\/\S+\.js) -->\n/g)) {
      const example = read(file).replace('// @ts-check\n', '').trim();
      const block = `${place}\n\`\`\`js\n${example}\n\`\`\`\n\n\`\`\`text\n`;
      t.ok(page.includes(block), `${name} has ${file}`);
      const shown = page.split(block)[1]?.split('\n```')[0]?.split('\n') ?? [];
      t.equal(run(file).trim().split('\n').length, shown.length, `${file} prints as many lines as ${name} shows`);
    }
  }
});

/** The text that `npm run docs` would write now. */
function generated(script: string, name: string): string {
  const code = `import { ${name} } from './scripts/docs/${script}'; process.stdout.write(await ${name}());`;
  return run('--input-type=module', '-e', code);
}

t.test('docs/parameter-counts.md is current', async (t) => {
  t.equal(generated('counts.mjs', 'countsPage'), read('docs/parameter-counts.md'), 'docs/parameter-counts.md');
});

t.test("docs/study.md is current with the study's records (npm run docs brings it up to date)", async (t) => {
  t.equal(generated('study.mjs', 'studyPage'), read('docs/study.md'), 'docs/study.md');
  t.equal(generated('study-figures.mjs', 'studyAccuracy'), read('docs/study-accuracy.svg'), 'docs/study-accuracy.svg');
  t.equal(generated('study-figures.mjs', 'studyRank'), read('docs/study-rank.svg'), 'docs/study-rank.svg');
});

t.test('the API reference is current (npm run docs brings it up to date)', async (t) => {
  const page = read('docs/api.md');
  t.equal(generated('api.mjs', 'apiPage'), page, 'docs/api.md');
  for (const name of Object.keys(sigmatune)) t.match(page, `### ${name}\n`, `it has ${name}`);
});

t.test('every link inside the API reference has a heading', async (t) => {
  const page = read('docs/api.md');
  const seen = new Map<string, number>();
  const anchors = new Set(
    [...page.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => {
      const anchor = title
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-');
      const before = seen.get(anchor) ?? 0;
      seen.set(anchor, before + 1);
      return before > 0 ? `${anchor}-${before}` : anchor;
    }),
  );
  for (const [, target = ''] of page.matchAll(/\]\(#([^)]*)\)/g)) t.ok(anchors.has(target), target);
});

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...readdirSync(new URL('docs', root)).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'));

/** The files that a page links to. */
function linkedFiles(page: string): string[] {
  const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(#[^)]*)?\)/g)].map(([, target = '']) => target);
  return links.filter((target) => target !== '').map((target) => join(page, '..', target));
}

t.test('every link between the pages has a target', async (t) => {
  for (const page of pages) {
    for (const target of linkedFiles(page)) t.doesNotThrow(() => read(target), `${page}: ${target}`);
  }
});

t.test('every link has a target in the published package', async (t) => {
  const npm = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const [packed] = JSON.parse(execFileSync('npm', npm, { cwd: fileURLToPath(root), encoding: 'utf8', stdio: 'pipe' }));
  const files = packed.files.map(({ path }: { path: string }) => path);
  for (const page of pages.filter((name) => files.includes(name))) {
    for (const target of linkedFiles(page)) t.ok(files.includes(target), `${page}: ${target}`);
  }
});

const examplesIn = (page: string): string[] =>
  [...read(page).matchAll(/```js\n([\s\S]*?)```/g)].map(([, code = '']) => code);

t.test('the examples of README and the guide run in folders of every module type', async (t) => {
  const [first = '', ...rest] = examplesIn('README.md');
  t.same(rest, [], 'README has one example');
  const others = examplesIn('docs/guide.md');
  t.equal(others.length, 1, 'and the guide one that goes on with it');
  const whole = first.replace(/\}\);\s*$/, `${others.join('\n')}});\n`);
  t.not(whole, first);
  const folder = mkdtempSync(join(tmpdir(), 'sigmatune-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(fileURLToPath(root), join(folder, 'node_modules', 'sigmatune'));
  for (const type of ['commonjs', 'module', undefined]) {
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', type }));
    for (const [name, code] of Object.entries({ 'first.js': first, 'whole.js': whole, 'first.mjs': first })) {
      writeFileSync(join(folder, name), code);
      t.doesNotThrow(
        // Without the test runner's loaders, which treat every file as a module.
        () => execFileSync('env', ['-u', 'NODE_OPTIONS', process.execPath, name], { cwd: folder, stdio: 'pipe' }),
        `${name} in a folder of type ${type}`,
      );
    }
  }
});
