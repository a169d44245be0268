// File tracing and bundlers: the package as an external module, and inside of the bundle where its .node file can follow.
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { application, environment, expect, install, node, tool, tools, works } from './workspace.mjs';

const withRequire = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

export function checks({ work, target }) {
  const app = (files) => install(application(work, ['core.mjs'], files), target);
  const esbuild = (cwd, ...args) =>
    expect(tool('.bin', 'esbuild'), ['core.mjs', '--bundle', '--platform=node', '--log-level=warning', ...args], {
      cwd,
      never: /warning/i,
    });
  /** Runs a bundle in a folder of its own, so that nothing outside of the bundle helps. */
  const alone = (from, file, ...parts) => {
    const cwd = application(work, []);
    for (const part of parts) cpSync(join(from, part), join(cwd, part), { recursive: true });
    return node([file], { cwd, says: works });
  };

  return [
    [
      '@vercel/nft finds every file',
      () => {
        const cwd = app({
          'trace.mjs': `import { nodeFileTrace } from ${JSON.stringify(tool('@vercel', 'nft', 'out', 'index.js'))};
            const { fileList } = await nodeFileTrace(['core.mjs']);
            console.log(JSON.stringify([...fileList]));`,
        });
        const files = JSON.parse(node(['trace.mjs'], { cwd }));
        const to = application(work, []);
        for (const file of files) {
          mkdirSync(dirname(join(to, file)), { recursive: true });
          cpSync(join(cwd, file), join(to, file));
        }
        node(['core.mjs'], { cwd: to, says: works });
      },
    ],
    [
      'esbuild: external, as CommonJS and as an ES module',
      () => {
        const cwd = app();
        esbuild(cwd, '--external:sigmatune', '--format=cjs', '--outfile=external.cjs');
        node(['external.cjs'], { cwd, says: works });
        esbuild(cwd, '--external:sigmatune', '--format=esm', '--outfile=external.mjs');
        node(['external.mjs'], { cwd, says: works });
      },
    ],
    [
      'esbuild: bundled with the .node file next to the bundle',
      () => {
        const cwd = app();
        esbuild(cwd, '--loader:.node=copy', '--format=cjs', '--outfile=out/bundle.cjs');
        alone(join(cwd, 'out'), 'bundle.cjs', ...readdirSync(join(cwd, 'out')));
        const banner = `--banner:js=${withRequire}`;
        esbuild(cwd, '--loader:.node=copy', '--format=esm', banner, '--outfile=esm/bundle.mjs');
        alone(join(cwd, 'esm'), 'bundle.mjs', ...readdirSync(join(cwd, 'esm')));
      },
    ],
    [
      'esbuild: a bundle without the binary says what to do',
      () => {
        const cwd = app();
        esbuild(cwd, '--external:@sigmatune/*', '--format=cjs', '--outfile=out/bundle.cjs');
        const to = application(work, []);
        cpSync(join(cwd, 'out', 'bundle.cjs'), join(to, 'bundle.cjs'));
        node(['bundle.cjs'], {
          cwd: to,
          status: 1,
          says: /was bundled without its binary. Mark "sigmatune" as external/,
        });
      },
    ],
    ...['external', 'bundled'].map((kind) => [
      `webpack: ${kind}`,
      () => {
        const externals = kind === 'external' ? "{ sigmatune: 'commonjs sigmatune' }" : '[/^@sigmatune\\//]';
        const cwd = app({
          'build.cjs': `const webpack = require(${JSON.stringify(tool('webpack'))});
            const output = { path: __dirname + '/out', filename: 'bundle.cjs' };
            const externals = ${externals};
            webpack({ mode: 'production', target: 'node', entry: './core.mjs', externalsType: 'commonjs', externals, output },
              (error, stats) => {
                if (error) throw error;
                console.log(stats.toString({ all: false, errors: true, warnings: true }));
                process.exitCode = stats.hasErrors() || stats.hasWarnings() ? 1 : 0;
              });`,
        });
        node(['build.cjs'], { cwd });
        node(['out/bundle.cjs'], { cwd, says: works });
      },
    ]),
    ...['external', 'bundled'].map((kind) => [
      `Vite for the server: ${kind}`,
      () => {
        const ssr =
          kind === 'external' ? {} : { noExternal: ['sigmatune', 'pure-rand'], external: [`@sigmatune/${target}`] };
        const build = { ssr: 'core.mjs', outDir: 'out' };
        const cwd = app({ 'vite.config.mjs': `export default ${JSON.stringify({ build, ssr, logLevel: 'warn' })};` });
        node([tool('vite', 'bin', 'vite.js'), 'build'], { cwd, never: /warn/i });
        node(['out/core.mjs'], { cwd, says: works });
      },
    ]),
    ['Next.js 15: output "standalone" answers', () => next(work, target)],
  ];
}

function next(work, target) {
  const cwd = install(
    application(work, [], {
      'app/layout.js': 'export default ({ children }) => <html lang="en"><body>{children}</body></html>;',
      'app/page.js': 'export default () => <p>sigmatune</p>;',
      'app/svd/route.js': `import { svd, tensor } from 'sigmatune';
        export const dynamic = 'force-dynamic';
        export async function GET() {
          const { s } = await svd(tensor([[0, 2], [3, 0]]));
          return Response.json(Array.from(s.dataSync()));
        }`,
      'next.config.mjs': `export default {
        output: 'standalone', outputFileTracingRoot: import.meta.dirname, serverExternalPackages: ['sigmatune'] };`,
      // Starts the server, asks it once, and stops it.
      'ask.mjs': `import { spawn } from 'node:child_process';
        const env = { ...process.env, PORT: '0', HOSTNAME: '127.0.0.1' };
        const server = spawn(process.execPath, ['server.js'], { cwd: process.argv[2], env });
        const timer = setTimeout(() => server.kill(), 60_000);
        let log = '';
        const listen = async (data) => {
          log += data;
          const port = /127\\.0\\.0\\.1:(\\d+)/.exec(log)?.[1];
          if (!port || !log.includes('Ready')) return;
          const response = await fetch('http://127.0.0.1:' + port + '/svd');
          console.log('answer', response.status, await response.text());
          server.kill();
        };
        server.stdout.on('data', listen);
        server.stderr.on('data', listen);
        server.on('exit', () => { clearTimeout(timer); console.log(log); });`,
    }),
    target,
  );
  // Next must lie in the application's own node_modules; links would lead tracing out of it.
  for (const name of readdirSync(tools)) {
    if (
      [
        'next',
        '@next',
        'react',
        'react-dom',
        'scheduler',
        'styled-jsx',
        '@swc',
        'postcss',
        'nanoid',
        'picocolors',
        'source-map-js',
        'caniuse-lite',
        'client-only',
        'tslib',
      ].includes(name)
    ) {
      cpSync(join(tools, name), join(cwd, 'node_modules', name), { recursive: true });
    }
  }
  node([join('node_modules', 'next', 'dist', 'bin', 'next'), 'build'], { cwd, env: environment() });
  node(['ask.mjs', join(cwd, '.next', 'standalone')], { cwd, says: /answer 200 \[3,2\]/ });
}
