// Runs tests that know nothing of devices on one: node --import=./test/on-device/register.mjs, with
// SIGMATUNE_TEST_DEVICE naming it. What they import as 'sigmatune' is then ./sigmatune.mjs.
import { register } from 'node:module';

register('./hooks.mjs', import.meta.url);
