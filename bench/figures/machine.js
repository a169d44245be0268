// @ts-check
// What a report says of the machine: the card, its driver and clocks, the host, and which sources these are.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import * as sigmatune from 'sigmatune';
import { environmentOf } from '../measure/environment.js';

const { cudaStatus } = sigmatune;

/** @param {import('sigmatune').DeviceStatus} status whether the device is one that the host plays */
export const isSimulated = ({ backend = '', devices = [] }) =>
  [backend, ...devices.map(({ name }) => name)].some((text) => /simulat/i.test(text));

/**
 * Why nothing can be measured here; undefined if there is a card.
 * @param {import('sigmatune').DeviceStatus} status
 */
export function refusal(status) {
  if (!status.available) return `CUDA cannot be used here, ${status.code}: ${status.detail}`;
  if (isSimulated(status))
    return `${status.backend}: a simulated device has no speed; --dry runs every case without times`;
  return undefined;
}

/** What nvidia-smi answers; undefined if it is not there. @param {...string} args */
export function nvidiaSmi(...args) {
  const { status, stdout } = spawnSync('nvidia-smi', args, { encoding: 'utf8', timeout: 30_000 });
  return status === 0 ? stdout.trim() : undefined;
}

const queried = /** @type {const} */ ([
  'name',
  'driver_version',
  'vbios_version',
  'clocks.sm',
  'clocks.mem',
  'clocks.max.sm',
  'clocks.max.mem',
  'power.limit',
  'temperature.gpu',
  'ecc.mode.current',
  'persistence_mode',
  'mig.mode.current',
]);

/**
 * What nvidia-smi answers about the card that 'cuda' is; undefined if it does not know this card. Its own numbers ignore
 * CUDA_VISIBLE_DEVICES. @param {string} query @param {string} format
 */
export function nvidiaSmiOfCard(query, format = 'csv,noheader') {
  const uuid = cudaStatus().devices?.[0]?.uuid;
  return uuid ? nvidiaSmi(`--query-gpu=${query}`, `--format=${format}`, `--id=${uuid}`) : undefined;
}

/** What nvidia-smi says of the card, in its words; null if it is not there. @returns {Record<string, string> | null} */
function smi() {
  const text = nvidiaSmiOfCard(queried.join());
  if (text === undefined) return null;
  const values = text.split('\n')[0].split(', ');
  return Object.fromEntries(queried.map((name, i) => [name, values[i] ?? '']));
}

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The commit of these sources: git's, or what a bundle was stamped with. @param {string | null} known */
function commit(known) {
  const stamped = `${root}commit.json`;
  if (existsSync(stamped)) return JSON.parse(readFileSync(stamped, 'utf8'));
  return { id: known?.replace('+', '') ?? 'unknown', changed: known?.endsWith('+') ?? false };
}

/** NVIDIA's kernel module, if nvidia-smi is missing. */
const moduleVersion = () => {
  try {
    return (
      /Kernel Module\s+(?:for \S+\s+)?([\d.]+)/.exec(readFileSync('/proc/driver/nvidia/version', 'utf8'))?.[1] ?? null
    );
  } catch {
    return null;
  }
};

/** The head of a report. */
export function describeMachine() {
  const status = cudaStatus();
  const [card] = status.devices ?? [];
  const found = smi();
  const {
    sigmatune: version,
    node,
    cpu,
    memoryBytes,
    load,
    simd,
    blas,
    commit: known,
  } = environmentOf(sigmatune, root);
  return {
    date: new Date().toISOString(),
    commit: commit(known),
    versions: { sigmatune: version, node, backend: status.backend ?? '', searched: status.searched ?? [] },
    card: {
      name: card?.name ?? '',
      capability: card?.capability ?? '',
      memoryBytes: card?.memoryBytes ?? 0,
      count: status.devices?.length ?? 0,
      driver: found?.['driver_version'] ?? moduleVersion(),
      smi: found,
    },
    host: {
      platform: `${process.platform}-${process.arch}`,
      release: os.release(),
      cpu,
      processors: os.cpus().length,
      memoryBytes,
      load,
      simd,
      blas,
    },
  };
}
