import { exportLora } from '../../index.js';
import { readInteger, required } from '../arguments.js';
import { command } from '../command.js';
import { adapterHelp, loadOptions, withAdapter } from '../loading.js';
import { loraLines, loraOptions, loraRows } from '../lora.js';

const out = { type: 'string', short: 'o', value: 'FOLDER', about: 'the folder to write' } as const;

export default command({
  usage: 'export-lora BASE ADAPTER -o FOLDER --rank R [options]',
  about: `Writes the adapter as a LoRA of Hugging Face's PEFT, the best one of its rank, and says how much of the update it has.\n${adapterHelp}`,
  positionals: ['BASE', 'ADAPTER'],
  options: {
    out,
    ...loraOptions,
    'base-model': { type: 'string', value: 'NAME', about: 'name of the base model for adapter_config.json' },
    ...loadOptions,
  },
  example: 'sigmatune export-lora base/model.safetensors my-adapter -o my-lora --rank 16',

  async run(session, [base, adapter], values) {
    const folder = required('out', out, values.out);
    const rank = readInteger('rank', required('rank', loraOptions.rank, values.rank));
    const { 'drop-bias': dropBias, 'base-model': baseModel } = values;
    const { signal } = session;
    const rows = await withAdapter(session, [base, adapter], values, async (loaded) => {
      const named = baseModel === undefined ? {} : { baseModel };
      return loraRows(loaded, await exportLora(folder, loaded.model, { rank, dropBias, signal, ...named }));
    });
    session.answer({ out: folder, rank, modules: rows }, () => loraLines(folder, rank, rows));
  },
});
