// Node's lines, Bun and Deno, on the packages as npm puts them.
import { application, expect, install, tool, works, worksCommon } from './workspace.mjs';

const runtimes = {
  'Node 20': [tool('node20', 'bin', 'node')],
  'Node 22': [tool('node22', 'bin', 'node')],
  'Node 24': [tool('node24', 'bin', 'node')],
  Bun: [tool('@oven', 'bun-linux-x64', 'bin', 'bun')],
  Deno: [tool('@deno', 'linux-x64-glibc', 'deno'), 'run', '--allow-all'],
};

export const checks = ({ work, target }) =>
  Object.entries(runtimes).map(([name, [program, ...options]]) => [
    `${name}: the core from an ES module and from CommonJS`,
    () => {
      const cwd = install(application(work, ['core.mjs', 'common.cjs']), target);
      const env = { DENO_DIR: `${cwd}/deno`, DENO_NO_UPDATE_CHECK: '1' };
      expect(program, [...options, 'core.mjs'], { cwd, env, says: works });
      expect(program, [...options, 'common.cjs'], { cwd, env, says: worksCommon });
    },
  ]);
