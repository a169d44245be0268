import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exists } from '../../files/readable.js';
import { type ExportGgufLoraOptions, exportGgufLora } from '../../index.js';
import { isRecord } from '../../runtime/check.js';
import { readInteger, required } from '../arguments.js';
import { readJson } from '../checkpoint.js';
import { command } from '../command.js';
import { UsageError } from '../failures.js';
import { adapterHelp, loadOptions, withAdapter } from '../loading.js';
import { loraLines, loraOptions, loraRows } from '../lora.js';
import { outputFile } from '../output.js';
import type { Session } from '../session.js';

type Heads = ExportGgufLoraOptions['heads'];

const out = { type: 'string', short: 'o', value: 'FILE', about: 'the GGUF file to write' } as const;

export default command({
  usage: 'export-gguf BASE ADAPTER -o FILE --rank R [options]',
  about: `Writes the adapter as a LoRA of llama.cpp, for models that llama.cpp converts as Llama.\n${adapterHelp}`,
  positionals: ['BASE', 'ADAPTER'],
  options: {
    out,
    ...loraOptions,
    heads: {
      type: 'string',
      value: 'Q,KV',
      about: 'heads of the queries, and of keys and values; default: from config.json next to BASE',
    },
    ...loadOptions,
  },
  example: 'sigmatune export-gguf base/model.safetensors my-adapter -o my-lora.gguf --rank 16 --heads 32,8',

  async run(session, [base, adapter], values) {
    const path = await outputFile(out, values.out);
    const rank = readInteger('rank', required('rank', loraOptions.rank, values.rank));
    const heads = values.heads === undefined ? await headsOf(session, base) : readHeads(values.heads);
    const { 'drop-bias': dropBias } = values;
    const { signal } = session;
    const rows = await withAdapter(session, [base, adapter], values, async (loaded) => {
      const options = { rank, architecture: 'llama', heads, dropBias, signal } as const;
      return loraRows(loaded, await exportGgufLora(path, loaded.model, options));
    });
    session.answer({ out: path, rank, heads, modules: rows }, () => loraLines(path, rank, rows));
  },
});

function readHeads(text: string): Heads {
  const [query, keyValue, ...rest] = text.split(',');
  if (query === undefined || keyValue === undefined || rest.length > 0) {
    throw new UsageError(`--heads: expected two numbers, such as 32,8, got '${text}'`);
  }
  return { query: readInteger('heads', query), keyValue: readInteger('heads', keyValue) };
}

/** From the base model's config.json. */
async function headsOf({ signal }: Session, base: string): Promise<Heads> {
  const folder = (await stat(base)).isDirectory() ? base : dirname(base);
  const path = join(folder, 'config.json');
  if (!(await exists(path))) throw new UsageError(`--heads Q,KV is missing, and there is no '${path}' to take it from`);
  const config = await readJson(path, signal);
  const field = (name: string) => (isRecord(config) ? config[name] : undefined);
  const query = field('num_attention_heads');
  // Without grouped queries there are as many heads of keys as of queries.
  const keyValue = field('num_key_value_heads') ?? query;
  if (Number.isInteger(query) && Number.isInteger(keyValue)) return { query, keyValue } as Heads;
  throw new UsageError(`--heads Q,KV is missing, and '${path}' has no num_attention_heads`);
}
