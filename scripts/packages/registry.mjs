#!/usr/bin/env node
// A read-only npm registry on this machine: node registry.mjs FOLDER UPSTREAM. It serves the tarballs of FOLDER, and sends
// clients to UPSTREAM for every other package. Prints its port on one line.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

const [folder, upstream] = process.argv.slice(2);
const packages = new Map();

for (const file of readdirSync(folder).filter((name) => name.endsWith('.tgz'))) {
  const path = join(folder, file);
  const manifest = JSON.parse(execFileSync('tar', ['-xzOf', path, 'package/package.json'], { encoding: 'utf8' }));
  packages.set(manifest.name, { manifest, file, bytes: readFileSync(path) });
}

/** What a registry answers for a package of one version. */
function packument(host, { manifest, file, bytes }) {
  const hash = (algorithm, encoding) => createHash(algorithm).update(bytes).digest(encoding);
  const dist = {
    tarball: `http://${host}/-/${file}`,
    integrity: `sha512-${hash('sha512', 'base64')}`,
    shasum: hash('sha1', 'hex'),
  };
  const { name, version } = manifest;
  const modified = '2020-01-01T00:00:00.000Z';
  return {
    name,
    modified,
    time: { created: modified, modified, [version]: modified },
    'dist-tags': { latest: version },
    versions: { [version]: { ...manifest, dist } },
  };
}

const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, 'http://registry').pathname).slice(1);
  const tarball = [...packages.values()].find(({ file }) => path === `-/${file}`);
  const asked = packages.get(path);
  if (tarball) return response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(tarball.bytes);
  if (asked) {
    const json = JSON.stringify(packument(request.headers.host, asked));
    return response.writeHead(200, { 'content-type': 'application/json' }).end(json);
  }
  // A platform that is not packed here: package managers go on without an optional dependency that does not exist.
  if (path.startsWith('@sigmatune/') || !upstream) return response.writeHead(404).end('{}');
  return response.writeHead(302, { location: `${upstream.replace(/\/$/, '')}${request.url}` }).end();
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
