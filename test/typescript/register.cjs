// Runs the tests' TypeScript: node --require=./test/typescript/register.cjs. tap's own loader would bring the compiler into
// each process, twice.
const { register } = require('node:module');
const { pathToFileURL } = require('node:url');

// tap imports its loader after this file, and the loader then does nothing.
process.env.TAP_TYPE_STRIP_ONLY = '1';
// tap records which files each process loads, for coverage, which nothing asks for. It would do so in each child process of
// a test too, and so a child would take four times as long to start, and not run as a user's does.
process.env.__TAPJS_PROCESSINFO_TESTING_NO_REGISTER__ = String(process.pid);
register('./hooks.mjs', pathToFileURL(__filename));
