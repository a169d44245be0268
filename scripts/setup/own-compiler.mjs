// The addon as it is published, but compiled by this machine's own compiler through prebuildify and binding.gyp: for systems
// that zig has no target of. Its glibc is that of this machine.
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gypDefines, variant } from './addon.mjs';
import { checkNeeds } from './binary.mjs';
import { nodeDir } from './node.mjs';
import { must, root } from './run.mjs';

/** Writes `file`. */
export function compileWithOwnCompiler(file) {
  const { folder, variables } = variant('prebuild', 'prebuilt addon', { portable: 1 });
  const prebuildify = join(root, 'node_modules', 'prebuildify', 'bin.js');
  must(process.execPath, [prebuildify, '--napi', '--strip', `--out=${folder}`], {
    cwd: folder,
    // prebuildify runs node-gyp, and hands on no options but those of the environment.
    env: { ...process.env, GYP_DEFINES: gypDefines(variables), JOBS: 'max', npm_config_nodedir: nodeDir(folder) },
  });
  const built = join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
  const [name] = readdirSync(built).filter((each) => each.endsWith('.node'));
  cpSync(join(built, name), file);
  rmSync(join(folder, 'prebuilds'), { recursive: true });
  if (process.platform === 'linux') checkNeeds(file);
  must(process.execPath, ['-e', `require(${JSON.stringify(file)})`]);
}
