// The declarations for every way in which TypeScript resolves modules, and the test runners that load CommonJS.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { must, root } from '../../setup/run.mjs';
import { application, install, node, npm, tool, tools } from './workspace.mjs';

const source = `import { AdamW, matmul, svft, tensor, type Tensor } from 'sigmatune';
const a = tensor([[1, 2]]);
const product: Tensor = matmul(a, a, { transposeB: true });
export async function train(): Promise<number> {
  const layer = await svft(a, { pattern: 'plain' });
  new AdamW(layer.parameters, { lr: 0.1 }).step();
  return product.size + layer.parameters.length;
}
// @ts-expect-error: a wrong argument is seen, so the types are not any.
tensor(true);
`;

/** Compiler, module, resolution, name of the file. */
const ways = [
  ['typescript52', 'node16', 'node16', 'user.cts'],
  ['typescript52', 'node16', 'node16', 'user.mts'],
  ['typescript52', 'esnext', 'bundler', 'user.ts'],
  ['typescript', 'node16', 'node16', 'user.cts'],
  ['typescript', 'nodenext', 'nodenext', 'user.cts'],
  ['typescript', 'nodenext', 'nodenext', 'user.mts'],
  ['typescript', 'commonjs', 'node10', 'user.ts'],
];

export function checks({ work, target }) {
  const app = (files) => install(application(work, [], files), target);
  return [
    ...ways.map(([compiler, module, resolution, file]) => [
      `${compiler}: module ${module}, resolution ${resolution}, ${file}`,
      () => {
        const cwd = app({ [file]: source });
        const options = [
          ...['--noEmit', '--strict', '--target', 'es2022', '--module', module, '--moduleResolution', resolution],
          ...['--typeRoots', tool('@types'), '--types', 'node', '--skipLibCheck', 'false'],
        ];
        node([tool(compiler, 'bin', 'tsc'), ...options, file], { cwd });
      },
    ]),
    [
      'attw: every resolution of every entry',
      () => {
        const tarball = readdirSync(npm).find((name) => /^sigmatune-\d.*\.tgz$/.test(name));
        must(process.execPath, [join(root, 'node_modules', '.bin', 'attw'), join(npm, tarball)]);
      },
    ],
    [
      'publint: the packed manifest',
      () => must(join(root, 'node_modules', '.bin', 'publint'), ['--strict', join(npm, 'sigmatune')]),
    ],
    [
      'ts-node in a package of CommonJS',
      () => {
        const cwd = app({
          'main.ts': "import { tensor } from 'sigmatune';\nconsole.log('size', tensor([[1, 2]]).size);\n",
          'tsconfig.json': {
            compilerOptions: {
              module: 'node16',
              target: 'es2022',
              strict: true,
              types: ['node'],
              typeRoots: [tool('@types')],
            },
          },
        });
        node([tool('ts-node', 'dist', 'bin.js'), '--compiler', tool('typescript'), 'main.ts'], {
          cwd,
          says: /^size 2/m,
        });
      },
    ],
    ...[
      ['with a transformation', { transformIgnorePatterns: ['/node_modules/(?!sigmatune/|pure-rand/)'] }, {}],
      ['with --experimental-vm-modules', undefined, { NODE_OPTIONS: '--experimental-vm-modules' }],
    ].map(([how, transformed, env]) => [
      `Jest ${how}`,
      () => {
        const load = transformed ? "const s = require('sigmatune');" : "import * as s from 'sigmatune';";
        const name = transformed ? 'svd.test.js' : 'svd.test.mjs';
        const transform = {
          '\\.[cm]?js$': [tool('babel-jest'), { plugins: [tool('@babel', 'plugin-transform-modules-commonjs')] }],
        };
        const cwd = app({
          [name]: `${load}
            test('svd', async () => {
              const { s: sigma } = await s.svd(s.tensor(new Float32Array([0, 2, 3, 0]), [2, 2]));
              expect(Array.from(sigma.dataSync())).toEqual([3, 2]);
              await expect(s.svd(s.tensor([[NaN]]))).rejects.toThrow(s.SigmaError);
            });`,
          'jest.config.json': {
            testMatch: [`**/${name}`],
            ...(transformed ? { ...transformed, transform } : { transform: {} }),
          },
        });
        node([join(tools, 'jest', 'bin', 'jest.js'), '--config', 'jest.config.json'], { cwd, env });
      },
    ]),
  ];
}
