// Stands before nvcc as CMake's compiler launcher: what ptxas says of the kernels is kept next to the object file, where
// it stays for as long as the object need not be compiled again. All else that nvcc says goes on its way.
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';

const [nvcc, ...args] = process.argv.slice(2);
const kept = `${args[args.lastIndexOf('-o') + 1]}.ptxas`;
rmSync(kept, { force: true });
const { status, stdout, stderr, error } = spawnSync(nvcc, args, {
  encoding: 'utf8',
  maxBuffer: 1 << 28,
  stdio: ['ignore', 'pipe', 'pipe'],
});
if (error) throw error;
const isResource = (line) => /^ptxas info|^ +\d+ bytes stack frame/.test(line);
const lines = `${stdout}${stderr}`.split('\n');
process.stderr.write(lines.filter((line) => !isResource(line)).join('\n'));
if (status === 0) writeFileSync(kept, `${lines.filter(isResource).join('\n')}\n`);
process.exitCode = status ?? 1;
