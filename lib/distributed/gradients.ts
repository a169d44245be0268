// The mean of the gradients over the ranks: all gradients of one type in one buffer, on the device or on the host.
import { checkGrad, type Seen, sharedMemory } from '../optim/groups.js';
import { deviceIndex } from '../runtime/device.js';
import { SigmaError } from '../runtime/errors.js';
import { type DeviceMemory, native, type RealArray } from '../runtime/native.js';
import type { Real } from '../tensor/dtype.js';
import { memoryOf } from '../tensor/operand.js';
import { isHost } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import { agree } from './agreement.js';
import type { DeviceMeans, GradientRoute } from './device-means.js';
import type { Transport } from './transport.js';
import { describeParameter } from './values.js';

/** A gradient that takes part. */
interface Named {
  readonly name: string;
  readonly grad: Tensor<Real>;
}

export async function averageGradients(
  op: string,
  transport: Transport,
  seen: readonly Seen[],
  seconds: number,
  deviceMeans: DeviceMeans,
): Promise<GradientRoute> {
  const gradients: Named[] = [];
  const agenda = seen.map((each) => {
    const grad = each.trainable ? each.parameter.grad : null;
    if (grad !== null && grad !== undefined) {
      gradients.push({ name: each.name, grad: checkGrad(op, each.name, grad, each.value) });
    }
    const state = !each.trainable ? 'frozen' : grad ? 'with a gradient' : 'without a gradient';
    return `${describeParameter(each)}, ${state}`;
  });
  refuseShared(op, gradients);
  const devices = await agree(op, transport, agenda, seconds, { note: commonDevice(gradients) });
  if (transport.size === 1) return { via: 'host' };
  const byType = (['float32', 'float64'] as const)
    .map((dtype) => ({ dtype, ofType: gradients.filter(({ grad }) => grad.dtype === dtype) }))
    .filter(({ ofType }) => ofType.length > 0);
  const memories = (some: readonly Named[]) =>
    some.map(({ name, grad }) => memoryOf(op, `${name}.grad`, grad) as DeviceMemory);
  let reason: string | undefined;
  if (devices.every((device) => device > 0)) {
    const joined = await deviceMeans.on(op, transport, devices, memories(gradients)[0] as DeviceMemory, seconds);
    if ('ranks' in joined) {
      for (const { ofType } of byType) {
        await native.ncclMean(op, joined.ranks, memories(ofType), seconds);
        for (const { grad } of ofType) grad.written();
      }
      return { via: 'nccl' };
    }
    ({ reason } = joined);
  }
  for (const { dtype, ofType } of byType) {
    const mean = await transport.mean(op, await packed(dtype, ofType), seconds);
    unpack(mean, ofType);
  }
  return reason === undefined ? { via: 'host' } : { via: 'host', reason };
}

/** 1 + the number of the CUDA device that has all gradients; 0 if there is none. */
function commonDevice(gradients: readonly Named[]): number {
  const devices = new Set(gradients.map(({ grad }) => 1 + deviceIndex(grad.device)));
  const [device = 0] = devices;
  return devices.size === 1 && device < 256 ? device : 0;
}

/** Gradients on the same memory would be averaged twice. */
function refuseShared(op: string, gradients: readonly Named[]): void {
  const shared = sharedMemory(gradients.map(({ name, grad }) => memoryOf(op, `${name}.grad`, grad)));
  if (shared === undefined) return;
  const names = shared.map((i) => `'${gradients[i]?.name}'`).join(' and ');
  throw new SigmaError(
    'INVALID_ARGUMENT',
    op,
    `parameters: expected gradients that share no memory, got ${names} on the same memory`,
  );
}

async function packed(dtype: Real, gradients: readonly Named[]): Promise<RealArray> {
  const size = gradients.reduce((sum, { grad }) => sum + grad.size, 0);
  const buffer = dtype === 'float64' ? new Float64Array(size) : new Float32Array(size);
  let at = 0;
  for (const { name, grad } of gradients) {
    const memory = memoryOf('Communicator.allReduceGradients', `${name}.grad`, grad);
    buffer.set((isHost(memory) ? memory : await grad.data()) as RealArray, at);
    at += grad.size;
  }
  return buffer;
}

function unpack(mean: RealArray, gradients: readonly Named[]): void {
  let at = 0;
  for (const { grad } of gradients) {
    grad.assign(mean.subarray(at, at + grad.size));
    at += grad.size;
  }
}
