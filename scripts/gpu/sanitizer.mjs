// compute-sanitizer watches every benchmark's tiny run: memory, shared memory and what is read before it is written.
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runLogged } from './process.mjs';

/** racecheck is slow, and the kernels of cuBLAS and cuSOLVER are NVIDIA's to check. */
const ours = ['--kernel-name', 'kernel_substring=sigma'];

export const tools = [
  // The backend handles the errors that calls return, such as a failed allocation: only faults of kernels are wrong.
  { tool: 'memcheck', options: ['--report-api-errors', 'no'] },
  { tool: 'racecheck', options: ours },
  // Without a filter: it must see what cuBLAS writes, because our kernels read it.
  { tool: 'initcheck', options: [] },
];

/** The program, where a toolkit has it; undefined where there is none. */
export function findSanitizer() {
  const toolkits = existsSync('/usr/local') ? readdirSync('/usr/local').filter((name) => /^cuda(-|$)/.test(name)) : [];
  const roots = [process.env.CUDA_HOME, process.env.CUDA_PATH, ...toolkits.map((name) => join('/usr/local', name))];
  return [
    ...(process.env.PATH ?? '').split(delimiter),
    ...roots.filter(Boolean).flatMap((root) => [join(root, 'bin'), join(root, 'compute-sanitizer')]),
  ]
    .map((folder) => join(folder, 'compute-sanitizer'))
    .find((path) => existsSync(path));
}

/** One result a tool: { name, outcome, seconds, detail }. */
export async function runSanitizer({ root, folder, seconds, say }) {
  const program = findSanitizer();
  if (program === undefined) {
    const detail = 'compute-sanitizer, which comes with the CUDA toolkit, is not there';
    say(`skipped: sanitizer: ${detail}`);
    return [{ name: 'sanitizer', outcome: 'skipped', seconds: 0, detail }];
  }
  const results = [];
  for (const { tool, options } of tools) {
    say(`sanitizer: ${tool}`);
    const ended = await runLogged(
      program,
      [
        ...['--tool', tool, '--error-exitcode', '99', '--target-processes', 'application-only', ...options],
        ...[process.execPath, join('bench', 'gpu.js'), '--dry'],
        ...['copies', 'gemm', 'sparse', 'optimizer', 'adapters', 'repeat', 'svd'],
      ],
      { cwd: root, log: join(folder, `${tool}.log`), seconds: seconds / tools.length },
    );
    results.push({ name: tool, seconds: ended.seconds, ...judge(ended) });
  }
  return results;
}

/** The tool's own last word, such as "ERROR SUMMARY: 0 errors" or "RACECHECK SUMMARY: 0 hazards displayed". */
export function judge({ status, late, output }) {
  const summary = [...output.matchAll(/^=+ (?:(?:ERROR|RACECHECK) SUMMARY: .*)$/gm)].at(-1)?.[0].replace(/^=+ /, '');
  if (late) return { outcome: 'unfinished', detail: summary ?? 'out of time' };
  if (status === 0 && summary !== undefined && /: 0 /.test(summary)) return { outcome: 'passed', detail: summary };
  const right = /^\d+ right, \d+ wrong.*$/m.exec(output)?.[0];
  return { outcome: 'failed', detail: [summary ?? `exit code ${status}`, right].filter(Boolean).join('; ') };
}
