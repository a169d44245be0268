// The addon compiled by a user, from the sources in the installed package: docs/install.md, "From source".
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nodeDir } from '../../setup/node.mjs';
import { root } from '../../setup/run.mjs';
import { application, install, node, works } from './workspace.mjs';

const gyp = join(root, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');

export function checks({ work, target }) {
  const app = () => {
    const cwd = install(application(work, ['core.mjs']), target);
    // Without the package of the platform nothing but the build can be loaded.
    rmSync(join(cwd, 'node_modules', '@sigmatune'), { recursive: true });
    return cwd;
  };
  const build = (cwd, options) => {
    const source = join('node_modules', 'sigmatune', 'source');
    const nodedir = `--nodedir=${nodeDir(join(cwd, source))}`;
    return node([gyp, 'rebuild', '-C', source, '--jobs=max', nodedir], { cwd, ...options });
  };
  return [
    [
      'the sources in the package compile, and their addon is loaded',
      () => {
        const cwd = app();
        cpSync(join(root, 'node_modules', 'node-addon-api'), join(cwd, 'node_modules', 'node-addon-api'), {
          recursive: true,
        });
        build(cwd);
        node(['core.mjs'], { cwd, says: works });
      },
    ],
    [
      'a build without node-addon-api says what to install',
      () => build(app(), { status: 1, says: /npm install node-addon-api/ }),
    ],
  ];
}
