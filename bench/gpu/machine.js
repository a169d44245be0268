// @ts-check
// What a report says of the machine: the card, its driver and clocks, the host, and which sources these are.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { cudaStatus, systemInfo } from 'sigmatune';

/** @param {import('sigmatune').DeviceStatus} status whether the device is one that the host plays */
export const isSimulated = ({ backend = '', devices = [] }) =>
  [backend, ...devices.map(({ name }) => name)].some((text) => /simulat/i.test(text));

/**
 * Why nothing can be measured here; undefined where there is a card.
 * @param {import('sigmatune').DeviceStatus} status
 */
export function refusal(status) {
  if (!status.available) return `CUDA cannot be used here, ${status.code}: ${status.detail}`;
  if (isSimulated(status))
    return `${status.backend}: a simulated device has no speed; --dry runs every case without times`;
  return undefined;
}

/** @param {string} command @param {readonly string[]} args @returns {string | undefined} */
function told(command, args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 30_000 });
  return status === 0 ? stdout.trim() : undefined;
}

const queried = /** @type {const} */ ([
  'name',
  'uuid',
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

/** What nvidia-smi says of the first card, in its words; null where it is not there. @returns {Record<string, string> | null} */
export function smi() {
  const text = told('nvidia-smi', [`--query-gpu=${queried.join()}`, '--format=csv,noheader', '--id=0']);
  if (text === undefined) return null;
  const values = text.split('\n')[0].split(', ');
  // The card's own number tells nobody anything.
  return Object.fromEntries(queried.map((name, i) => [name, values[i] ?? '']).filter(([name]) => name !== 'uuid'));
}

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The commit of these sources: git's, or what a bundle was stamped with. */
function commit() {
  const stamped = `${root}commit.json`;
  if (existsSync(stamped)) return JSON.parse(readFileSync(stamped, 'utf8'));
  const id = told('git', ['-C', root, 'rev-parse', 'HEAD']) ?? 'unknown';
  return { id, changed: (told('git', ['-C', root, 'status', '--porcelain', '--untracked-files=no']) ?? '') !== '' };
}

/** NVIDIA's kernel module, where nvidia-smi is missing. */
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
  const { sigmatune, simd, blas } = /** @type {Record<string, string>} */ (systemInfo());
  return {
    date: new Date().toISOString(),
    commit: commit(),
    versions: { sigmatune, node: process.version, backend: status.backend ?? '', searched: status.searched ?? [] },
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
      cpu: os.cpus()[0]?.model.trim() ?? '',
      processors: os.cpus().length,
      memoryBytes: os.totalmem(),
      load: os.loadavg()[0],
      simd,
      blas,
    },
  };
}
