import { command } from '../command.js';
import { inspectPath } from '../inspection.js';

export default command({
  usage: 'inspect PATH [options]',
  about:
    'Shows what PATH is and what it holds. PATH is a safetensors file, the index or the folder of a checkpoint, a folder of\n' +
    'saveAdapters, saveCheckpoint or PEFT, a cache of factors, or a GGUF file. Only headers are read, no tensors.',
  positionals: ['PATH'],
  options: {},
  example: 'sigmatune inspect model.safetensors',

  async run(session, [path]) {
    const { answer, lines } = await inspectPath(path, session.signal);
    session.answer(answer, lines);
  },
});
