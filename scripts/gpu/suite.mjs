// The package's test suite with its default device changed: every file a process of its own, so that one that crashes or
// hangs takes no other along. The files are run by Node alone; tap's library in them counts.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ending, runLogged } from './process.mjs';

/** What a bundle holds is JavaScript already. */
function loaders(root) {
  const typescript = join(root, 'test', 'typescript', 'register.cjs');
  const device = pathToFileURL(join(root, 'test', 'on-device', 'register.mjs'));
  return [...(existsSync(typescript) ? [`--require=${typescript}`] : []), `--import=${device}`];
}

/** The benchmarks' tests name the CPU's drivers and spoil numbers in its memory: they are not about a device. */
const notOfDevice = 'bench/';

/** The test files below a repository or a bundle whose names have one of the words. */
export function testFiles(root, words = []) {
  return readdirSync(join(root, 'test'), { recursive: true })
    .filter((name) => /\.test\.(ts|js)$/.test(name))
    .filter((name) => !name.startsWith(notOfDevice))
    .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
    .sort();
}

/**
 * Runs the files, a few at once, and counts.
 * @returns {Promise<{ device: string, passed: number, failed: number, skipped: number, files: object[], late: string[] }>}
 */
export async function runSuite({ root, folder, seconds, words, atOnce = 2, say }) {
  mkdirSync(folder, { recursive: true });
  const end = performance.now() + 1000 * seconds;
  const args = loaders(root);
  const waiting = testFiles(root, words);
  const files = [];
  const late = [];
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const left = (end - performance.now()) / 1000;
      if (left < 1) {
        late.push(name);
        continue;
      }
      const found = await runFile({ root, folder, name, args, seconds: Math.min(left, 240) });
      files.push(found);
      say(`suite: ${name}: ${found.passed} passed, ${found.failed} failed${found.detail ? ` (${found.detail})` : ''}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  files.sort((a, b) => (a.file < b.file ? -1 : 1));
  const total = (key) => files.reduce((sum, file) => sum + file[key], 0);
  return { device: 'cuda', passed: total('passed'), failed: total('failed'), skipped: total('skipped'), files, late };
}

async function runFile({ root, folder, name, args, seconds }) {
  const ended = await runLogged(process.execPath, [...args, '--enable-source-maps', join('test', name)], {
    cwd: root,
    env: { ...process.env, SIGMATUNE_TEST_DEVICE: 'cuda', TAP_TIMEOUT: '200' },
    log: join(folder, `${name.replaceAll('/', '-')}.tap`),
    seconds,
  });
  return { file: name, ...count(ended) };
}

/** What the file's closing line says, "# { total: 5, pass: 3, fail: 1, skip: 1 }"; an end before it is a failure, too. */
export function count(ended) {
  const { output, status } = ended;
  const closing = [...output.matchAll(/^# \{ (total: .*) \}$/gm)].at(-1)?.[1] ?? '';
  const number = (key) => Number(new RegExp(`\\b${key}: (\\d+)`).exec(closing)?.[1] ?? 0);
  const failed = number('fail');
  const first = /^ *not ok (?:\d+ )?(?:- )?(.*)$/m.exec(output)?.[1];
  const bad = status !== 0 || closing === '';
  const detail = [bad && closing === '' && 'it did not come to its end', ending(ended), failed > 0 && first]
    .filter(Boolean)
    .join('; ');
  return {
    passed: number('pass'),
    failed: bad && failed === 0 ? 1 : failed,
    skipped: number('skip') + number('todo'),
    detail: bad || failed > 0 ? detail : '',
  };
}
