/** Users' mistakes: each is told in a line or two, without a stack and without a result, and writes nothing. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { disposeScene, makeScene, type Run, sigmatune, sigmatuneAll } from '../support/cli.js';
import { brokenFiles } from '../support/safetensors.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const folder = t.testdir({
  'shapes.json': '{"a.weight": [4, 8]}',
  'bad-shapes.json': '{"a.weight": [4, -8]}',
  'list.json': '[1]',
  'cut.json': '{"a.weight": [4',
  'options.json': '{"targts": ["a"]}',
  'pattern.json': '{"targets": "/(/"}',
  'text.txt': 'no checkpoint',
  'magic.gguf': 'GGML and more bytes than four',
  'short.gguf': 'GGUF\u0003\u0000\u0000\u0000',
  empty: {},
  peft: { 'adapter_config.json': '{"peft_type": "LORA"}' },
  odd: { 'adapter_config.json': '{"peft_type": "SIGMATUNE", "format_version": 99, "library_version": "9.9.9"}' },
});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
writeFileSync(join(folder, 'broken.safetensors'), brokenFiles[0]?.bytes ?? '');
mkdirSync(join(folder, 'folder'));

function told(t: Test, { code, out, err }: Run, [wanted, message]: readonly [number, RegExp], label: string): void {
  t.equal(code, wanted, `${label}: ends with ${wanted}`);
  t.match(err, message, label);
  t.notMatch(err, /^ +at |node:internal/m, `${label}: no stack`);
  t.equal(out, '', `${label}: prints no result`);
}

const plan = ['plan', 'model.safetensors', '--targets', 'q_proj', '--family', 'svft'];
const decompose = ['decompose', 'model.safetensors', '--targets', 'q_proj', '--cache', 'empty'];
const merge = ['merge', 'model.safetensors', 'adapter'];
const plot = ['plot', 'model.safetensors', 'adapter'];
const lora = ['export-lora', 'model.safetensors', 'adapter'];
const gguf = ['export-gguf', 'model.safetensors', 'adapter', '-o', 'new.gguf'];

const mistakes: readonly (readonly [args: readonly string[], code: number, message: RegExp])[] = [
  // ── the command line ──
  [['pln'], 2, /^sigmatune: no command 'pln'; did you mean 'plan'\?\nsigmatune --help/],
  [['toString'], 2, /no command 'toString'/],
  [['xyzzyxyzzy'], 2, /^sigmatune: no command 'xyzzyxyzzy'\n/],
  [['--jsn'], 2, /no command '--jsn'/],
  [['plan'], 2, /^sigmatune plan: expected FILE, got no argument\nsigmatune plan --help/],
  [['plan', 'a', 'b'], 2, /expected FILE, got one argument more: 'b'/],
  [['inspect', ''], 2, /got an empty argument/],
  [['info', 'x'], 2, /expected no argument, got one argument more: 'x'/],
  [['plan', '--targts', 'q', 'x'], 2, /no option '--targts'; did you mean '--targets'\?/],
  [['plan', '--__proto__', 'q'], 2, /no option '--__proto__'/],
  [['plan', '-x'], 2, /no option '-x'/],
  [['plan', 'x', '--targets'], 2, /--targets: expected a value \(--targets NAMES\), got none/],
  [['plan', 'x', '--targets', '--json'], 2, /--targets: expected a value .*, got the option '--json'/],
  [['plan', 'x', '--targets='], 2, /--targets: expected a value .*, got none/],
  [['plan', 'x', '--json=yes'], 2, /--json: expected no value, got 'yes'/],
  [['plan', 'x', '--family', 'a', '--family', 'b'], 2, /--family: expected one value, got a second one, 'b'/],
  [plot, 2, /--out FOLDER\|FILE\.svg is missing/],
  [[...plot, '-o', 'new', '--width', '319'], 2, /--width: expected an integer from 320 to 4000, got '319'/],
  [[...plot, '-o', 'new', '--width', 'wide'], 2, /--width: expected an integer .*, got 'wide'/],
  [[...plot, '-o', 'nowhere/new.svg'], 1, /'nowhere\/new\.svg': expected a file in a folder that there is/],
  [[...plot, '-o', 'text.txt'], 1, /'text\.txt': expected a folder, or a file whose name ends in \.svg/],
  [['plot', 'model.safetensors', 'peft', '-o', 'new'], 1, /adapter/],
  [['plan', 'model.safetensors', '--family', 'svft'], 2, /--targets NAMES is missing/],
  [['plan', 'model.safetensors', '--targets', 'q_proj'], 2, /--family NAME is missing/],
  [[...plan, '--exclude', 'q_proj'], 2, /--exclude: expected a target that is left/],
  [[...plan, '--option', 'pattern'], 2, /--option: expected NAME=VALUE, got 'pattern'/],
  [[...plan, '--split', 'c_attn'], 2, /--split: expected NAME=PART,PART/],
  [[...plan, '--split', 'c_attn=q:4,k'], 2, /--split: expected NAME=PART,PART/],
  [[...plan, '--split', 'c_attn=q:x,k:4'], 2, /--split: expected NAME=PART,PART/],
  [[...plan, '--preset', 'llama'], 2, /--preset: expected an architecture and a set, such as llama:QV, got 'llama'/],
  [[...plan, '--preset', 'lama:QV'], 2, /--preset, architecture: expected one of 'llama', .* got 'lama'/],
  [['plan', 'model.safetensors', '--targets', 'q,,v', '--family', 'svft'], 2, /--targets: expected names with commas/],
  [['plan', 'model.safetensors', '--targets', '/(/', '--family', 'svft'], 2, /--targets: expected a pattern/],
  [
    ['plan', 'model.safetensors', '--targets', 'q_prj', '--family', 'svft'],
    2,
    /--targets\[0\]: .*did you mean 'q_proj'\?/,
  ],
  [
    ['plan', 'model.safetensors', '--targets', '/nothing/', '--family', 'svft'],
    2,
    /--targets: expected a pattern that matches/,
  ],
  [
    ['plan', 'model.safetensors', '--targets', 'all', '--family', 'lora'],
    2,
    /--family: expected one of 'loraxs', 'siva'/,
  ],
  [[...plan, '--layout', 'rows'], 2, /--layout: expected 'out-in' or 'in-out', got 'rows'/],
  [['erank', 'model.safetensors', '--threads', 'many'], 2, /--threads: expected an integer from 1 to 1024, got 'many'/],
  [['erank', 'model.safetensors', '--threads', '0'], 2, /--threads: expected an integer from 1/],
  [
    ['erank', 'model.safetensors', '--adapter', 'adapter', '--targets', 'q'],
    2,
    /--targets: expected nothing next to --adapter/,
  ],
  [['decompose', 'model.safetensors', '--targets', 'q_proj'], 2, /--cache FOLDER is missing/],
  [['decompose', 'model.safetensors', '--cache', 'new'], 2, /--targets NAMES is missing/],
  [[...decompose, '--storage', 'int4'], 2, /--storage: expected one of 'float32', .* got 'int4'/],
  [[...decompose, '--device', 'gpu'], 1, /device: expected 'cpu', 'cuda' or 'cuda:N', got 'gpu'/],
  [['counts'], 2, /expected a FILE or --shape, got neither/],
  [['counts', 'shapes.json', '--shape', '2x2'], 2, /expected a FILE or --shape, got both/],
  [['counts', '--shape', '2x2', '--targets', 'q'], 2, /expected a FILE with the options that choose modules/],
  [['counts', '--shape', '2x0'], 2, /--shape: expected OUTxIN or OUTxIN:COUNT, .*, got '2x0'/],
  [['counts', '--shape', '2*2'], 2, /--shape: expected OUTxIN/],
  [['counts', '--shape', '2x2', '--method', 'lora'], 2, /--method lora, method\.r: expected an integer/],
  [['counts', '--shape', '2x2', '--method', 'lora:r'], 2, /--method: expected NAME:OPTION=VALUE/],
  [['counts', '--shape', '2x2', '--method', 'lora:rank=2'], 2, /--method lora:rank=2, method: expected only/],
  [['counts', '--shape', '2x2', '--method', 'ia3'], 2, /--method ia3, method\.name: expected one of/],
  [merge, 2, /--out FILE is missing/],
  [lora, 2, /--out FOLDER is missing/],
  [[...lora, '-o', 'new'], 2, /--rank R is missing/],
  [[...lora, '-o', 'new', '--rank', '0'], 2, /--rank: expected an integer from 1 to .*, got '0'/],
  [[...lora, '-o', 'new', '--rank', '1.5'], 2, /--rank: expected an integer/],
  [[...gguf, '--rank', '4', '--heads', '4'], 2, /--heads: expected two numbers, such as 32,8, got '4'/],
  [[...gguf, '--rank', '4', '--heads', '4,x'], 2, /--heads: expected an integer/],
  // ── files ──
  [['inspect', 'missing'], 1, /^sigmatune inspect: path 'missing': expected .* got ENOENT/],
  [['inspect', 'empty'], 1, /'empty': .* got a folder with neither/],
  [['inspect', 'text.txt'], 1, /'text\.txt'/],
  [['inspect', '/dev/null'], 1, /expected a file, got a device/],
  [['inspect', 'broken.safetensors'], 1, /'broken\.safetensors': expected at least 8 bytes, got 0/],
  [['inspect', 'magic.gguf'], 1, /'magic\.gguf': expected a file that begins with 'GGUF', got "GGML"/],
  [['inspect', 'short.gguf'], 1, /'short\.gguf': expected a whole GGUF header, got the end of the file/],
  [['inspect', 'peft'], 1, /adapter_model\.safetensors/],
  [['inspect', 'odd'], 1, /format_version: expected at most 1, got version 99, which sigmatune 9\.9\.9 wrote/],
  [['plan', 'cut.json', '--targets', 'a', '--family', 'svft'], 1, /'cut\.json': expected JSON/],
  [
    ['plan', 'list.json', '--targets', 'a', '--family', 'svft'],
    1,
    /'list\.json': expected an object of shapes by name/,
  ],
  [
    ['plan', 'bad-shapes.json', '--targets', 'a', '--family', 'svft'],
    1,
    /'a\.weight': expected a shape \[out, in\], got \[4,-8\]/,
  ],
  [['plan', '-', '--targets', 'a', '--family', 'svft'], 1, /^sigmatune plan: stdin: expected JSON/],
  [['plan', 'empty/x.json', '--targets', 'a', '--family', 'svft'], 1, /ENOENT/],
  [['plan', '/dev/zero', '--targets', 'a', '--family', 'svft'], 1, /expected a file, got a device/],
  [[...plan, '--config', '/dev/zero'], 1, /'\/dev\/zero': expected a file/],
  [[...plan, '--config', 'options.json'], 1, /'options\.json': expected only the options .* did you mean 'targets'\?/],
  [['plan', 'shapes.json', '--config', 'pattern.json', '--family', 'svft'], 2, /--targets: expected a pattern/],
  [[...plan, '--option', 'patern=banded'], 1, /expected only the options .* did you mean 'pattern'\?/],
  [[...plan, '--option', 'pattern=bandd'], 1, /pattern/],
  [['erank', 'shapes.json'], 1, /'shapes\.json': expected an object with weight_map/],
  [['decompose', 'missing', '--targets', 'all', '--cache', 'empty'], 1, /path 'missing'/],
  [
    ['decompose', 'model.safetensors', '--targets', 'all', '--cache', 'text.txt'],
    1,
    /--cache '.*text\.txt': expected a folder/,
  ],
  [['merge', 'missing', 'adapter', '-o', 'new'], 1, /path 'missing'/],
  [['merge', 'model.safetensors', 'empty', '-o', 'new'], 1, /adapter_config\.json.*ENOENT/],
  [['merge', 'model.safetensors', 'peft', '-o', 'new'], 1, /peft_type: expected 'SIGMATUNE', got 'LORA'/],
  [
    [...merge, '-o', 'missing/new'],
    1,
    /'missing\/new': expected a file in a folder that there is, got no folder 'missing'/,
  ],
  [[...merge, '-o', 'folder'], 1, /path 'folder': expected a file, got a folder/],
  [[...lora, '-o', 'config.json', '--rank', '2'], 1, /folder 'config\.json': expected a folder that can be written/],
  [
    ['export-gguf', 'model.safetensors', 'adapter', '-o', 'n.gguf', '--rank', '4', '--heads', '5,2'],
    1,
    /options\.heads|--heads/,
  ],
];

t.test('each mistake is told', async (t) => {
  const before = readdirSync(folder, { recursive: true }).sort();
  const runs = await sigmatuneAll(
    mistakes.map(([args]) => args),
    { cwd: folder },
  );
  for (const [i, [args, code, message]] of mistakes.entries()) {
    told(t, runs[i] as Run, [code, message], args.join(' '));
  }
  t.same(readdirSync(folder, { recursive: true }).sort(), before, 'nothing is written or left behind');
});

t.test('a mistake as JSON', async (t) => {
  const { code, out, err } = await sigmatune(['inspect', 'broken.safetensors', '--json'], { cwd: folder });
  t.same([code, out], [1, '']);
  t.match(JSON.parse(err), { error: { exitCode: 1, code: 'CORRUPT_FILE', message: /at least 8 bytes/ } });
  const usage = await sigmatune(['plan', '--json'], { cwd: folder });
  t.match(JSON.parse(usage.err), { error: { exitCode: 2, code: 'USAGE' } });
  const option = await sigmatune([...plan.slice(0, 3), 'q_prj', '--family', 'svft', '--json'], { cwd: folder });
  t.match(JSON.parse(option.err), { error: { exitCode: 2, code: 'INVALID_ARGUMENT', message: /^--targets/ } });
});
