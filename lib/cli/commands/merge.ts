import { stat } from 'node:fs/promises';
import { exportMerged } from '../../index.js';
import { command } from '../command.js';
import { adapterHelp, loadOptions, withAdapter } from '../loading.js';
import { outputFile } from '../output.js';
import { bytes, several } from '../text.js';

const out = {
  type: 'string',
  short: 'o',
  value: 'FILE',
  about: 'the safetensors file to write; an old one is replaced when the new one is whole',
} as const;

export default command({
  usage: 'merge BASE ADAPTER -o FILE [options]',
  about: `Writes the base checkpoint with the adapter merged into its weights. All else in it is copied bit for bit.\n${adapterHelp}`,
  positionals: ['BASE', 'ADAPTER'],
  options: { out, ...loadOptions },
  example: 'sigmatune merge base/model.safetensors my-adapter -o merged.safetensors',

  async run(session, [base, adapter], values) {
    const path = await outputFile(out, values.out);
    const { signal } = session;
    const layers = await withAdapter(session, [base, adapter], values, async ({ model, layers }) => {
      session.remark(`writing ${path} …`);
      await exportMerged(path, model, { base, signal });
      return Object.keys(layers);
    });
    const { size } = await stat(path);
    session.answer({ out: path, bytes: size, layers }, () => [
      `${path}: ${several(layers.length, 'layer')} merged, ${bytes(size)}`,
    ]);
  },
});
