// The ranks as NCCL sees them. They are joined at the first gradients on devices, and all ranks decide alike.
import { hostname } from 'node:os';
import { type DeviceMemory, native } from '../runtime/native.js';
import { gatherTexts } from './agreement.js';
import { ncclStatus } from './nccl.js';
import type { Transport } from './transport.js';

/** How gradients were averaged. */
export interface GradientRoute {
  /** 'nccl': from device to device. 'host': through the host's memory and MPI. */
  readonly via: 'nccl' | 'host';
  /** Why gradients on devices took the way through the host. */
  readonly reason?: string;
}

/** Joined ranks, or why NCCL cannot join them. */
type Joined = { readonly ranks: number } | { readonly reason: string };

const none = '0'.repeat(32);

export class DeviceMeans {
  /** By the devices of all ranks. */
  readonly #joined = new Map<string, Joined>();

  /**
   * The ranks with these devices, joined at the first call. `devices` has the device of each rank, so all ranks find the same
   * entry. `memory` is on this rank's device.
   */
  async on(
    op: string,
    transport: Transport,
    devices: readonly number[],
    memory: DeviceMemory,
    seconds: number,
  ): Promise<Joined> {
    const key = devices.join();
    const known = this.#joined.get(key);
    if (known !== undefined) return known;
    const joined = await join(op, transport, memory, seconds);
    this.#joined.set(key, joined);
    return joined;
  }

  /** Parts from NCCL. A call of all ranks. */
  async leave(op: string, seconds: number): Promise<void> {
    for (const joined of this.#joined.values()) {
      if ('ranks' in joined) await native.ncclLeave(op, joined.ranks, seconds);
    }
    this.#joined.clear();
  }
}

async function join(op: string, transport: Transport, memory: DeviceMemory, seconds: number): Promise<Joined> {
  const { available, code, detail } = ncclStatus();
  const uuid = available ? Buffer.from(native.ncclIdentify(op, memory)).toString('hex') : none;
  const refusal = available ? '' : `rank ${transport.rank} on ${hostname()}: ${code}: ${detail}`;
  // A text may be cut at its end.
  const all = (await gatherTexts(op, transport, `${uuid}\n${refusal}`, seconds)).map((text) => ({
    uuid: text.slice(0, none.length),
    refusal: text.slice(none.length + 1),
  }));
  const refused = all.find((each) => each.refusal !== '')?.refusal;
  const reason = refused ?? sameDevice(all.map((each) => each.uuid));
  if (reason !== undefined) return { reason };
  const id = transport.rank === 0 ? await native.ncclMakeId(op) : new Uint8Array(128);
  return { ranks: await native.ncclJoin(op, memory, await transport.broadcast(op, id, 0, seconds), seconds) };
}

/** NCCL refuses two ranks on one device. */
function sameDevice(uuids: readonly string[]): string | undefined {
  const second = uuids.findIndex((uuid, rank) => uuid !== none && uuids.indexOf(uuid) < rank);
  if (second < 0) return undefined;
  const first = uuids.indexOf(uuids[second] as string);
  return `ranks ${first} and ${second} have the same device; give each its own, for example with CUDA_VISIBLE_DEVICES`;
}
