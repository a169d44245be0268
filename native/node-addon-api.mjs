// Prints the folder of node-addon-api's headers, relative to the working folder, for binding.gyp.
import { createRequire } from 'node:module';
import { join } from 'node:path';

try {
  console.log(createRequire(join(process.cwd(), 'binding.gyp'))('node-addon-api').include_dir);
} catch (error) {
  if (error.code !== 'MODULE_NOT_FOUND') throw error;
  console.error('\nsigmatune: node-addon-api is missing; run "npm install node-addon-api node-gyp" and build again.\n');
  process.exitCode = 1;
}
