// The package with another default: tensors are made on SIGMATUNE_TEST_DEVICE. `Tensor.wrap` copies there, since only the
// CPU's tensors can share a typed array.
import * as sigmatune from 'sigmatune';

export * from 'sigmatune';

const device = process.env.SIGMATUNE_TEST_DEVICE ?? 'cpu';
const here = (options) => ({ device, ...options });

export const tensor = (data, shape, options) => sigmatune.tensor(data, shape, here(options));

export const zeros = (shape, options) => sigmatune.zeros(shape, here(options));

/** `tensor` refuses a batch of no rows, which `wrap` makes. */
function empty(memory, shape) {
  const host = sigmatune.Tensor.wrap(memory, shape);
  const moved = host.on('Tensor.wrap', device);
  host.dispose();
  return moved;
}
const wrap = (memory, shape) => (shape?.[0] === 0 ? empty(memory, shape) : tensor(memory, shape));

export const Tensor = new Proxy(sigmatune.Tensor, {
  get: (target, name) => (name === 'wrap' ? wrap : Reflect.get(target, name)),
});
