// @ts-check
// A server that keeps one base weight and an adapter for each tenant. Requests that arrive together are one batch; adapters
// are swapped and mixed while it serves.
//
//   node examples/server.js                starts, asks itself a few things, and stops
//   node examples/server.js --listen 8080  serves until it is interrupted
//
//   GET  /adapters                                       names, families and numbers of the adapters
//   POST /apply/NAME     [x, …]                          → [y, …]
//   PUT  /adapters/NAME  { "mix": { "a": 0.3, "b": 0.7 } }  a mixture, also of one adapter, as a new or in place of the old NAME
import { once } from 'node:events';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { applyEach, decompose, mixAdapters, SigmaError, svft, tensor, tidy, vectorFit } from 'sigmatune';

/** @typedef {import('sigmatune').AdaptedLinear<'float32'>} Layer */
/** @typedef {{ name: string, x: Float32Array, resolve: (y: number[]) => void, reject: (error: unknown) => void }} Waiting */

const mostBytes = 2 ** 20; // of a request

/** What the client has done wrong. */
class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Collects the rows that arrive within a few milliseconds, and sends them through their adapters together. */
class Batcher {
  /** @type {Waiting[]} */
  #waiting = [];
  #rows = 0;
  #batches = 0;

  /** @param {ReadonlyMap<string, Layer>} adapters of one weight @param {number} wait milliseconds */
  constructor(adapters, wait) {
    this.adapters = adapters;
    this.wait = wait;
  }

  get counts() {
    return { rows: this.#rows, batches: this.#batches };
  }

  /** @param {string} name @param {Float32Array} x @returns {Promise<number[]>} */
  apply(name, x) {
    if (this.#waiting.length === 0) setTimeout(() => this.#run(), this.wait);
    return new Promise((resolve, reject) => this.#waiting.push({ name, x, resolve, reject }));
  }

  #run() {
    const batch = this.#waiting;
    this.#waiting = [];
    try {
      const names = [...new Set(batch.map(({ name }) => name))];
      const layers = names.map((name) => /** @type {Layer} */ (this.adapters.get(name)));
      const which = Int32Array.from(batch, ({ name }) => names.indexOf(name));
      const { inFeatures, outFeatures } = layers[0];
      const rows = new Float32Array(batch.length * inFeatures);
      for (const [i, { x }] of batch.entries()) rows.set(x, i * inFeatures);
      const y = tidy(() =>
        applyEach(layers, tensor(rows, [batch.length, inFeatures]), which)
          .dataSync()
          .slice(),
      );
      this.#rows += batch.length;
      this.#batches++;
      for (const [i, { resolve }] of batch.entries()) resolve([...y.subarray(i * outFeatures, (i + 1) * outFeatures)]);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}

/**
 * @param {Map<string, Layer>} adapters of one weight and one set of factors; the server disposes those that it replaces
 * @param {{ port?: number, host?: string, wait?: number }} [options] port 0 is any free one; the first row of a batch waits
 * `wait` milliseconds for others
 */
export async function serve(adapters, { port = 0, host = '127.0.0.1', wait = 2 } = {}) {
  const batcher = new Batcher(adapters, wait);
  /** Changes run one after another: a mixture must not lose a part that another change replaces. */
  let changes = Promise.resolve();

  /** @param {string} name @returns {Layer} */
  const adapterOf = (name) => {
    const found = adapters.get(name);
    if (found === undefined) throw new Refused(404, `there is no adapter '${name}'`);
    return found;
  };

  /** @type {Record<string, (name: string, body: unknown) => unknown>} */
  const routes = {
    'GET /adapters': () =>
      Object.fromEntries([...adapters].map(([name, { family, parameterCount }]) => [name, { family, parameterCount }])),
    'POST /apply': (name, body) => batcher.apply(name, rowOf(body, adapterOf(name).inFeatures)),
    'PUT /adapters': (name, body) => {
      const parts = Object.entries(mixOf(body));
      const change = changes.then(async () => {
        const mixed = await mixAdapters(
          parts.map(([part]) => adapterOf(part)),
          parts.map(([, share]) => share),
        );
        adapters.get(name)?.dispose();
        adapters.set(name, /** @type {Layer} */ (mixed));
        return { family: mixed.family, parameterCount: mixed.parameterCount };
      });
      changes = change.then(
        () => {},
        () => {}, // who asked for the change is told
      );
      return change;
    },
  };

  const server = createServer(async (request, response) => {
    const answer = (/** @type {number} */ status, /** @type {unknown} */ body) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    try {
      const [, place = '', name = ''] = (request.url ?? '/').split(/[/?]/);
      const route = routes[`${request.method} /${place}`];
      if (route === undefined) throw new Refused(404, `there is no ${request.method} /${place}`);
      const body = request.method === 'GET' ? undefined : await bodyOf(request);
      answer(200, await route(nameOf(name), body));
    } catch (error) {
      const wrong = error instanceof Refused ? error.status : error instanceof SigmaError ? 400 : 500;
      if (wrong === 500) console.error(error);
      answer(wrong, { error: wrong === 500 ? 'the server failed' : /** @type {Error} */ (error).message });
    }
  });
  server.listen(port, host);
  await once(server, 'listening');
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  const close = async () => {
    server.close();
    server.closeIdleConnections();
    await once(server, 'close');
  };
  return { url: `http://${host}:${address.port}`, batcher, close };
}

/** @param {import('node:http').IncomingMessage} request @returns {Promise<unknown>} */
async function bodyOf(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw new Refused(413, `the body: expected at most ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refused(400, 'the body: expected JSON');
  }
}

/** @param {string} encoded */
function nameOf(encoded) {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw new Refused(400, `the name: expected a percent-encoded one, got '${encoded}'`);
  }
}

/** @param {unknown} body @param {number} length */
function rowOf(body, length) {
  const isNumber = (/** @type {unknown} */ value) => typeof value === 'number' && Number.isFinite(Math.fround(value));
  if (!Array.isArray(body) || body.length !== length || !body.every(isNumber)) {
    throw new Refused(400, `the body: expected an array of ${length} finite numbers`);
  }
  return Float32Array.from(body);
}

/** @param {unknown} body @returns {Record<string, number>} */
function mixOf(body) {
  const mix = /** @type {{ mix?: Record<string, unknown> } | null} */ (body)?.mix;
  const shares = Object.values(mix ?? {});
  if (shares.length === 0 || !shares.every((share) => typeof share === 'number')) {
    throw new Refused(400, 'the body: expected { "mix": { "name": number } } with one or more adapters');
  }
  return /** @type {Record<string, number>} */ (mix);
}

/** Adapters as loadAdapters would return them; their numbers are made up. */
export async function exampleAdapters() {
  const size = 64;
  const noise = Float32Array.from({ length: size * size }, (_, i) => 0.1 * Math.sin(1 + i * i * 0.618));
  const weight = tensor(noise, [size, size]);
  const factors = await decompose(weight); // once, for all adapters
  /** @type {Map<string, Layer>} */
  const adapters = new Map();
  for (const [i, name] of ['ada', 'bob', 'cy'].entries()) {
    const layer = i === 0 ? await svft(weight, { factors, pattern: 'banded' }) : await vectorFit(weight, { factors });
    for (const { value } of layer.parameters) value.assign(value.dataSync().map((v, k) => v + 0.1 * Math.sin(i + k)));
    adapters.set(name, layer);
  }
  return adapters;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const listen = process.argv.indexOf('--listen');
  const port = listen < 0 ? 0 : Number(process.argv[listen + 1]);
  const { url, batcher, close } = await serve(await exampleAdapters(), { port });
  if (listen >= 0) {
    console.log(`serving on ${url}`);
    process.once('SIGINT', close);
  } else {
    const send = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {unknown} */ body) =>
      /** @type {Promise<any>} */ ((await fetch(`${url}${path}`, { method, body: JSON.stringify(body) })).json());
    const x = Array.from({ length: 64 }, (_, i) => Math.cos(i));
    const tenants = ['ada', 'bob', 'cy', 'ada'];
    const before = await Promise.all(tenants.map((name) => send('POST', `/apply/${name}`, x)));
    console.log('y[0] of each request:', ...before.map(([first]) => first.toFixed(4)));
    console.log('a mixture:', await send('PUT', '/adapters/both', { mix: { ada: 0.5, bob: 0.5 } }));
    const [y] = await send('POST', '/apply/both', x);
    console.log('between those of its parts:', Math.abs(y - (before[0][0] + before[1][0]) / 2) < 1e-5);
    console.log('refused:', (await send('POST', '/apply/dan', x)).error);
    console.log('rows served:', batcher.counts.rows);
    await close();
  }
}
