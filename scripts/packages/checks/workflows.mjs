// The workflows of .github are well-formed, as far as actionlint knows them.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../setup/run.mjs';
import { application, node, tool } from './workspace.mjs';

const folder = join(root, '.github', 'workflows');

export const checks = ({ work }) =>
  readdirSync(folder).map((name) => [
    `workflow ${name}`,
    () => {
      const cwd = application(work, [], {
        'lint.mjs': `import { readFileSync } from 'node:fs';
          import { createLinter } from ${JSON.stringify(tool('actionlint', 'node.mjs'))};
          const lint = await createLinter();
          // actionlint lists the runners that GitHub had when it was made.
          const found = lint(readFileSync(process.argv[2], 'utf8'), process.argv[2]).filter(({ kind }) => kind !== 'runner-label');
          for (const { line, column, message } of found) console.log(line + ':' + column + ' ' + message);
          process.exitCode = found.length > 0 ? 1 : 0;`,
      });
      node(['lint.mjs', join(folder, name)], { cwd });
    },
  ]);
