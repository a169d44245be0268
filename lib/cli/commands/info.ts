import { type DeviceStatus, systemInfo } from '../../index.js';
import { command } from '../command.js';
import { aligned } from '../table.js';
import { bytes } from '../text.js';

export default command({
  usage: 'info [options]',
  about: 'Prints versions, the BLAS build, the SIMD level, threads and the state of CUDA: what a bug report needs.',
  positionals: [],
  options: {},
  example: 'sigmatune info',

  async run(session) {
    const info = systemInfo();
    session.answer(info, () => {
      const { cuda, ...others } = info as { cuda: DeviceStatus };
      const rows = Object.entries(others).map(([name, value]) => [name, String(value)]);
      return aligned([...rows, ...cudaRows(cuda)]);
    });
  },
});

function cudaRows({ available, code, detail, searched, devices }: DeviceStatus): [string, string][] {
  if (!available) {
    return [['cuda', `${code}: ${detail}`], ...(searched ?? []).map((path): [string, string] => ['  looked at', path])];
  }
  return (devices ?? []).map(({ name, memoryBytes, capability }, i): [string, string] => [
    `cuda:${i}`,
    `${name}, ${bytes(memoryBytes)}, compute capability ${capability}`,
  ]);
}
