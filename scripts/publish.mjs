#!/usr/bin/env node
// Publishes the tarballs of npm/ in the order of npm/order.txt, with provenance in CI: node scripts/publish.mjs [--dry-run]
// A version that the registry already has is passed over, so that a run that broke off can be repeated.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { must, root, run, step } from './setup/run.mjs';
import { main } from './setup/steps.mjs';

const folder = join(root, 'npm');
const dryRun = process.argv.includes('--dry-run');

main(() => {
  const tarballs = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  for (const part of readFileSync(join(folder, 'order.txt'), 'utf8').trim().split('\n')) {
    const { name, version } = JSON.parse(readFileSync(join(folder, part, 'package.json'), 'utf8'));
    const file = `${name.replace('@', '').replace('/', '-')}-${version}.tgz`;
    if (!tarballs.includes(file)) throw new Error(`npm/${file} is missing`);
    if (run('npm', ['view', `${name}@${version}`, 'version']).log.trim() === version) {
      console.log(`${name}@${version} is published already`);
      continue;
    }
    const options = dryRun ? ['--dry-run'] : ['--provenance'];
    step(`publishing ${name}@${version}`, () =>
      must('npm', ['publish', join(folder, file), '--access', 'public', ...options]),
    );
  }
});
