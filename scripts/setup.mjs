#!/usr/bin/env node
// From a fresh clone to a package that runs: `npm run quickstart` and `npm test` begin with this. It uses nothing but
// Node itself, since it runs before anything is installed, and does only what is not up to date.
import { main, setup } from './setup/steps.mjs';

main(setup);
