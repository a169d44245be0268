// @ts-check
import { resetArena } from '../cases/arena.js';
import { caseOf } from '../cases/table.js';
import { measureCeilings } from './ceilings.js';
import { environmentOf } from './environment.js';
import { loadLibrary } from './library.js';
import { calibrate, takeTurn } from './sample.js';

/** @typedef {{ folder: string | null, threads: number }} Build threads: 0 leaves them as they are */

/** What a measuring process does when it is asked: it has one build of the package, and one case at a time. */
export class Tasks {
  /** @type {import('../cases/case.js').Prepared | undefined} */
  prepared;
  repeat = 1;

  /** @param {import('../cases/case.js').Library} library @param {string | null} folder */
  constructor(library, folder) {
    this.library = library;
    this.folder = folder;
  }

  /** @returns {import('../cases/case.js').Prepared} */
  get current() {
    if (!this.prepared) throw new Error('no case is prepared');
    return this.prepared;
  }

  environment() {
    return environmentOf(this.library, this.folder);
  }

  ceilings() {
    return measureCeilings(this.library);
  }

  /** @param {string} name */
  async prepare(name) {
    resetArena();
    this.prepared = await caseOf(name).prepare(this.library);
  }

  async error() {
    return this.current.error();
  }

  async calibrate() {
    this.repeat = await calibrate(this.current);
  }

  /** @param {number} length ms */
  turn(length) {
    return takeTurn(this.current, this.repeat, length);
  }

  /** Calls without timing them. @param {number} count */
  async call(count) {
    for (let i = 0; i < count; i++) {
      this.current.before?.();
      await this.current.call();
    }
  }

  dispose() {
    this.prepared?.dispose();
    this.prepared = undefined;
  }
}

/** Answers what the parent asks until it is gone. @param {typeof Tasks} Kind */
export async function serve(Kind) {
  /** @type {Build} */
  const { folder, threads } = JSON.parse(process.argv[2]);
  const tasks = new Kind(await loadLibrary(folder, threads), folder);
  process.on('message', async (/** @type {{ task: 'prepare', argument: string }} */ { task, argument }) => {
    try {
      process.send?.({ answer: (await tasks[task](argument)) ?? null });
    } catch (error) {
      process.send?.({ broken: error instanceof Error ? error.message : String(error) });
    }
  });
  process.send?.({ answer: null }); // ready
}
