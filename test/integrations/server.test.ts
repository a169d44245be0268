/** examples/server.js: one base weight, an adapter for each tenant, one batch for requests that arrive together. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type AdaptedLinear, tensor } from 'sigmatune';
import t from 'tap';
// @ts-expect-error: no declarations
import * as example from '../../examples/server.js';
import { cpuOnly } from '../support/helpers.js';

interface Server {
  readonly url: string;
  readonly batcher: { readonly counts: { readonly rows: number; readonly batches: number } };
  close(): Promise<void>;
}
const serve: (adapters: Map<string, AdaptedLinear>, options: { wait: number }) => Promise<Server> = example.serve;
const exampleAdapters: () => Promise<Map<string, AdaptedLinear>> = example.exampleAdapters;

const row = Array.from({ length: 64 }, (_, i) => Math.cos(i));
const alone = (layer: AdaptedLinear | undefined) => [...(layer?.apply(tensor([row])).dataSync() ?? [])].map(Number);
const largest = (a: number[], b: number[]) => Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))));

t.test('it serves, mixes, swaps, refuses and stops', { skip: cpuOnly }, async (t) => {
  const adapters = await exampleAdapters();
  const { url, batcher, close } = await serve(adapters, { wait: 50 });
  const ask = async (method: string, path: string, body?: unknown) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(url + path, { method, ...(text === undefined ? {} : { body: text }) });
    return { status: response.status, body: (await response.json()) as number[] & { error?: string } };
  };

  t.same(Object.keys((await ask('GET', '/adapters')).body), ['ada', 'bob', 'cy']);
  const names = Array.from({ length: 24 }, (_, i) => ['ada', 'bob', 'cy'][i % 3] as string);
  const answers = await Promise.all(names.map((name) => ask('POST', `/apply/${name}`, row)));
  for (const [i, { body }] of answers.entries()) {
    t.ok(largest(body, alone(adapters.get(names[i] as string))) < 1e-5, `request ${i} has its own adapter`);
  }
  t.equal(batcher.counts.rows, 24);
  t.ok(batcher.counts.batches < 24, `${batcher.counts.batches} batches for 24 requests`);

  const half = alone(adapters.get('ada')).map((value, i) => (value + (alone(adapters.get('bob'))[i] as number)) / 2);
  const changes = [
    ask('PUT', '/adapters/both', { mix: { ada: 0.5, bob: 0.5 } }),
    ask('PUT', '/adapters/ada', { mix: { cy: 1 } }),
  ];
  t.same(
    (await Promise.all(changes)).map(({ status }) => status),
    [200, 200],
  );
  const [both, ada, cy] = await Promise.all(['both', 'ada', 'cy'].map((name) => ask('POST', `/apply/${name}`, row)));
  t.ok(
    largest(both?.body ?? [], half) < 1e-5,
    'the mixture of two families is exact, also if a part is swapped right after',
  );
  t.ok(largest(ada?.body ?? [], cy?.body ?? []) < 1e-5, 'ada has the numbers of cy');

  const refusals: [string, string, unknown, number][] = [
    ['POST', '/apply/dan', row, 404],
    ['POST', '/apply/%', row, 400],
    ['POST', '/apply/ada', [1, 2], 400],
    ['POST', '/apply/ada', [...row.slice(1), '1'], 400],
    ['POST', '/apply/ada', [...row.slice(1), 1e300], 400],
    ['POST', '/apply/ada', '{', 400],
    ['POST', '/apply/ada', ' '.repeat(2 ** 20 + 1), 413],
    ['PUT', '/adapters/new', { mix: {} }, 400],
    ['PUT', '/adapters/new', { mix: { ada: '1' } }, 400],
    ['PUT', '/adapters/new', { mix: { dan: 1 } }, 404],
    ['DELETE', '/adapters/ada', undefined, 404],
  ];
  for (const [method, path, body, status] of refusals) {
    const answer = await ask(method, path, body);
    t.equal(answer.status, status, `${method} ${path}: ${answer.body.error}`);
  }
  t.notOk(adapters.has('new'));
  await close();
  await t.rejects(fetch(url), 'it has stopped');
  for (const layer of adapters.values()) layer.dispose();
});

t.test('started by itself it shows what it does, and ends', { skip: cpuOnly }, async (t) => {
  const path = fileURLToPath(new URL('../../examples/server.js', import.meta.url));
  t.match(execFileSync(process.execPath, [path], { encoding: 'utf8', timeout: 60_000 }), 'rows served: 5');
});
